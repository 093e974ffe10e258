"""The agent, for connectors that bring it to their nodes: from a file we were given, else from the gateway.

Always the one that the gateway names, when it names one by its SHA-256.
"""

import asyncio
import functools
import hashlib
import os
import ssl
import subprocess
import tempfile
import zipfile
from pathlib import Path

import aiohttp
from unicorn_core.connector import Gateway
from unicorn_core.errors import Broken

_SIZE_LIMIT = 64 * 1024 * 1024
_SECONDS = 30


class AgentNotAvailable(Broken):
    """There is no agent, or it is not the one that the gateway names."""

    reason = "AgentNotAvailable"


def given_agent() -> str:
    """Where the operator was told that the agent lies ($UNICORN_AGENT_PATH), or an empty string."""
    return os.environ.get("UNICORN_AGENT_PATH", "")


class AgentSource:
    def __init__(self, given: str = "") -> None:
        self._given = given  # a path
        self._lock = asyncio.Lock()
        self._last = b""

    async def content(self, gateway: Gateway) -> bytes:
        """Raises AgentNotAvailable."""
        wanted = gateway.agent_sha256.lower()
        async with self._lock:
            if not wanted or sha256(self._last) != wanted:
                self._last = await self._get(gateway, wanted)
            return self._last

    async def _get(self, gateway: Gateway, wanted: str) -> bytes:
        if self._given:
            content = await asyncio.to_thread(_read, self._given)
            if wanted in ("", sha256(content)):
                return content
        content = await _fetch(gateway)
        if wanted not in ("", sha256(content)):
            raise AgentNotAvailable(f"the agent at {gateway.endpoint} has SHA-256 {sha256(content)}, not {wanted}")
        return content


class AgentFiles:
    """Agents as files in `directory`, named by their SHA-256, readable for all."""

    def __init__(self, directory: Path, source: AgentSource) -> None:
        self._directory, self._source = directory, source
        self._lock = asyncio.Lock()

    async def path(self, gateway: Gateway) -> Path:
        """Raises AgentNotAvailable."""
        kept = self._directory / f"{gateway.agent_sha256.lower()}.pyz"
        if gateway.agent_sha256 and kept.exists():
            return kept
        return await asyncio.to_thread(self._keep, await self._source.content(gateway))

    async def compiled(self, gateway: Gateway, python: str) -> Path:
        """The agent with its modules compiled for `python`: what a zipapp holds, each agent compiles again, twice, at its start.

        A directory that `python` runs as it runs the file; the file itself where it is no zipapp. Raises AgentNotAvailable.
        """
        packed = await self.path(gateway)
        async with self._lock:
            return await asyncio.to_thread(_compile, packed, python)

    def _keep(self, content: bytes) -> Path:
        target = self._directory / f"{sha256(content)}.pyz"
        if target.exists():
            return target
        self._directory.mkdir(parents=True, exist_ok=True)
        self._directory.chmod(0o755)
        with tempfile.NamedTemporaryFile(dir=self._directory, delete=False) as draft:
            draft.write(content)
        os.chmod(draft.name, 0o644)
        os.rename(draft.name, target)
        return target


def _compile(packed: Path, python: str) -> Path:
    if not zipfile.is_zipfile(packed):
        return packed
    target = packed.with_name(f"{packed.stem}-{sha256(python.encode())[:8]}")
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=packed.parent, prefix=".draft-") as scratch:
        draft = Path(scratch) / "agent"
        with zipfile.ZipFile(packed) as archive:
            archive.extractall(draft)
        try:
            # The names in the byte code are those of the place where it will lie.
            command = [python, "-m", "compileall", "-q", "-s", str(draft), "-p", str(target), str(draft)]
            subprocess.run(command, check=True, capture_output=True, timeout=_SECONDS, cwd="/")  # noqa: S603
        except (OSError, subprocess.SubprocessError) as error:
            raise AgentNotAvailable(f"{python} cannot compile the agent: {error}") from error
        for path in [draft, *draft.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            draft.rename(target)
        except OSError:
            if not target.exists():  # else another has made it meanwhile
                raise
    return target


@functools.lru_cache(maxsize=4)  # an agent is the same object for all who are given it, and is hashed once
def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AgentNotAvailable(f"cannot read the agent {path}: {error.strerror}") from error


async def _fetch(gateway: Gateway) -> bytes:
    try:
        tls = ssl.create_default_context(cadata=gateway.ca_bundle) if gateway.ca_bundle else True
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), timeout=timeout) as session,
            session.get(f"{gateway.endpoint}/executor.pyz", raise_for_status=True) as response,
        ):
            content = bytearray()
            async for data in response.content.iter_any():
                content += data
                if len(content) > _SIZE_LIMIT:
                    raise AgentNotAvailable(f"the agent at {gateway.endpoint} is too large")
            return bytes(content)
    except (aiohttp.ClientError, TimeoutError, ValueError, ssl.SSLError) as error:
        raise AgentNotAvailable(f"cannot fetch the agent from {gateway.endpoint}: {error!r}") from error

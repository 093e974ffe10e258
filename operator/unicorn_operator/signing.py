"""The key that executor tokens are signed with: only the operator has it; gateways have the public half.

The key of users' tokens is the user API's. Where keys are Secrets, it is made here too, as that process may write none.
"""

import asyncio
import base64
import tempfile
from datetime import datetime
from pathlib import Path

from unicorn_core.errors import Conflict, NotFound, Problem, Refused
from unicorn_core.naming import ExecutorId
from unicorn_core.tokens import SigningKey, load_signing_key, new_key, private_pem, public_json, sign
from unicorn_kube import KubeClient
from unicorn_kube.resource import CONFIG_MAPS, SECRETS

from unicorn_operator.settings import Settings

SECRET = "unicorn-signing-key"  # noqa: S105 the name of it
USER_SECRET = "unicorn-user-signing-key"  # noqa: S105 likewise; the user API mounts it
PRIVATE = "private.pem"
CONFIG_MAP = "unicorn-public-keys"
PUBLIC = "public.json"
_MANAGER = "netunicorn-operator"


class TokenSigner:
    """Signs the tokens of executors."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    def sign(self, executor: ExecutorId, fence: int, expires: datetime) -> str:
        """A token for one start of an executor; `expires` is aware. A secret: it belongs into an Order only."""
        return sign(executor, fence, expires, self._key)


async def signer(settings: Settings, kube: KubeClient, namespace: str) -> TokenSigner:
    """With the key that is there, or a new one. Raises Refused (what is there is no key), ApiUnavailable, ApiRefused."""
    if settings.signing_key_file:
        key = await asyncio.to_thread(_from_file, Path(settings.signing_key_file))
    else:
        key = await _from_secret(kube, namespace, SECRET)
        await _from_secret(kube, namespace, USER_SECRET)
    if settings.signing_public_file:
        await asyncio.to_thread(_write_public, Path(settings.signing_public_file), key)
    elif not settings.signing_key_file:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG_MAP, "namespace": namespace},
            "data": {PUBLIC: public_json(key)},
        }
        await kube.apply(CONFIG_MAPS, body, _MANAGER)
    return TokenSigner(key)


async def _from_secret(kube: KubeClient, namespace: str, name: str) -> SigningKey:
    """Of two operators that start together, one makes it and both use that."""
    for _ in range(2):
        try:
            secret = await kube.get(SECRETS, namespace, name)
            pem = base64.b64decode((secret.get("data") or {}).get(PRIVATE, ""))
            return load_signing_key(pem, f"Secret {namespace}/{name}, {PRIVATE}")
        except NotFound:
            pass
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": namespace},
            "type": "Opaque",
            "data": {PRIVATE: base64.b64encode(private_pem(new_key())).decode()},
        }
        try:
            await kube.create(SECRETS, body)
        except Conflict:
            pass
    raise Conflict(f"Secret {namespace}/{name} comes and goes")


def _from_file(path: Path) -> SigningKey:
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".key-", delete=False) as file:  # 0600
                file.write(private_pem(new_key()))
            draft = Path(file.name)
            try:
                path.hardlink_to(draft)  # never over another's key
            except FileExistsError:
                pass
            draft.unlink()
        return load_signing_key(path.read_bytes(), str(path))
    except OSError as error:
        problem = Problem("UNICORN_SIGNING_KEY_FILE", f"{path}: {error.strerror}", "a file that can be read, or made")
        raise Refused(problem) from error


def _write_public(path: Path, key: SigningKey) -> None:
    try:
        text = public_json(key)
        if path.exists() and path.read_text() == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".key-", delete=False) as file:
            file.write(text)
        draft = Path(file.name)
        draft.chmod(0o644)  # gateways run as other users
        draft.replace(path)
    except OSError as error:
        problem = Problem("UNICORN_SIGNING_PUBLIC_FILE", f"{path}: {error.strerror}", "a file that can be written")
        raise Refused(problem) from error

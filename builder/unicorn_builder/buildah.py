"""buildah, with a storage and a configuration of the build's own; its errors as results of a build."""

import json
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

from unicorn_builder import processes
from unicorn_builder.log import Log

# SYS_CHROOT would be a way out of the image's file system to where the registry's credentials are.
_RUN = ["--isolation", "chroot", "--user", "0:0", "--cap-drop", "CAP_SYS_CHROOT", "--terminal=false"]
_ONE_OUTPUT = ["/bin/sh", "-c", 'exec 2>&1; exec "$@"', "sh"]  # so that buildah's own words are all that its errors are

_KEPT = 300  # images in a directory that is kept; nearly all of their layers are shared

_NOT_FOUND = re.compile(r"manifest unknown|name unknown|repository name not known|not found|no image found|blob unknown", re.I)
_AWAY = re.compile(
    r"dial (?:tcp|udp)|i/o timeout|timeout exceeded|deadline exceeded|connection (?:refused|reset|timed out)|no route to host"
    r"|network is unreachable|no such host|unexpected EOF|: EOF|broken pipe|TLS handshake|tls: |x509: |server gave HTTP response"
    r"|http2: |server closed idle connection|status ?(?:code)?:? (?:429|5\d\d)\b|toomanyrequests|too many requests"
    r"|internal server error|bad gateway|service unavailable|gateway timeout",
    re.I,
)
_REFUSED = re.compile(r"unauthorized|authentication required|denied|forbidden|invalid username/password|status: 40[13]", re.I)


class BuildahError(Exception):
    """It ended with an error; the message is the end of what it said."""

    def result(self, missing: str, refused: str = "RegistryRefused") -> str:
        """Of a pull or a push, as a build's result. `missing`: what it is when the registry does not know the name.

        What is not understood is the builder's own fault: it is tried a few times, and not for ever.
        """
        said = str(self)
        if _AWAY.search(said):
            return "RegistryUnreachable"
        if _REFUSED.search(said):
            return refused
        return missing if _NOT_FOUND.search(said) else "Broken"


class Failed(Exception):
    """A command in the image ended with another exit code than 0, or (`unable`: why) could not be started."""

    def __init__(self, exit_code: int, unable: str = "") -> None:
        super().__init__(unable or f"exit code {exit_code}")
        self.exit_code = exit_code
        self.unable = unable


class Buildah:
    def __init__(self, work: Path, plain_http: Iterable[str]) -> None:
        """Several may share a directory. Raises BuildahError where it cannot be used for images."""
        registries = "".join(f"[[registry]]\nlocation = {json.dumps(host)}\ninsecure = true\n" for host in plain_http)
        with tempfile.NamedTemporaryFile("w", dir=work, prefix="registries-", suffix=".conf", delete=False) as file:
            file.write(registries)
        self._configuration = Path(file.name)
        self._work = work
        self._lock = threading.Lock()  # over the start of a command, and over ending what others left
        self._running: set[int] = set()
        self._global = self._options("overlay")
        if not (work / "storage" / "overlay").exists():
            try:
                self._call("info")
            except BuildahError:  # the kernel, or the file system below, has none for us
                self._global = self._options("vfs")
                self._call("info")

    def close(self) -> None:
        self._configuration.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what killed builds left, and the oldest of many images. Only while nobody else uses the directory."""
        for file in self._work.glob("registries-*.conf"):
            if file != self._configuration:
                file.unlink()
        self._call("rm", "--all")
        images = sorted(json.loads(self._call("images", "--json")) or [], key=lambda image: image["created"])
        for image in images[:-_KEPT]:
            self._call("rmi", "--force", image["id"])

    def images(self) -> set[str]:
        """The names of all that are here."""
        return {name for image in json.loads(self._call("images", "--json")) or [] for name in image["names"] or []}

    def has(self, image: str) -> bool:
        """Here, without asking a registry."""
        try:
            self._call("inspect", "--type", "image", "--format", "{{.FromImageID}}", image)
        except BuildahError:
            return False
        return True

    def pull(self, image: str, platform: str) -> None:
        self._call("pull", "--quiet", "--platform", platform, "--policy", "missing", image)

    def start(self, image: str, platform: str) -> str:
        """A container of an image that is here."""
        return self._call("from", "--pull-never", "--platform", platform, image)

    def root(self, container: str) -> Path:
        return Path(self._call("mount", container))

    def run(self, container: str, command: Iterable[str], log: Log) -> None:
        """What the command leaves running is ended with it. Raises Failed."""
        process = self._spawn("run", *_RUN, container, "--", *_ONE_OUTPUT, *command)
        assert process.stdout
        assert process.stderr
        errors: list[bytes] = []
        readers = [
            threading.Thread(target=log.copy, args=[process.stdout]),
            threading.Thread(target=lambda stream: errors.append(stream.read()), args=[process.stderr]),
        ]
        for reader in readers:
            reader.start()
        try:
            code = process.wait()
        finally:
            self._end(process)
            with self._lock:
                processes.end_children(keep=self._running)
            for reader in readers:
                reader.join()
            process.stdout.close()
            process.stderr.close()
        if code:
            raise _failure(code, errors[0].decode(errors="replace"))

    def add(self, container: str, archive: Path) -> None:
        """Unpack it over the image's root."""
        self._call("add", "--quiet", container, str(archive), "/")

    def commit(self, container: str, image: str, history: str) -> None:
        """The container is gone afterwards."""
        self._call("config", "--created-by", history, container)
        self._call("commit", "--quiet", "--format", "oci", "--rm", container, image)

    def remove(self, container: str) -> None:
        self._call("rm", container)

    def push(self, image: str) -> str:
        """Returns the digest under which the registry has it."""
        with tempfile.NamedTemporaryFile("r", dir=self._work) as file:
            self._call("push", "--quiet", "--digestfile", file.name, image)
            return file.read().strip()

    def _options(self, driver: str) -> list[str]:
        places = ["--root", str(self._work / "storage"), "--runroot", str(self._work / "run"), "--storage-driver", driver]
        return ["buildah", *places, "--registries-conf", str(self._configuration)]

    def _call(self, *command: str) -> str:
        process = self._spawn(*command)
        try:
            output, errors = process.communicate()
        finally:
            self._end(process)
        if process.returncode:
            raise BuildahError(f"buildah {command[0]}: {errors.decode(errors='replace').strip()[-1000:]}")
        return output.decode().strip()

    def _spawn(self, *command: str) -> "subprocess.Popen[bytes]":
        with self._lock:
            line, pipe = [*self._global, *command], subprocess.PIPE
            process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True)
            self._running.add(process.pid)
        return process

    def _end(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            process.kill()
        process.wait()
        with self._lock:
            self._running.discard(process.pid)


def _failure(code: int, said: str) -> Exception:
    """Of `buildah run`: the command's own, or buildah's."""
    if unable := re.search(r"process failed to start with error: (.*?)(?:process exited with error|$)", said, re.M):
        return Failed(code, unable[1].strip())
    if "exited on killed" in said:
        return Failed(137)
    return Failed(code) if "subprocess exited" in said else BuildahError(f"buildah run: {said.strip()[-1000:]}")

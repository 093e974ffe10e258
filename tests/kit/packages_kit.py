"""An apt repository and a wheel index on loopback, with packages made on the spot: what a build installs without a way out."""

import gzip
import hashlib
import http.server
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path


@dataclass
class Packages:
    directory: Path
    url: str = ""

    @property
    def apt_source(self) -> str:
        """The content of /etc/apt/sources.list."""
        return f"deb [trusted=yes] {self.url}/apt ./\n"

    @property
    def pip_configuration(self) -> str:
        """The content of /etc/pip.conf."""
        return f"[global]\nindex-url = {self.url}/simple/\ntrusted-host = 127.0.0.1\n"

    def add_deb(self, name: str, version: str = "1.0", program: str = "") -> None:
        """A package with /usr/share/NAME, which holds its version; `program`: the shell script that is to be /usr/bin/NAME."""
        root = self.directory / "debs" / name
        (root / "DEBIAN").mkdir(parents=True)
        about = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: lab <lab@example.org>\nDescription: a test's\n"
        )
        (root / "DEBIAN/control").write_text(about)
        (root / "usr/share").mkdir(parents=True)
        (root / "usr/share" / name).write_text(version)
        if program:
            (root / "usr/bin").mkdir()
            (root / "usr/bin" / name).write_text(program)
            (root / "usr/bin" / name).chmod(0o755)
        file = self.directory / "apt" / f"{name}.deb"
        file.parent.mkdir(exist_ok=True)
        subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, file], check=True, capture_output=True)
        content = file.read_bytes()
        index = f"{about}Filename: ./{file.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n\n"
        with (file.parent / "Packages").open("a") as packages:
            packages.write(index)
        (file.parent / "Packages.gz").write_bytes(gzip.compress((file.parent / "Packages").read_bytes()))

    def add_wheel(self, name: str, version: str = "1.0") -> None:
        """A module NAME with `version`."""
        directory = self.directory / "simple" / name.replace("_", "-")
        directory.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
            about = f"{name}-{version}.dist-info"
            wheel.writestr(f"{name}.py", f"version = {version!r}\n")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def serve(directory: Path) -> Iterator[Packages]:
    directory.mkdir(parents=True, exist_ok=True)
    handler = partial(_Quiet, directory=str(directory))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Packages(directory, f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()

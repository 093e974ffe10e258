"""A real registry for a test: plain, or with TLS, passwords or tokens; images for it, without a builder; and odd registries."""

import base64
import hashlib
import http.client
import json
import re
import shutil
import ssl
import subprocess
import time
from collections.abc import Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from unicorn_core.errors import Refused, Waiting
from unicorn_devcluster import tools
from unicorn_devcluster.certificates import Pair
from unicorn_operator.registry import Credentials, Reference, Registries

USER, PASSWORD = "lab", "let me in"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
_HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuu4h2R.N3/mVBA7Xh7aLzKSJDAsK61n52\n"  # bcrypt of PASSWORD
_START_SECONDS = 10
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_ACCESS = re.compile(r'"(\w+) (\S+) HTTP/[\d.]+" (\d{3}) ')


@dataclass
class RegistryServer:
    """One of the test's own. It may be stopped and started again: the port and what it holds stay."""

    directory: Path
    host: str
    authority: Path | None = None  # of its TLS certificate
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @staticmethod
    def make(
        directory: Path,
        port: int,
        *,
        address: str = "127.0.0.1",
        passwords: bool = False,
        tls: Pair | None = None,
        **auth: Any,
    ) -> "RegistryServer":
        """Not started yet. `auth`: the configuration's own section of that name."""
        tools.ensure({"docker-registry": "docker-registry"}, "the tests push to it", print)
        directory.mkdir(parents=True, exist_ok=True)
        host = f"{address}:{port}"
        listen: dict[str, Any] = {"addr": host}
        if tls:
            listen["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
        if passwords:
            (directory / "htpasswd").write_text(_HTPASSWD)
            auth["htpasswd"] = {"realm": "the lab", "path": str(directory / "htpasswd")}
        config = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}, "delete": {"enabled": True}},
            "http": listen,
            **({"auth": auth} if auth else {}),
        }
        (directory / "config.yml").write_text(yaml.safe_dump(config))
        return RegistryServer(directory, host, tls.certificate.parent / "ca.crt" if tls else None)

    def start(self) -> "RegistryServer":
        """Returns when it answers."""
        with (self.directory / "log").open("ab") as log:
            command = [str(shutil.which("docker-registry")), "serve", str(self.directory / "config.yml")]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.send("GET", "/v2/")
                return self
            except OSError:
                ended = self._process.poll() is not None or time.monotonic() > deadline
                assert not ended, (self.directory / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def requests(self) -> list[tuple[str, str, int]]:
        """Method, path and status of all that it answered."""
        lines = (self.directory / "log").read_text().splitlines()
        return [(found[1], found[2], int(found[3])) for line in lines if (found := _ACCESS.search(line))]

    def pushes(self) -> list[str]:
        """The tags and digests under which manifests and indexes were taken: REPOSITORY:TAG."""
        taken = [path for method, path, status in self.requests() if method == "PUT" and "/manifests/" in path and status == 201]
        return [path.removeprefix("/v2/").replace("/manifests/", ":") for path in taken]

    def push(self, repository: str, tag: str, platform: str, content: str = "", authorization: str = "") -> str:
        """An image without layers for this platform; returns its digest."""
        system, architecture, *variant = platform.split("/")
        described = {"os": system, "architecture": architecture, **({"variant": variant[0]} if variant else {})}
        rest = {"config": {"Labels": {"content": content}}, "rootfs": {"type": "layers", "diff_ids": []}}
        config = json.dumps({**described, **rest}).encode()
        digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
        headers = {"Authorization": authorization} if authorization else {}
        status, said, _ = self.send("POST", f"/v2/{repository}/blobs/uploads/", headers)
        assert status == 202, (status, said)
        place = re.sub(r"^https?://[^/]+", "", said["Location"])
        status, _, body = self.send("PUT", f"{place}&digest={digest}", headers, config)
        assert status == 201, body
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, "digest": digest, "size": len(config)},
            "layers": [],
        }
        status, said, body = self.put(repository, tag, manifest, headers)
        assert status == 201, body
        return said["Docker-Content-Digest"]

    def put(
        self, repository: str, tag: str, manifest: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """A manifest or index as it is."""
        named = {"Content-Type": manifest["mediaType"], **(headers or {})}
        return self.send("PUT", f"/v2/{repository}/manifests/{tag}", named, json.dumps(manifest).encode())

    def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """One request: status, headers and body of the answer."""
        if self.authority:
            context = ssl.create_default_context(cafile=str(self.authority))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(self.host, timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection(self.host, timeout=10)
        with closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()


def credentials(host, user=USER, password=PASSWORD):
    return Credentials.parse(json.dumps({"auths": {host: {"username": user, "password": password}}}))


async def refused(reason, call, field="spec.image.ref"):
    with pytest.raises(Refused) as raised:
        await call
    assert raised.value.reason == reason
    assert raised.value.problems[0].path == field
    return str(raised.value)


async def waits(reason, call):
    with pytest.raises(Waiting) as raised:
        await call
    assert raised.value.reason == reason
    return raised.value


@asynccontextmanager
async def answering(answer):
    """A server that answers everything so; yields the client, a reference to it, and the requests."""
    requests = []

    async def handle(request):
        requests.append((request.method, request.path, request.headers.get("Authorization")))
        return await answer(request)

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handle)
    server = TestServer(application)
    await server.start_server()
    try:
        host = f"{server.host}:{server.port}"
        async with Registries(plain_http=[host]) as registries:
            yield registries, Reference.parse(f"{host}/a:1"), requests
    finally:
        await server.close()

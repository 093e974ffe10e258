"""Registries that are away, refuse or want passwords; and that nobody sees the password who has no business with it."""

import base64
import gzip
import json
import os
import socket
import time
from pathlib import Path

import pytest
from builder_kit import SPY, Builder
from builder_kit import environment as given
from registry_kit import PASSWORD, USER, RegistryServer
from unicorn_core.images import BuildResult
from unicorn_devcluster.certificates import Authority

ENCODED = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@pytest.fixture
def guarded(tmp_path, unused_tcp_port):
    """With TLS and a password."""
    (tmp_path / "tls").mkdir()
    tls = Authority.make(tmp_path / "tls").sign(tmp_path / "tls", "registry", user="registry", hosts=["127.0.0.1"])
    server = RegistryServer.make(tmp_path / "guarded", unused_tcp_port, passwords=True, tls=tls).start()
    yield server
    server.stop()


@pytest.fixture
def guarded_builder(guarded, base, storage, tmp_path):
    """The base lies in a registry without either, the image goes to the guarded one."""
    credentials = tmp_path / "credentials" / "config.json"
    credentials.parent.mkdir()
    credentials.write_text(json.dumps({"auths": {guarded.host: {"auth": ENCODED}}}))
    credentials.chmod(0o600)
    more = {"REGISTRY_AUTH_FILE": str(credentials), "SSL_CERT_FILE": str(guarded.authority)}
    return Builder(guarded, base, tmp_path, storage, given(tmp_path / "home", **more), plain_http=(base.partition("/")[0],))


def test_the_password_of_the_registry_is_seen_by_nobody(guarded_builder, guarded):
    credentials = Path(guarded_builder.environment["REGISTRY_AUTH_FILE"])
    spy = f"FILE={credentials} NAME={credentials.name}; export FILE NAME; {SPY}"
    inputs = guarded_builder.inputs(commands=(spy, "echo done"))
    process = guarded_builder.start(inputs)
    seen = set()
    while process.poll() is None:
        seen |= command_lines()
        time.sleep(0.01)
    done = guarded_builder.finish(inputs, process)
    assert done.report.result == BuildResult.BUILT, done.log
    assert any("buildah" in line and "push" in line for line in seen), "the watch was too slow to prove anything"
    assert "held: unshare" in done.log
    assert "held: mount" in done.log
    assert done.log.count("held:") >= 3, done.log
    places = {"argv": "\n".join(seen), "log": done.log, "report": repr(done.report)}
    for secret in (PASSWORD, ENCODED):
        assert [place for place, text in places.items() if secret in text] == []
        assert holding(guarded.directory / "storage", secret) == [], "neither layers nor configurations have it"


def command_lines():
    lines = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                lines.add(Path(f"/proc/{entry.name}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return lines


def holding(directory, secret):
    """The blobs with this in them, unpacked."""
    found = []
    for path in directory.rglob("data"):
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if secret.encode() in content:
            found.append(path)
    return found


def test_a_wrong_password_is_told_from_a_registry_that_is_away(guarded_builder, guarded):
    path = Path(guarded_builder.environment["REGISTRY_AUTH_FILE"])
    path.write_text(json.dumps({"auths": {guarded.host: {"auth": base64.b64encode(b"lab:wrong").decode()}}}))
    refused = guarded_builder.build()
    assert refused.report.result == BuildResult.PUSH_REFUSED
    assert "wrong" not in refused.log
    guarded.stop()
    away = guarded_builder.build()
    assert away.report.result == BuildResult.REGISTRY_UNREACHABLE


def test_an_authority_that_is_not_trusted_is_said(guarded_builder):
    environment = {key: value for key, value in guarded_builder.environment.items() if key != "SSL_CERT_FILE"}
    guarded_builder.environment = environment
    done = guarded_builder.build()
    assert done.report.result == BuildResult.REGISTRY_UNREACHABLE
    assert "certificate signed by unknown authority" in done.report.message


def test_a_base_that_nobody_knows(builder):
    done = builder.build(base=f"{builder.registry.host}/base@sha256:{'0' * 64}")
    assert done.report.result == BuildResult.BASE_NOT_FOUND
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    done = builder.build(base=f"127.0.0.1:{nobody}/base@sha256:{'0' * 64}")
    assert done.report.result == BuildResult.REGISTRY_UNREACHABLE

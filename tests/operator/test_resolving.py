"""From names to digests, at real registries: what is asked how often, and what an index's word is worth."""

import asyncio
import hashlib
import json
import socket
import time
from contextlib import aclosing

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from registry_kit import RegistryServer
from unicorn_core.errors import Refused, Waiting
from unicorn_core.images import build_hash
from unicorn_core.resources import BuildSpec
from unicorn_operator.images import resolving
from unicorn_operator.images.credentials import CredentialReader
from unicorn_operator.images.inputs import InputReader
from unicorn_operator.images.questions import Questions
from unicorn_operator.images.repository import Repository
from unicorn_operator.images.resolving import Resolver
from unicorn_operator.registry import Addition, Reference, Registries
from unicorn_operator.registry.manifests import OCI_INDEX, OCI_MANIFEST, digest_of

CREDENTIALS = CredentialReader(None, "system")  # type: ignore[arg-type] no Secret is ever asked for
NOTHING = Addition(b"", "nothing", ())
PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture
def server(tmp_path, unused_tcp_port):
    made = RegistryServer.make(tmp_path / "registry", unused_tcp_port).start()
    yield made
    made.stop()


@pytest.fixture
def silent():
    """HOST:PORT of one that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
async def registries(server, silent):
    async with Registries(plain_http=[server.host, silent]) as made:
        yield made


@pytest.fixture
async def questions():
    async with aclosing(Questions()) as made:
        yield made


@pytest.fixture
def resolver(registries, questions):
    return Resolver(registries, CREDENTIALS, questions)


async def index(server, registries, repository="py", tag="1"):
    tag = Reference.parse(f"{server.host}/{repository}:{tag}")
    images = {}
    for platform in PLATFORMS:
        digest = server.push(repository, platform.replace("/", "-"), platform)
        images[platform] = await registries.resolve(tag.at(digest), platform)
    await registries.put_index(tag, images)
    return str(tag)


def read(server):
    """The manifests and indexes that were asked for, after the pushes."""
    return [method for method, path, _ in server.requests() if "/manifests/" in path and method in ("GET", "HEAD")]


async def test_what_a_known_digest_stands_for_is_not_asked_again(server, registries, resolver, monkeypatch):
    monkeypatch.setattr(resolving, "_FRESH_SECONDS", 0.0)
    tag = await index(server, registries)
    before = len(read(server))
    for namespace in ("one", "one", "one", "two"):
        assert set((await resolver.resolve(tag, namespace, "", "spec.image.ref")).refs()) == {*PLATFORMS, "*"}
    assert read(server)[before:] == ["HEAD", "GET", "HEAD", "HEAD", "HEAD", "GET"], "another namespace has it by itself"
    server.push("py", "1", "linux/amd64", "another")
    assert set((await resolver.resolve(tag, "one", "", "spec.image.ref")).refs()) == {"linux/amd64", "*"}


async def test_the_manifests_of_a_base_are_had_once(server, registries, resolver, monkeypatch):
    monkeypatch.setattr(resolving, "_FRESH_SECONDS", 0.0)
    tag = await index(server, registries)
    before = len(read(server))
    for _ in range(3):
        await resolver.resolve(tag, "one", "", "spec.build.base", ["linux/arm64"])
    assert read(server)[before:] == ["HEAD", "GET", "GET", "HEAD", "HEAD"]


@pytest.fixture
async def evil(request):
    """HOST:PORT of a registry whose index lists whatever digest, and what it has under that: nothing, or something else."""
    listed, has = f"sha256:{hashlib.sha256(b'private').hexdigest()}", request.param
    entry = {"mediaType": OCI_MANIFEST, "digest": listed, "size": 7, "platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()

    async def manifest(asked: web.Request) -> web.Response:
        content = has if asked.match_info["version"] == listed else index
        if content is None:
            raise web.HTTPNotFound
        kind, digest = (OCI_INDEX, digest_of(index)) if content is index else (OCI_MANIFEST, listed)
        return web.Response(body=content, headers={"Content-Type": kind, "Docker-Content-Digest": digest})

    app = web.Application()
    app.router.add_get("/v2/x/manifests/{version}", manifest)
    async with TestServer(app) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("evil", "reason"),
    [
        (None, "ImageNotFound"),
        (b'{"schemaVersion": 2, "config": {}, "layers": []}', "RegistryUnreachable"),
    ],
    indirect=["evil"],
)
async def test_an_index_that_lists_somebody_elses_base_makes_no_hash(evil, questions, reason):
    """Its maker knows the digest of a private base, and would have what was built upon it."""
    async with Registries(plain_http=[evil]) as registries:
        inputs = InputReader(None, Resolver(registries, CREDENTIALS, questions), "", "a" * 64)  # type: ignore[arg-type]
        with pytest.raises((Refused, Waiting)) as raised:
            await inputs.read(BuildSpec(base=f"{evil}/x:1"), "lab")
        assert raised.value.reason == reason


async def test_an_honest_index_makes_the_hash_of_its_manifest(server, registries, resolver):
    tag = await index(server, registries)
    inputs = InputReader(None, resolver, "", "a" * 64)  # type: ignore[arg-type] no ConfigMap is asked for
    by_index = await inputs.read(BuildSpec(base=tag), "lab")
    by_manifest = await inputs.read(BuildSpec(base=f"{server.host}/py:linux-amd64"), "lab")
    assert build_hash(by_index["linux/amd64"]) == build_hash(by_manifest["linux/amd64"])


async def test_a_registry_that_hangs_holds_up_a_pass_for_a_moment_and_once(registries, silent, server):
    async with aclosing(Questions(patience=0.3)) as questions:
        resolver = Resolver(registries, CREDENTIALS, questions)
        began = time.monotonic()
        for _ in range(10):
            with pytest.raises(Waiting) as raised:
                await resolver.resolve(f"{silent}/py:1", "lab", "", "spec.image.ref")
            assert raised.value.reason == "RegistryUnreachable"
            assert "has not answered yet" in raised.value.message
        assert time.monotonic() - began < 2
        server.push("py", "1", "linux/amd64")
        assert (await resolver.resolve(f"{server.host}/py:1", "lab", "", "spec.image.ref")).refs()


async def test_a_registry_of_ours_that_hangs_is_no_evidence_of_a_loss(registries, silent):
    async with aclosing(Questions(patience=0.3)) as questions:
        repository = Repository(Reference.parse(f"{silent}/built").tagged(""), registries, CREDENTIALS, questions, NOTHING)
        began = time.monotonic()
        image = f"{silent}/built@sha256:{'0' * 64}"
        assert [await repository.lost(image) for _ in range(10)] == [False] * 10
        assert time.monotonic() - began < 2


async def test_no_answer_about_a_loss_is_remembered_for_a_while(server, registries, questions):
    repository = Repository(Reference.parse(f"{server.host}/built").tagged(""), registries, CREDENTIALS, questions, NOTHING)
    digest = server.push("built", "1", "linux/amd64")
    there, gone = f"{server.host}/built@{digest}", f"{server.host}/built@sha256:{'0' * 64}"
    server.stop()
    assert not await repository.lost(gone)
    server.start()
    before = len(read(server))
    assert not await repository.lost(gone), "it is not asked again at once"
    assert len(read(server)) == before
    assert not await repository.lost(there)
    assert await repository.lost(f"{server.host}/elsewhere@{digest}")


async def test_many_ask_once(server, registries, resolver):
    tag = await index(server, registries)
    before = len(read(server))
    await asyncio.gather(*(resolver.resolve(tag, "lab", "", "spec.image.ref") for _ in range(30)))
    assert read(server)[before:] == ["HEAD", "GET"]

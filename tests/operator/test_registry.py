"""The client of registries against real ones: plain, with TLS and passwords, with a token service."""

import asyncio
import base64
import gzip
import json
import time

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from registry_kit import BASIC, RegistryServer, answering, credentials, refused, waits
from unicorn_core.errors import Refused
from unicorn_core.reasons import EnvironmentReason
from unicorn_devcluster.certificates import Authority
from unicorn_operator.registry import Addition, Credentials, Reference, Registries
from unicorn_operator.registry.manifests import OCI_INDEX, OCI_MANIFEST

pytestmark = pytest.mark.tools

ADDITION = Addition(b"a tar, to a registry", "what it is", ("python3", "/x"))
UNKNOWN = "sha256:" + "0" * 64
ACCEPT = {"Accept": OCI_MANIFEST}


@pytest.fixture
def plain(tmp_path, unused_tcp_port):
    server = RegistryServer.make(tmp_path / "registry", unused_tcp_port).start()
    yield server
    server.stop()


@pytest.fixture
async def registries(plain):
    async with Registries(plain_http=[plain.host]) as registries:
        yield registries


# --- a plain one -----------------------------------------------------------------------------------------------------


async def test_an_index_is_pushed_found_resolved_and_deleted(plain, registries):
    tag = Reference.parse(f"{plain.host}/env/py:1")
    digests = {
        platform: plain.push("env/py", platform.replace("/", "-"), platform) for platform in ("linux/amd64", "linux/arm64")
    }
    images = {}
    for platform, digest in digests.items():
        images[platform] = await registries.resolve(tag.at(digest), platform)
        assert images[platform].digest == digest, "a single manifest is resolved by what its config says"
    assert await registries.find(tag) is None

    index = await registries.put_index(tag, images)
    assert await registries.put_index(tag, dict(reversed(images.items()))) == index, "the same images make the same index"
    assert index.media_type == OCI_INDEX
    assert await registries.find(tag) == index
    assert await registries.find(tag.at(index.digest)) == index
    for platform, digest in digests.items():
        assert (await registries.resolve(tag, platform)).digest == digest
    assert {image.platform for image in await registries.images(tag)} == set(digests)

    assert await registries.delete(tag.at(index.digest))
    assert await registries.find(tag) is None
    assert not await registries.delete(tag.at(index.digest)), "it is gone already"
    assert await registries.find(tag.at(digests["linux/arm64"])), "its images are not"


async def test_what_is_not_there_is_refused_with_its_place(plain, registries):
    tag = Reference.parse(f"{plain.host}/env/py:1")
    field = "spec.image.ref"
    said = await refused(EnvironmentReason.IMAGE_NOT_FOUND, registries.resolve(tag, "linux/amd64", field=field))
    assert str(tag) in said
    plain.push("env/py", "1", "linux/arm/v7")
    said = await refused(EnvironmentReason.PLATFORM_MISSING, registries.resolve(tag, "linux/amd64", field=field))
    assert "linux/amd64" in said
    assert "linux/arm/v7" in said
    one = (await registries.images(tag))[0].manifest
    lost = {"linux/arm/v7": one, "linux/amd64": type(one)(OCI_MANIFEST, UNKNOWN, 3)}
    await refused(EnvironmentReason.IMAGE_NOT_FOUND, registries.put_index(tag.tagged("index"), lost, field=field))
    assert await registries.find(tag.at(UNKNOWN)) is None
    assert not await registries.delete(tag.at(UNKNOWN))


def uploads(server):
    return [path for method, path, status in server.requests() if (method, status) == ("PUT", 201) and "/blobs/" in path]


async def test_a_layer_is_laid_over_an_image(plain, registries):
    tag, amd64 = Reference.parse(f"{plain.host}/env/py:1"), "linux/amd64"
    below = tag.at(plain.push("env/py", "below", amd64))
    made = await registries.extend(below, ADDITION, "1")
    assert await registries.resolve(tag, amd64) == made
    layer = plain.send("GET", f"/v2/env/py/blobs/{ADDITION.digest}")[2]
    assert gzip.decompress(layer) == ADDITION.archive
    before = len(uploads(plain))
    assert await registries.extend(below, ADDITION, "1") == made
    assert await registries.extend(tag.tagged("below"), ADDITION, "2") == made, "by its tag as well"
    other = await registries.extend(tag.at(plain.push("env/py", "other", amd64, "other")), ADDITION, "3")
    assert other != made
    assert len(uploads(plain)) == before + 4, "three configurations and that of what was pushed: the layer is there"
    assert await registries.extend(tag.tagged("nobody's"), ADDITION, "4") is None
    assert await registries.extend(tag.at(UNKNOWN), ADDITION, "4") is None
    index = await registries.put_index(tag.tagged("index"), {amd64: made})
    error = await waits(EnvironmentReason.REGISTRY_UNREACHABLE, registries.extend(tag.at(index.digest), ADDITION, "4"))
    assert "is no OCI image" in error.message
    assert await registries.find(tag.tagged("4")) is None


async def test_a_registry_that_is_away_is_waited_for(plain, registries):
    tag = Reference.parse(f"{plain.host}/env/py:1")
    plain.push("env/py", "1", "linux/amd64")
    plain.stop()
    error = await waits(EnvironmentReason.REGISTRY_UNREACHABLE, registries.resolve(tag, "linux/amd64"))
    assert plain.host in error.message
    plain.start()
    assert await registries.resolve(tag, "linux/amd64")


async def test_a_registry_that_must_not_be_plain_is_not_spoken_to(plain):
    async with Registries() as registries:
        error = await waits(EnvironmentReason.REGISTRY_UNREACHABLE, registries.find(Reference.parse(f"{plain.host}/a:1")))
    assert "UNICORN_PLAIN_HTTP_REGISTRIES" in error.message
    assert not [path for _, path, _ in plain.requests() if "/a/" in path]


# --- TLS and passwords -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority.make(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def guarded(tmp_path, unused_tcp_port, authority):
    pair = authority.sign(authority.pair.certificate.parent, f"registry-{unused_tcp_port}", user="registry", hosts=["127.0.0.1"])
    server = RegistryServer.make(tmp_path / "guarded", unused_tcp_port, passwords=True, tls=pair).start()
    yield server
    server.stop()


async def test_with_tls_and_a_password(guarded):
    tag = Reference.parse(f"{guarded.host}/env/py:1")
    digest = guarded.push("env/py", "1", "linux/amd64", authorization=BASIC)
    known = credentials(guarded.host)
    async with Registries(ca_file=str(guarded.authority)) as registries:
        image = await registries.resolve(tag, "linux/amd64", known)
        assert image.digest == digest
        index = await registries.put_index(tag.tagged("index"), {"linux/amd64": image}, known)
        assert await registries.delete(tag.at(index.digest), known)
        made = await registries.extend(tag, ADDITION, "2", known)
        assert await registries.find(tag.tagged("2"), known) == made

        before = len(guarded.requests())
        await registries.find(tag, known)
        assert len(guarded.requests()) == before + 1, "it is known by now how this registry wants to be asked"

        field = "spec.image.ref"
        said = await refused(EnvironmentReason.REGISTRY_UNAUTHORIZED, registries.find(tag, field=field))
        assert "no credentials" in said
        wrong = credentials(guarded.host, password="s3cret")
        said = await refused(EnvironmentReason.REGISTRY_UNAUTHORIZED, registries.find(tag, wrong, field=field))
        assert "s3cret" not in said
        elsewhere = credentials("h.example")
        await refused(EnvironmentReason.REGISTRY_UNAUTHORIZED, registries.find(tag, elsewhere, field=field))


async def test_a_certificate_that_is_not_trusted_is_said(guarded):
    async with Registries() as registries:
        known = credentials(guarded.host)
        error = await waits(
            EnvironmentReason.REGISTRY_UNREACHABLE, registries.find(Reference.parse(f"{guarded.host}/a:1"), known)
        )
    assert "not trusted" in error.message


@pytest.mark.parametrize("content", ["", "no PEM"])
def test_a_wrong_ca_file_is_refused(tmp_path, content):
    file = tmp_path / "ca.crt"
    if content:
        file.write_text(content)
    with pytest.raises(Refused, match="UNICORN_REGISTRY_CA_FILE"):
        Registries(ca_file=str(file))


# --- tokens ----------------------------------------------------------------------------------------------------------


class TokenService:
    """As Docker Hub has one: gives out what a user may do, anonymous ones may pull `public/…`."""

    def __init__(self, authority):
        self.asked = []
        self.seconds = 300
        certificate = x509.load_pem_x509_certificate(authority.pair.certificate.read_bytes())
        self._key = authority.pair.key.read_bytes()
        self._chain = [base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode()]

    async def give(self, request):
        form = await request.post() if request.method == "POST" else request.query
        scope = form["scope"]
        kind, name, actions = scope.split(":")
        scope = ":".join((kind, name, ",".join(sorted(actions.split(",")))))  # the registry names them in any order
        identity = form.get("refresh_token")
        known = request.headers.get("Authorization") == BASIC or identity == "an-identity"
        self.asked.append((request.method, known, form.get("service"), scope))
        if not known and ("Authorization" in request.headers or identity):
            return web.json_response({"errors": [{"code": "UNAUTHORIZED", "message": "wrong"}]}, status=401)
        allowed = actions.split(",") if known else ["pull"] if name.startswith("public/") else []
        token = self.sign([{"type": kind, "name": name, "actions": allowed}])
        return web.json_response({"token" if request.method == "GET" else "access_token": token, "expires_in": self.seconds})

    def sign(self, access):
        now = int(time.time())
        claims = {"iss": "lab", "aud": "registry", "sub": "", "exp": now + 300, "nbf": now - 10, "iat": now, "access": access}
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": self._chain})


@pytest.fixture
async def service(authority):
    service = TokenService(authority)
    application = web.Application()
    application.router.add_route("*", "/token", service.give)
    server = TestServer(application)
    await server.start_server()
    service.url = str(server.make_url("/token"))
    yield service
    await server.close()


@pytest.fixture
async def behind_tokens(tmp_path, unused_tcp_port, service, authority):
    token = {"realm": service.url, "service": "registry", "issuer": "lab", "rootcertbundle": str(authority.pair.certificate)}
    server = RegistryServer.make(tmp_path / "behind", unused_tcp_port, token=token).start()
    yield server
    server.stop()


@pytest.fixture
def pushed(behind_tokens, service):
    for repository in ("public/py", "lab/py"):
        token = service.sign([{"type": "repository", "name": repository, "actions": ["pull", "push"]}])
        behind_tokens.push(repository, "1", "linux/amd64", authorization=f"Bearer {token}")
    return behind_tokens.host


async def test_tokens_are_fetched_and_kept(pushed, service):
    public, private = (Reference.parse(f"{pushed}/{name}/py:1") for name in ("public", "lab"))
    known = credentials(pushed)
    async with Registries(plain_http=[pushed]) as registries:
        assert await registries.resolve(public, "linux/amd64"), "nobody in particular may have the public one"
        await refused(EnvironmentReason.REGISTRY_UNAUTHORIZED, registries.find(private), field="image")
        image = await registries.resolve(private, "linux/amd64", known)
        before = len(service.asked)
        await asyncio.gather(*(registries.find(private, known) for _ in range(5)))
        assert len(service.asked) == before, "the token is kept"
        await refused(EnvironmentReason.REGISTRY_UNAUTHORIZED, registries.find(private), field="image")

        index = await registries.put_index(private.tagged("index"), {"linux/amd64": image}, known)
        assert service.asked[-1] == ("GET", True, "registry", "repository:lab/py:pull,push")
        assert await registries.delete(private.at(index.digest), known)
        assert service.asked[-1] == ("GET", True, "registry", "repository:lab/py:delete")
        assert await registries.extend(private, ADDITION, "2", known)
        assert service.asked[-1] == ("GET", True, "registry", "repository:lab/py:delete"), "the tokens are kept"

        wrong = credentials(pushed, password="s3cret")
        said = await refused(EnvironmentReason.REGISTRY_UNAUTHORIZED, registries.find(private, wrong), field="image")
        assert "s3cret" not in said


async def test_an_identity_token_is_exchanged(pushed, service):
    known = Credentials.parse(json.dumps({"auths": {pushed: {"identitytoken": "an-identity"}}}))
    async with Registries(plain_http=[pushed]) as registries:
        assert await registries.resolve(Reference.parse(f"{pushed}/lab/py:1"), "linux/amd64", known)
    assert service.asked == [("POST", True, "registry", "repository:lab/py:pull")]


async def test_a_token_that_is_not_taken_any_more_is_replaced(pushed, service):
    reference, known = Reference.parse(f"{pushed}/lab/py:1"), credentials(pushed)
    async with Registries(plain_http=[pushed]) as registries:
        await registries.find(reference, known)
        tokens = registries._transport._tokens
        for key in list(tokens._held):
            tokens.keep(key, "Bearer of-yesterday", 300)
        assert await registries.find(reference, known)
    assert len(service.asked) == 2


# --- one before it --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["http://elsewhere.example/x", "https://{host}/x", "http://[", "gopher://x/", "mailto:x"])
async def test_nothing_is_uploaded_to_another_place(plain, place):
    async def answer(request):
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": place.format(host=request.host)})
        path = request.path.replace("/a/", "/env/py/")
        status, headers, body = await asyncio.to_thread(plain.send, request.method, path, ACCEPT)
        return web.Response(status=status, body=body, headers={"Content-Type": headers["Content-Type"]})

    plain.push("env/py", "1", "linux/amd64")
    async with answering(answer) as (registries, reference, requests):
        error = await waits(EnvironmentReason.REGISTRY_UNREACHABLE, registries.extend(reference, ADDITION, "2"))
    assert "takes uploads at" in error.message
    assert "PUT" not in {method for method, _, _ in requests}

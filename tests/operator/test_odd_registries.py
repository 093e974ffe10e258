"""The client of registries against odd ones: what they answer is waited for, passed on or refused, and believed in no case."""

import asyncio
import json
from datetime import timedelta

import pytest
from aiohttp import web
from registry_kit import BASIC, answering, credentials, refused, waits
from unicorn_core.reasons import EnvironmentReason
from unicorn_operator.registry import Addition, transport
from unicorn_operator.registry.manifests import OCI_INDEX, OCI_MANIFEST, Nonsense, digest_of

ADDITION = Addition(b"a tar, to a registry", "what it is", ("python3", "/x"))
UNKNOWN = "sha256:" + "0" * 64


def always(status=200, **answer):
    async def give(request):
        return web.Response(status=status, **answer)

    return give


def manifest(content, **headers):
    return always(body=content, headers={"Content-Type": OCI_MANIFEST, **headers})


INDEX = {"Content-Type": OCI_INDEX}
ACCEPT = {"Accept": OCI_MANIFEST}


@pytest.mark.parametrize(
    ("answer", "reason", "said", "retry"),
    [
        (always(500, headers={"Retry-After": "7"}), "RegistryUnreachable", "500", 7),
        (always(503, text='{"errors": [{"code": "X", "message": "later\\u001b"}]}'), "RegistryUnreachable", "X: later", 15),
        (always(429, headers={"Retry-After": "60"}), "RegistryBusy", "429", 60),
        (always(429, headers={"Retry-After": "9999999"}), "RegistryBusy", "429", 3600),
        (always(200, text="<html>"), "RegistryUnreachable", "is no JSON", 5),
        (manifest(b"[]"), "RegistryUnreachable", "no JSON object", 5),
        (always(200, body=b'{"mediaType": "application/x"}'), "RegistryUnreachable", "is no image", 5),
        (always(200, body=b'{"manifests": 3}', headers=INDEX), "RegistryUnreachable", "no list", 5),
        (manifest(b'{"config": {}}'), "RegistryUnreachable", "without a valid digest", 5),
        (manifest(b"{}", **{"Docker-Content-Digest": UNKNOWN}), "RegistryUnreachable", "has the digest", 5),
        (always(200, body=b" " * (5 * 1024 * 1024)), "RegistryUnreachable", "more than", 15),
        (always(302, headers={"Location": "/again"}), "RegistryUnreachable", "redirects more than", 15),
        (always(302, headers={"Location": "gopher://h/"}), "RegistryUnreachable", "redirects a GET", 15),
        (always(302), "RegistryUnreachable", "redirects", 15),
        (always(401, headers={"WWW-Authenticate": 'Bearer realm="nonsense"'}), "RegistryUnreachable", "token service", 15),
    ],
)
async def test_sense_is_waited_for(answer, reason, said, retry):
    async with answering(answer) as (registries, reference, _):
        error = await waits(reason, registries.images(reference))
    assert said in error.message
    assert "\x1b" not in error.message
    assert error.retry_after == timedelta(seconds=retry)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, "RegistryRefused"), (405, "RegistryRefused"), (403, "RegistryUnauthorized"), (401, "RegistryUnauthorized")],
)
async def test_a_refusal_is_passed_on(status, reason):
    async with answering(always(status, text='{"errors": [{"code": "UNSUPPORTED"}]}')) as (registries, reference, _):
        assert "UNSUPPORTED" in await refused(reason, registries.delete(reference.at(UNKNOWN), field="x"), field="x")


async def test_no_answer_in_time_is_waited_for(monkeypatch):
    monkeypatch.setattr(transport, "_REQUEST_SECONDS", 0.05)
    leave = asyncio.Event()

    async def answer(request):
        await leave.wait()
        return web.Response()

    async with answering(answer) as (registries, reference, _):
        error = await waits(EnvironmentReason.REGISTRY_UNREACHABLE, registries.find(reference))
        leave.set()
    assert "in time" in error.message


async def test_another_host_is_not_told_who_asks():
    """Registries send readers elsewhere, to a store that knows no passwords of theirs."""
    content = json.dumps({"manifests": []}).encode()

    async def elsewhere(request):
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=content, headers=INDEX)

    seen = []
    async with answering(elsewhere) as (_, there, _):

        async def answer(request):
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": "Basic realm=x"})
            return web.Response(status=307, headers={"Location": f"http://{there.registry}/elsewhere"})

        async with answering(answer) as (registries, reference, requests):
            assert await registries.images(reference, credentials(reference.registry)) == ()
    assert requests[-1][2] == BASIC
    assert seen == [None]


async def test_a_digest_left_out_by_head_is_read():
    content = json.dumps({"manifests": []}).encode()
    async with answering(always(200, body=content, headers=INDEX)) as (registries, reference, requests):
        found = await registries.find(reference)
    assert found.digest == digest_of(content)
    assert [method for method, _, _ in requests] == ["HEAD", "GET"]


async def test_what_is_pushed_is_never_redirected():
    async with answering(always(307, headers={"Location": "/elsewhere"})) as (registries, reference, requests):
        await waits(EnvironmentReason.REGISTRY_UNREACHABLE, registries.put_index(reference, {}))
    assert len(requests) == 1


IMAGE = {"layers": []}
CONFIG = {"rootfs": {"type": "layers", "diff_ids": []}}


@pytest.mark.parametrize(
    ("manifest", "config"),
    [
        ({}, CONFIG),
        ({"layers": {}}, CONFIG),
        (IMAGE, {}),
        (IMAGE, {"rootfs": []}),
        (IMAGE, {"rootfs": {"diff_ids": None}}),
        (IMAGE, {**CONFIG, "history": {"a": 1}}),
        (IMAGE, {**CONFIG, "config": ["Cmd"]}),
    ],
)
def test_nothing_is_laid_over_what_is_no_image(manifest, config):
    assert ADDITION.over(IMAGE, CONFIG)
    with pytest.raises(Nonsense, match="is no OCI image"):
        ADDITION.over(manifest, config)

"""What the client does with answers that a real API server gives rarely. Its calls against a real one: test_cluster.py."""

import asyncio
import contextlib
import json
from datetime import timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from unicorn_core.errors import ApiRefused, ApiUnavailable, Conflict, NotFound
from unicorn_kube import KubeClient, KubeConfig, client
from unicorn_kube.resource import EXPERIMENTS, NODES, PODS, SERVICE_ACCOUNTS


@contextlib.asynccontextmanager
async def a_server(answer):
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", answer)
    server = TestServer(application)
    await server.start_server()
    requests = []
    try:
        config = KubeConfig(server=str(server.make_url("")).rstrip("/"), token="t")
        async with KubeClient(config, on_request=lambda *request: requests.append(request)) as kube:
            yield kube, requests
    finally:
        await server.close()


def test_paths():
    assert PODS.path("a", "b", "log") == "/api/v1/namespaces/a/pods/b/log"
    assert PODS.path() == "/api/v1/pods"
    assert NODES.path(None, "n") == "/api/v1/nodes/n"
    assert EXPERIMENTS.path("a", "b", "status") == "/apis/netunicorn.io/v1alpha1/namespaces/a/experiments/b/status"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (409, Conflict),
        (429, ApiUnavailable),
        (500, ApiUnavailable),
        (503, ApiUnavailable),
        (403, ApiRefused),
        (302, ApiRefused),
    ],
)
async def test_the_status_chooses_the_error(status, error):
    async def answer(request):
        return web.json_response({"message": "because"}, status=status, headers={"Retry-After": "7"})

    async with a_server(answer) as (kube, _):
        with pytest.raises(error, match="because") as raised:
            await kube.get(PODS, "a", "b")
    if error is ApiUnavailable:
        assert raised.value.retry_after == timedelta(seconds=7)
    if error is ApiRefused:
        assert raised.value.status == status


async def test_no_server_is_unavailable(unused_tcp_port):
    async with KubeClient(KubeConfig(server=f"http://127.0.0.1:{unused_tcp_port}")) as kube:
        with pytest.raises(ApiUnavailable):
            await kube.version()


async def test_no_answer_in_time_is_unavailable(monkeypatch):
    monkeypatch.setattr(client, "_REQUEST_SECONDS", 0.05)
    leave = asyncio.Event()

    async def answer(request):
        await leave.wait()
        return web.Response()

    async with a_server(answer) as (kube, _):
        with pytest.raises(ApiUnavailable, match="no answer in time"):
            await kube.version()
        leave.set()


async def test_every_request_is_counted_with_its_method():
    async def answer(request):
        return web.json_response({})

    async with a_server(answer) as (kube, requests):
        await kube.get(PODS, "a", "b")
        await kube.create(SERVICE_ACCOUNTS, {"spec": {}}, "a", "robot", "token")
    assert requests == [("GET", "/api/v1/namespaces/a/pods/b"), ("POST", "/api/v1/namespaces/a/serviceaccounts/robot/token")]


async def test_a_list_goes_on_and_starts_again_when_the_server_forgot():
    asked = []

    async def answer(request):
        asked.append(dict(request.query))
        if request.query["limit"] == "0":
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": [{"n": 1}, {"n": 2}]})
        if "continue" in request.query:
            return web.json_response({"message": "too old"}, status=410)
        return web.json_response({"metadata": {"resourceVersion": "5", "continue": "c"}, "items": [{"n": 1}]})

    async with a_server(answer) as (kube, _):
        listing = await kube.list(PODS, "a", label_selector="x=y")
    assert [item["n"] for item in listing.items] == [1, 2]
    assert listing.resource_version == "9"
    assert [query["limit"] for query in asked] == ["500", "500", "0"]
    assert {query["labelSelector"] for query in asked} == {"x=y"}


async def test_a_watch_yields_long_lines_and_ends_with_the_servers_error():
    big = {"type": "ADDED", "object": {"text": "x" * 500_000}}
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        data = b"".join(json.dumps(event).encode() + b"\n" for event in (big, {"type": "BOOKMARK", "object": {}}, gone))
        for start in range(0, len(data), 100_000):
            await response.write(data[start : start + 100_000])
        return response

    seen = []
    async with a_server(answer) as (kube, _):
        with pytest.raises(ApiRefused) as raised:  # noqa: PT012
            async for kind, item in kube.watch(PODS, resource_version="1"):
                seen.append((kind, len(item.get("text", ""))))
    assert raised.value.status == 410
    assert seen == [("ADDED", 500_000), ("BOOKMARK", 0)]


async def test_a_silent_watch_is_unavailable(monkeypatch):
    monkeypatch.setattr(client, "_WATCH_SILENCE_SECONDS", 0.05)
    leave = asyncio.Event()

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await leave.wait()
        return response

    async with a_server(answer) as (kube, _):
        with pytest.raises(ApiUnavailable):
            async for _ in kube.watch(PODS):
                pass
        leave.set()


async def test_a_token_file_is_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "_TOKEN_SECONDS", -1)
    seen = []

    async def answer(request):
        seen.append(request.headers["Authorization"])
        return web.json_response({})

    async with a_server(answer) as (kube, _):
        file = tmp_path / "token"
        async with KubeClient(KubeConfig(server=kube.config.server, token_file=str(file))) as other:
            for token in ("one", "two"):
                file.write_text(token)
                await other.version()
    assert seen == ["Bearer one", "Bearer two"]

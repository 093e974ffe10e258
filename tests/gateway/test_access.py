"""Who is let in: every route of the table refuses what is not its own executor's."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import jwt
import pytest
from gateway_parts import Agent, eventually, signed
from unicorn_core import tokens
from unicorn_gateway.executor_api.routes import ROUTES

pytestmark = pytest.mark.database
GUARDED = [route for route in ROUTES if route.token and not route.token_in_path]  # those in the path: test_v1_access.py
OPEN = [route for route in ROUTES if not route.token]


def path_of(route):
    path = route.path.replace("{sha256}", "0" * 64).replace("{name}", "x")
    return path + "?wait=0&size=1&run=1&operation=1"


def claims(executor, **more):
    return {"sub": str(executor), "aud": tokens.AUDIENCE, "exp": datetime.now(UTC) + timedelta(hours=1), "fence": 1, **more}


def forged(key, executor, *, headers=None, **more):
    return jwt.encode(claims(executor, **more), key.key, algorithm="EdDSA", headers=headers or {"kid": key.kid})


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_without_a_valid_token_nothing_is_answered(gateway, operator, route):
    (executor,) = await operator.experiment()
    mine, foreign = gateway.key, tokens.new_key()
    bad = {
        "none": "",
        "no token": "x.y.z",
        "expired": signed(mine, executor, expires_in=timedelta(seconds=-1)),
        "signed by a stranger": signed(foreign, executor),
        "signed by a stranger under our kid": forged(foreign, executor, headers={"kid": mine.kid}),
        "for somebody else": forged(mine, executor, aud="unicorn-user"),
        "unsigned": jwt.encode(claims(executor), None, algorithm="none", headers={"kid": mine.kid}),
        "without a fence": forged(mine, executor, fence=None),
        "no executor": forged(mine, "me"),
        "symmetric": jwt.encode(claims(executor), "x" * 64, algorithm="HS256", headers={"kid": mine.kid}),
        "huge": "x" * 20_000,
    }
    for why, token in bad.items():
        agent = Agent(gateway.http, gateway.url, token)
        answer = await agent.call(route.method, path_of(route))
        assert answer.status == 401, why
        if route.method != "HEAD":
            assert answer.reason == "Unauthenticated", why
            assert token not in json.dumps(answer.body) or not token
    assert (await operator.row(executor))["state"] == "Starting"


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_unknown_executors_and_bad_instances(gateway, operator, route):
    (executor,) = await operator.experiment()
    assert (await gateway.agent(uuid4()).call(route.method, path_of(route))).status == 404
    for instance in ("", "x", "A" * 32, "0" * 31, "0" * 33):
        assert (await gateway.agent(executor, instance=instance).call(route.method, path_of(route))).status == 400


@pytest.mark.parametrize("route", OPEN, ids=lambda route: route.name)
async def test_open_routes_need_no_token(start, tmp_path, route):
    (tmp_path / "executor.pyz").write_bytes(b"PK agent")
    gateway = await start(agent=tmp_path / "executor.pyz")

    async def serves():
        async with gateway.http.get(gateway.url + route.path) as response:
            return response.status == 200

    await eventually(serves)


async def test_the_agent(start, tmp_path: Path):
    content = secrets.token_bytes(5000)
    (tmp_path / "executor.pyz").write_bytes(content)
    gateway = await start(agent=tmp_path / "executor.pyz")
    async with gateway.http.get(gateway.url + "/executor.pyz") as response:
        assert await response.read() == content
        tag = response.headers["ETag"]
    async with gateway.http.get(gateway.url + "/executor.pyz", headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    without = await start()
    async with without.http.get(without.url + "/executor.pyz") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/v2/flags/x", 405), ("POST", "/healthz", 405)]
)
async def test_no_such_route(gateway, method, path, status):
    async with gateway.http.request(method, gateway.url + path) as response:
        assert response.status == status
        assert response.content_type == "application/problem+json"
        assert (await response.json())["status"] == status
        if status == 405:
            assert set(response.headers["Allow"].split(", ")) <= {"GET", "PUT", "POST", "HEAD"}


async def test_new_keys_are_read_and_old_ones_stop_working(gateway, operator, tmp_path, monkeypatch):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    assert (await agent.check_in()).status == 200
    fresh = tokens.new_key()
    path = tmp_path / "keys" / "public.json"
    path.write_text("{half a file")
    path.write_text(tokens.public_json(fresh))

    async def refused():
        return (await agent.send(1)).status == 401

    await eventually(refused)
    agent.token = signed(fresh, executor)
    assert (await agent.send(1)).status == 200


async def test_tokens_never_reach_the_log(gateway, operator, capsys):
    (executor,) = await operator.experiment()
    agent = gateway.agent(executor)
    await agent.check_in()
    await agent.send(9)
    await agent.call("GET", f"/v2/flags/{agent.token[:100]}?wait=0&version=x")
    logged = "".join(capsys.readouterr())
    assert "GET /v2/executor/assignment" in logged
    assert agent.token.split(".")[2] not in logged
    assert agent.token[:100] not in logged

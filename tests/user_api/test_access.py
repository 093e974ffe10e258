"""Every route, by its table: who is let in, how refusals are said, what is logged. A new route can't be forgotten here."""

import asyncio
import gzip
import json
import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import uuid4

import jwt
import pytest
import structlog
from structlog.testing import CapturingLogger
from unicorn_core import tokens
from unicorn_gateway import logs
from unicorn_gateway.user_api.authentication.tokens import UserTokens
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.routes import ROUTES
from unicorn_gateway.user_api.routing import Version
from unicorn_gateway.user_api.service import LARGE_BODY, UserApi
from unicorn_store import users
from user_parts import account, stalled

pytestmark = pytest.mark.database

GUARDED = [route for route in ROUTES if route.authenticated]
OPEN = {"POST /api/v1/token", "GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json"}
DAY = timedelta(days=1)


def test_only_these_routes_are_open():
    assert {route.name for route in ROUTES if not route.authenticated} == OPEN


def test_the_tables_of_the_parts_do_not_collide():
    names = [re.sub(r"{\w+}", "{}", route.name) for route in ROUTES]
    assert len(names) == len(set(names))
    for route in ROUTES:
        assert (route.version is Version.V1) == route.path.startswith("/api/v1/"), route.name


def place(route):
    return re.sub(r"{\w+}", "x", route.path)


@pytest.fixture
async def guarded(start, store):
    """A user API for many wrong tokens, and (token -> why it is wrong)."""
    api = await start(login_failure_burst=1_000_000)
    ann, gone, ben = await account(store, "ann"), await account(store, "gone"), await account(store, "ben")
    genuine = UserTokens(api.settings.user_signing_key_file)
    now = datetime.now(UTC)
    key = tokens.load_signing_key(api.settings.user_signing_key_file.read_bytes())
    stranger = tokens.new_key()
    claims = {"sub": str(ann.id), "aud": "unicorn-user", "gen": 1, "exp": int((now + DAY).timestamp())}
    revoked = (await api.logged_in("ben")).token
    await users.revoke(store, "ben")
    removed = (await api.logged_in("gone")).token
    await users.remove(store, "gone")
    assert {ben.generation, gone.generation} == {1}
    wrong = {
        "none": "",
        "nonsense": "nonsense",
        "expired": genuine.issue(ann.id, 1, now - DAY - DAY, DAY),
        "foreign: of an executor, by the same key": tokens.sign(uuid4(), 1, now + DAY, key),
        "foreign: of an executor": tokens.sign(uuid4(), 1, now + DAY, stranger),
        "forged: by another key": jwt.encode(claims, stranger.key, algorithm="EdDSA", headers={"kid": key.kid}),
        "forged: unsigned": jwt.encode(claims, "", algorithm="none", headers={"kid": key.kid}),
        "forged: with the public key as a secret": _confused(claims, key),
        "replayed: revoked since": revoked,
        "replayed: its account was removed": removed,
    }
    return api, wrong, genuine.issue(ann.id, 1, now, DAY)


def _confused(claims, key):
    """HS256 with what everybody may know: an old fault of JWT libraries. Made by hand, for pyjwt does not make it."""
    import base64
    import hmac

    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(json.dumps({"alg": "HS256", "typ": "JWT", "kid": key.kid}).encode())
    signed = f"{head}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(hmac.digest(tokens.public_json(key).encode(), signed.encode(), 'sha256'))}"


async def test_every_route_refuses_every_wrong_token(guarded):
    api, wrong, right = guarded
    assert (await api.user(right).call("GET", "/api/v1/verify_token")).status == 200
    for route in GUARDED:
        for why, token in wrong.items():
            answer = await api.user(token).call(route.method, place(route), json={} if route.body is not None else None)
            assert answer.status == 401, (route.name, why, answer.body)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            if route.version is Version.V1:
                assert set(answer.body) == {"detail"}, route.name
            else:
                assert answer.reason == "Unauthenticated", route.name
                assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_token_counts_in_the_header_only(guarded):
    api, _, right = guarded
    nobody = api.user()
    for route in GUARDED[:3]:
        path = f"{place(route)}?access_token={right}&token={right}"
        assert (await nobody.call(route.method, path, headers={"Cookie": f"token={right}"})).status == 401


async def test_request_ids(api):
    made = await api.user().call("GET", "/v2/nothing")
    assert made.body["requestId"] == made.headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", made.body["requestId"])
    given = await api.user().call("GET", "/healthz", headers={"X-Request-ID": "mine-1"})
    assert given.headers["X-Request-ID"] == "mine-1"
    odd = await api.user().call("GET", "/healthz", headers={"X-Request-ID": "x" * 65})
    assert odd.headers["X-Request-ID"] != "x" * 65


async def test_unknown_routes_and_methods(api):
    user = api.user()
    assert (await user.call("GET", "/api/v1/nothing")).body == {"detail": "Not Found"}
    assert (await user.call("GET", "/v2/nothing")).reason == "NotFound"
    wrong = await user.call("DELETE", "/api/v1/token")
    assert (wrong.status, wrong.headers["Allow"], set(wrong.body)) == (405, "POST", {"detail"})
    assert (await user.call("POST", "/healthz")).reason == "MethodNotAllowed"


async def test_each_user_has_a_rate_of_their_own(start, store):
    api = await start(user_requests_per_second=0.01, user_request_burst=3)
    for name in ("ann", "ben"):
        await account(store, name)
    ann, ben = await api.logged_in("ann"), await api.logged_in("ben")
    again = await api.logged_in("ann")
    answers = [await user.call("GET", "/api/v1/verify_token") for user in (ann, again, ann, again)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429], "whichever token they use"
    assert int(answers[-1].headers["Retry-After"]) > 10
    assert (await ben.call("GET", "/api/v1/verify_token")).status == 200


async def test_what_is_too_large(api):
    answer = await api.user().call("POST", "/api/v1/token", data={"username": "x" * 20_000, "password": "y"})
    assert (answer.status, set(answer.body)) == (413, {"detail"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}

    async def endless():
        for _ in range(100):
            yield b"x" * 1000

    answer = await api.user().call("POST", "/api/v1/token", data=endless(), headers=form)
    assert answer.status == 413, "whatever it says about its length"


def settings(**values):
    """Those that a UserApi looks at."""
    limits = {"user_requests_in_flight": 9, "user_requests_waiting": 9, "logins_arriving": 9, "mediator_body_limit": LARGE_BODY}
    return SimpleNamespace(**{**limits, "watch_namespaces": (), **values})


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip"])
async def test_a_compressed_body_is_refused_unread(api, encoding):
    """Two hundred megabytes of zeros are two hundred kilobytes."""
    body = gzip.compress(b"\0" * 5_000_000)
    answer = await api.user().call("POST", "/api/v1/token", data=body, headers={"Content-Encoding": encoding})
    assert (answer.status, answer.body) == (415, {"detail": "the body must not be compressed"})


async def test_who_promises_bodies_and_sends_none_keeps_nobody_out(start, store):
    api = await start(requests_in_flight=5, logins_arriving=20, login_body_timeout=timedelta(seconds=1))
    await account(store, "ann")
    user = await api.logged_in("ann")
    connections = [await stalled(api.url) for _ in range(20)]
    answers = await asyncio.gather(*(user.call("GET", "/api/v1/verify_token") for _ in range(5)))
    assert {answer.status for answer in answers} == {200}, "they do not count as being worked on"
    more = await api.user().log_in("ann")
    assert (more.status, set(more.body)) == (429, {"detail"}), "from one address there are so many, and no more"
    for reader, writer in connections:
        assert (await reader.readline()).startswith(b"HTTP/1.1 503 "), "they are not waited for for long"
        writer.close()
    assert (await api.user().log_in("ann")).status == 200


async def test_large_bodies_are_worked_on_one_at_a_time_for_a_user():
    api = UserApi(None, None, settings(mediator_body_limit=2 * LARGE_BODY + 2), None)
    everybody = [Caller(name, name, (), "lab") for name in ("ann", "ben", "carl")]
    inside, most = {caller.name: 0 for caller in everybody}, {"one": 0, "all": 0}

    async def work(caller, size):
        async with api.room_for(caller, size):
            inside[caller.name] += 1
            most["one"] = max(most["one"], inside[caller.name])
            most["all"] = max(most["all"], sum(inside.values()))
            await asyncio.sleep(0)
            inside[caller.name] -= 1

    await asyncio.gather(*(work(caller, size) for size in (None, LARGE_BODY + 1, 10**9) * 5 for caller in everybody))
    assert most == {"one": 1, "all": 2}
    await asyncio.gather(*(work(everybody[0], LARGE_BODY) for _ in range(5)))
    assert most["one"] == 5, "small ones are not held up"


async def test_the_log_names_routes_and_users_and_no_secrets(api, store, monkeypatch):
    logger = CapturingLogger()
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=lambda *_: logger)
    monkeypatch.setattr("unicorn_gateway.user_api.app._access", structlog.get_logger("access"))
    try:
        await account(store, "ann")
        user = await api.logged_in("ann")
        await user.call("GET", "/api/v1/verify_token")
        await user.call("GET", f"/x/{user.token}/api/v1/executor/pipeline")  # a gateway of executors was meant
        await user.call("GET", f"/v2/nothing?token={user.token}")
    finally:
        structlog.reset_defaults()
    said = [json.loads(call.args[0]) for call in logger.calls]
    assert [line["route"] for line in said] == ["POST /api/v1/token", "GET /api/v1/verify_token", "* unmatched", "* unmatched"]
    assert said[1]["user"] == "netunicorn:ann"
    assert said[2]["path"] == "/x/-/api/v1/executor/pipeline"
    everything = json.dumps(said)
    for secret in (user.token, user.token.split(".")[2], "a long enough one"):
        assert secret not in everything


def test_an_errors_local_variables_stay_out_of_the_log(capsys):
    try:
        logs.configure("info")
        try:
            password = "correct horse"
            raise ValueError(len(password))
        except ValueError:
            structlog.get_logger("test").exception("a request failed")
    finally:
        structlog.reset_defaults()
    said = capsys.readouterr().err
    assert "ValueError" in said
    assert "correct horse" not in said.replace('password = "correct horse"', "")


async def test_too_many_at_once_are_told_to_come_back(start, store):
    api = await start(requests_in_flight=2)
    await account(store, "ann")
    user = await api.logged_in("ann")
    answers = await asyncio.gather(*(user.call("GET", "/api/v1/verify_token") for _ in range(60)))
    assert {answer.status for answer in answers} <= {200, 503}
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status == 503)


async def test_it_says_when_the_database_is_away(tmp_path):
    from user_parts import user_api_on

    async with user_api_on("postgresql://u:secret@127.0.0.1:1/d", tmp_path) as api:
        user = api.user()
        ready = await user.call("GET", "/readyz")
        assert (ready.status, ready.reason) == (503, "Unavailable")
        login = await user.log_in("ann")
        assert (login.status, login.headers["Retry-After"]) == (503, "2")
        assert "secret" not in json.dumps([ready.body, login.body])
        assert (await user.call("GET", "/healthz")).status == 200


async def test_it_ends_in_time(start):
    api = await start()
    began = time.monotonic()
    api.stop.set()
    await api.task
    assert time.monotonic() - began < 10

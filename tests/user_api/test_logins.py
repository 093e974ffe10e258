"""Names and passwords, tokens, and their end."""

import asyncio
import statistics
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import jwt
import pytest
from unicorn_core import tokens
from unicorn_core.errors import Refused
from unicorn_gateway.user_api.authentication.tokens import UserTokens
from unicorn_store import users
from user_parts import PASSWORD, account, quick_hash

pytestmark = pytest.mark.database

VERIFY = ("GET", "/api/v1/verify_token")


async def test_a_login_gives_a_token_for_a_day(api, store):
    await account(store, "ann")
    user = api.user()
    answer = await user.log_in("ann")
    assert answer.status == 200
    assert answer.body["token_type"] == "bearer"
    claims = jwt.decode(user.token, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 24 * 3600
    assert "ann" not in str(claims), "a token says nothing about its user"
    verified = await user.call(*VERIFY)
    assert (verified.status, verified.body) == (200, None)


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "wrong"), ("nobody", PASSWORD), ("ann", PASSWORD + " "), ("ann", "x" * 500), ("ANN", PASSWORD)]
)
async def test_a_wrong_login_is_401_as_netunicorn_says_it(api, store, name, password):
    await account(store, "ann")
    answer = await api.user().log_in(name, password)
    assert (answer.status, answer.body) == (401, {"detail": "Incorrect username or password"})
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "arguments",
    [
        {"data": {"username": "ann", "password": ""}},
        {"data": {"username": "ann"}},
        {"data": {"username": "", "password": "x"}},
        {"json": {"username": "ann", "password": PASSWORD}},
        {"data": b"\xff\xfe", "headers": {"Content-Type": "application/x-www-form-urlencoded"}},
        {"data": {"username": "a\0b", "password": "x"}},
        {},
    ],
)
async def test_what_is_no_form_is_422(api, store, arguments):
    await account(store, "ann")
    answer = await api.user().call("POST", "/api/v1/token", **arguments)
    assert answer.status == 422, answer.body
    assert "detail" in answer.body


async def test_a_new_password_ends_all_tokens_at_once(api, store):
    await account(store, "ann")
    one, two = await api.logged_in("ann"), await api.logged_in("ann")
    assert (await one.call(*VERIFY)).status == (await two.call(*VERIFY)).status == 200
    await users.set_password(store, "ann", quick_hash("another one"))
    assert (await one.call(*VERIFY)).status == (await two.call(*VERIFY)).status == 401
    assert (await api.user().log_in("ann")).status == 401
    assert (await (await api.logged_in("ann", "another one")).call(*VERIFY)).status == 200


async def test_revocation_and_removal_end_them_too(api, store):
    await account(store, "ann")
    user = await api.logged_in("ann")
    await users.revoke(store, "ann")
    assert (await user.call(*VERIFY)).status == 401
    user = await api.logged_in("ann")
    await users.remove(store, "ann")
    assert (await user.call(*VERIFY)).status == 401
    await account(store, "ann")
    assert (await user.call(*VERIFY)).status == 401, "who gets a name that was somebody else's is not that one"


async def test_tokens_that_are_not_ours_are_refused(api, store, tmp_path):
    made = await account(store, "ann")
    ours = UserTokens(api.settings.user_signing_key_file)
    now, day = datetime.now(UTC), timedelta(days=1)
    key = tokens.load_signing_key(api.settings.user_signing_key_file.read_bytes())
    executors = tokens.sign(uuid4(), 1, now + day, key)
    other = tokens.new_key()
    claims = {"sub": str(made.id), "aud": "unicorn-user", "gen": 1, "exp": int((now + day).timestamp())}
    wrong = {
        "expired": ours.issue(made.id, 1, now - day - day, day),
        "of an executor": executors,
        "by another key": jwt.encode(claims, other.key, algorithm="EdDSA", headers={"kid": other.kid}),
        "by another key, with our kid": jwt.encode(claims, other.key, algorithm="EdDSA", headers={"kid": key.kid}),
        "unsigned": jwt.encode(claims, "", algorithm="none", headers={"kid": key.kid}),
        "of an account that is not there": ours.issue(uuid4(), 1, now, day),
        "of a generation to come": ours.issue(made.id, 2, now, day),
        "without an end": jwt.encode({**claims, "exp": None}, key.key, algorithm="EdDSA", headers={"kid": key.kid}),
        "no token": "x",
        "too long": "x" * 20_000,
        "odd characters": "é.é.é",
    }
    for which, token in wrong.items():
        answer = await api.user(token).call(*VERIFY)
        assert answer.status == 401, which
        assert set(answer.body) == {"detail"}, which
    for header in ({}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer"}):
        assert (await api.user().call(*VERIFY, headers=header)).status == 401
    assert (await api.user(ours.issue(made.id, 1, now, day)).call(*VERIFY)).status == 200


async def test_a_new_key_counts_without_a_restart(api, store):
    await account(store, "ann")
    user = await api.logged_in("ann")
    path = api.settings.user_signing_key_file
    draft = path.with_suffix(".new")
    draft.write_bytes(tokens.private_pem(tokens.new_key()))
    draft.rename(path)
    assert (await user.call(*VERIFY)).status == 401
    assert (await (await api.logged_in("ann")).call(*VERIFY)).status == 200


async def test_failures_are_limited_by_name_and_by_address(start, store):
    api = await start(login_failure_burst=3, login_failures_per_minute=0.1)
    for name in ("ann", "ben"):
        await account(store, name)
    statuses = [(await api.user().log_in("ann", "wrong")).status for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    refused = await api.user().log_in("ann")
    assert refused.status == 429, "also with the right password: else it could be guessed on"
    assert int(refused.headers["Retry-After"]) > 60
    assert (await api.user().log_in("ben")).status == 200
    others = [(await api.user().log_in(f"u{n}", "wrong")).status for n in range(15)]
    assert others.count(401) == 12, "five times as many from an address, of which three are ann's"
    assert (await api.user().log_in("ben")).status == 429


async def test_behind_a_trusted_proxy_each_address_counts_for_itself(start, store):
    api = await start(login_failure_burst=1, login_failures_per_minute=0.1, trusted_proxies=("127.0.0.0/8",))
    await account(store, "ann")

    async def statuses(address, names):
        headers = {"X-Forwarded-For": f"6.6.6.6, {address}"}
        calls = [
            api.user().call("POST", "/api/v1/token", data={"username": name, "password": "wrong"}, headers=headers)
            for name in names
        ]
        return [(await call).status for call in calls]

    assert await statuses("1.2.3.4", [f"a{n}" for n in range(6)]) == [401] * 5 + [429]
    assert await statuses("5.6.7.8", ["b"]) == [401], "somebody else, who comes through the same proxy"


async def test_wrong_tokens_keep_nobody_from_logging_in_and_wrong_logins_nobody_from_their_token(
    start, store, tmp_path, monkeypatch
):
    """Everybody comes from one address here, as behind a proxy that nobody told us of."""
    from unicorn_gateway.user_api.authentication import methods

    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    api = await start(authentication=("database", "toy"), login_failure_burst=1, login_failures_per_minute=0.1)
    await account(store, "ann")
    assert (await api.user("opensesame").call(*VERIFY)).status == 200
    statuses = [(await api.user(f"wrong-{n}").call(*VERIFY)).status for n in range(6)]
    assert statuses == [401] * 5 + [429]
    assert (await api.user("opensesame").call(*VERIFY)).status == 200, "a token that was somebody's is no guess"
    await api.logged_in("ann")
    assert [(await api.user().log_in(f"u{n}", "wrong")).status for n in range(6)] == [401] * 5 + [429]
    assert (await api.user("opensesame").call(*VERIFY)).status == 200


@pytest.mark.parametrize(
    ("methods", "status"), [(("database", "away"), 429), (("away",), 503)], ids=["one found it wrong", "nobody could look"]
)
async def test_a_password_that_one_method_found_wrong_counts_while_another_is_away(
    start, store, tmp_path, monkeypatch, methods, status
):
    from unicorn_gateway.user_api.authentication import methods as folder

    (tmp_path / "away.py").write_text(AWAY)
    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(tmp_path)])
    api = await start(authentication=methods, login_failure_burst=3, login_failures_per_minute=0.1)
    await account(store, "ann")
    assert [(await api.user().log_in("ann", "wrong")).status for _ in range(4)] == [503, 503, 503, status]


AWAY = """
from unicorn_core.errors import Broken
from unicorn_gateway.user_api.authentication import Method


def make(parts):
    return Away()


class Away(Method):
    async def by_password(self, name, password):
        raise Broken("the directory is away")
"""


async def test_a_flood_is_limited_while_it_comes(start, store, monkeypatch):
    """Many at once from one address cost no more checks of passwords than may fail, and a few."""
    from unicorn_gateway.user_api.authentication import passwords

    checked = []
    monkeypatch.setattr(passwords, "_check", lambda password, hashed: checked.append(hashed) and False)
    api = await start(login_failure_burst=2, login_failures_per_minute=0.1)
    answers = await asyncio.gather(*(api.user().log_in(f"u{n}", "wrong") for n in range(60)))
    assert {answer.status for answer in answers} == {401, 429}
    assert len(checked) <= 10 + 8


async def test_successes_are_not_limited(start, store):
    api = await start(login_failure_burst=2, login_failures_per_minute=0.1)
    await account(store, "ann")
    answers = await asyncio.gather(*(api.user().log_in("ann") for _ in range(40)))
    assert {answer.status for answer in answers} == {200}


async def test_a_refusal_takes_the_same_time_for_everybody(start, store):
    api = await start(login_refusal_time=timedelta(seconds=0.4))
    await account(store, "ann")

    async def seconds(name):
        began = time.monotonic()
        assert (await api.user().log_in(name, "wrong")).status == 401
        return time.monotonic() - began

    for name in ("ann", "nobody"):
        assert statistics.median([await seconds(name) for _ in range(3)]) >= 0.4


async def test_the_work_is_the_same_for_unknown_names(api, store, monkeypatch):
    """The time that a check of a password takes is spent for names that nobody has, too."""
    from unicorn_gateway.user_api.authentication import passwords

    await account(store, "ann")
    checked = []
    real = passwords._check
    monkeypatch.setattr(passwords, "_check", lambda password, hashed: checked.append(hashed) or real(password, hashed))
    await api.user().log_in("nobody", "wrong")
    await api.user().log_in("ann", "wrong")
    assert [hashed[:7] for hashed in checked] == [b"$2b$12$", b"$2b$04$"]


ODD = [
    "'",
    '"',
    "'; DROP TABLE unicorn.user_account; --",
    "' OR '1'='1",
    "%",
    "_",
    "$1",
    "\\",
    "../ann",
    "*)(uid=*",
    "\u202eann",
    "𝔞",
]


async def test_odd_names_and_passwords_are_only_wrong(start, store):
    api = await start(login_failure_burst=100)
    await account(store, "ann")
    for odd in [*ODD, "a\nb"]:
        for name, password in ((odd, PASSWORD), ("ann", odd)):
            assert (await api.user().log_in(name, password)).status == 401, odd
    await api.logged_in("ann")


async def test_an_odd_name_can_be_a_users(api, store):
    for odd in ODD:
        await account(store, odd)
        user = await api.logged_in(odd)
        assert (await user.call(*VERIFY)).status == 200, odd


TOY = """
from unicorn_gateway.user_api.authentication import Method
from unicorn_gateway.user_api.callers import Caller


def make(parts):
    return Toy()


class Toy(Method):
    seen = set()

    def remembers(self, token):
        return token in self.seen

    async def by_token(self, token):
        if token != "opensesame":
            return None
        self.seen.add(token)
        return Caller("ali", "oidc:ali", ("oidc:thieves",), "cave")
"""


async def test_another_method_is_another_module_and_nothing_else(start, store, tmp_path, monkeypatch):
    """What OIDC will be."""
    from unicorn_gateway.user_api.authentication import methods

    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    api = await start(authentication=("database", "toy"))
    await account(store, "ann")
    assert (await api.user("opensesame").call(*VERIFY)).status == 200
    assert (await api.user("opensimsim").call(*VERIFY)).status == 401
    await api.logged_in("ann")


async def test_an_unknown_method_is_refused_at_the_start(start):
    with pytest.raises(Refused, match="some of database, kubernetes, ldap"):
        await start(authentication=("oidc",))

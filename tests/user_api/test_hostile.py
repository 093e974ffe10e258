"""Every route, by its table: whatever stands in its path and its query, it is the asker's fault, and never one of ours."""

import base64
import json
import re
from collections.abc import Iterator
from uuid import uuid4

import pytest
from unicorn_gateway.user_api.routes import ROUTES
from unicorn_gateway.user_api.routing import Route
from user_parts import Answer, Served, User
from yarl import URL

pytestmark = pytest.mark.cluster

ODD = [
    "%00",
    "a%00b",
    "%ff%fe",
    "%ED%A0%80",
    "%2F",
    "..%2f..",
    "%0a",
    "%7f",
    "%E2%80%AE",
    "%F0%9F%92%A9",
    "%25",
    "%27%3B--",
    "{x}",
    "*",
    "-1",
    "1e999",
    "9" * 30,
    "x" * 3000,
]
KEYS = [
    [],
    {},
    "x",
    [None, None],
    ["2020-01-01T00:00:00+00:00", 5],
    ["2020-01-01T00:00:00+00:00", None],
    [5, str(uuid4())],
    ["2020-01-01T00:00:00+00:00", str(uuid4()), 1],
    ["0001-01-01T00:00:00+14:00", str(uuid4())],
    ["9999-12-31T23:59:59-14:00", str(uuid4())],
    ["2020-01-01T00:00:00", str(uuid4())],
    [1e999],
    [float("nan")],
    [2**63],
    [-1],
    [True],
    [0, "a\0b", 0],
    [0, "\ud800", 0],
    [2**40, "x", 0],
    ["a\0b"],
    ["\ud800"],
    [[[[[]]]]],
]
WORDS = [base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=") for key in KEYS]
TIMES = ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "2020-13-01T00:00:00Z", "now"]


@pytest.fixture
async def user(served: Served) -> User:
    """With an experiment that has an executor; `user.places` are theirs."""
    user = await served.add()
    prepared = await user.call("POST", "/api/v1/experiment/mine/prepare", json={"deployment_map": []})
    assert prepared.status == 200, prepared.body
    uid, executor = uuid4(), uuid4()
    async with served.store.connection() as connection:
        await connection.execute(
            "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, created_at)"
            " VALUES ($1, $2, 'recorded', 'netunicorn:x', 1, 'Succeeded', '{}', now())",
            uid,
            served.home,
        )
        await connection.execute(
            "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, keep_alive, state, node_name)"
            " VALUES ($1, $2, 1, 'd1', 0, '10 minutes', 'Succeeded', 'n')",
            executor,
            uid,
        )
    PLACES.update(namespace=served.home, experiment=str(uid), executor=str(executor), name="mine", flag="f", sha256="0" * 64)
    return user


PLACES: dict[str, str] = {}


def paths(route: Route) -> Iterator[str]:
    """Its path with one odd segment at a time."""
    for name in re.findall(r"{(\w+)}", route.path):
        for odd in ODD:
            yield re.sub(r"{(\w+)}", lambda found, one=name, odd=odd: odd if found[1] == one else PLACES[found[1]], route.path)


def queries(route: Route) -> Iterator[str]:
    """Its path with one odd parameter at a time."""
    place = re.sub(r"{(\w+)}", lambda found: PLACES[found[1]], route.path)
    for parameter in route.parameters:
        for odd in (*ODD, *WORDS, *TIMES, ""):
            yield f"{place}?{parameter.name}={odd}"
    yield from (f"{place}?{odd}={odd}" for odd in ODD)


async def asked(user: User, method: str, path: str, **arguments) -> Answer:
    """The path as it is written."""
    headers = {"Authorization": f"Bearer {user.token}", "Content-Type": "application/json"}
    async with user.http.request(method, URL(user.url + path, encoded=True), headers=headers, **arguments) as response:
        raw = await response.read()
        is_json = response.content_type in ("application/json", "application/problem+json")
        return Answer(response.status, json.loads(raw) if is_json else raw, response.headers)


async def test_no_path_and_no_query_is_a_fault_of_ours(user: User) -> None:
    faults, count = [], 0
    for route in ROUTES:
        for path in (*paths(route), *queries(route)):
            answer = await asked(user, route.method, path, json={} if route.body is not None else None)
            count += 1
            if answer.status >= 500:
                faults.append((route.name, path, answer.status, answer.body))
    assert faults == []
    assert count > 2000


FORGED = ["", "/executors", "/executors/{executor}/tasks", "/executors/{executor}/events", "/flags"]


@pytest.mark.parametrize("list", FORGED)
async def test_a_word_that_no_page_gave_is_malformed(user: User, list: str) -> None:
    """A few are words that some page could give: [0, …] of another list is none of this one."""
    place = f"/v2/namespaces/{PLACES['namespace']}/experiments"
    place += f"/{PLACES['experiment']}{list.format(**PLACES)}" if list else ""
    for key, word in zip(KEYS, WORDS, strict=True):
        answer = await asked(user, "GET", f"{place}?continue={word}")
        assert (answer.status, answer.reason) == (400, "Malformed"), (list, key, answer.body)


@pytest.mark.parametrize("name", ["%00", "a%00b", "%ED%A0%80", "%ff"])
async def test_a_name_that_nobody_can_have_is_not_found(user: User, name: str) -> None:
    path = f"/api/v1/experiment/{name}"
    for method, more in (("GET", ""), ("DELETE", ""), ("POST", "/start"), ("POST", "/cancel"), ("GET", "/flag/f")):
        answer = await asked(user, method, path + more)
        assert answer.status == 400, (method, more)
        assert answer.body.endswith(" not found"), (method, more, answer.body)
    answer = await asked(user, "POST", path + "/flag/f", json={"int_value": 1})
    assert answer.status == 400
    if "%00" in name:
        prepared = await asked(user, "POST", path + "/prepare", json={"deployment_map": []})
        assert prepared.status == 400
        assert "no control characters" in prepared.body


@pytest.mark.parametrize("port", ["Infinity", "-Infinity", "NaN", "1e999", "80.5"])
async def test_ports_that_are_no_numbers(user: User, port: str) -> None:
    definition = {"commands": [], "runtime_context": {"ports_mapping": {"80": "PORT"}}}
    deployment = {"node": {"name": "n"}, "execution_graph": "gASVAg==", "environment_definition": definition}
    order = {"deployment_map": [{**deployment, "environment_definition_type": "ShellExecution"}]}
    body = json.dumps(order).replace('"PORT"', port).encode()
    answer = await asked(user, "POST", "/api/v1/experiment/ports/prepare", data=body)
    assert (answer.status, answer.body) == (400, "Ports mapping in runtime context must be a dict of int to int")

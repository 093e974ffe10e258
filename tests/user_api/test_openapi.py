"""The OpenAPI document is kept to by the answers, on a real cluster: whatever is sent, valid or not."""

import asyncio
import re
import secrets
from contextlib import suppress
from uuid import UUID

import aiohttp
import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from unicorn_core.naming import executor_id
from unicorn_gateway.user_api.routes import ROUTES
from unicorn_store import connect
from user_parts import ROLES, User, account

# Not: that whatever the document allows is accepted. It cannot say which experiments there are.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXPERIMENT = """
apiVersion: netunicorn.io/v1alpha1
kind: Experiment
metadata: {name: genuine}
spec:
  deployments:
  - name: d
    nodes: {connectorRef: {name: local}, count: 1}
    pipeline: {stages: [{name: s, tasks: [{name: t, run: "echo hello"}]}]}
"""


@pytest.fixture(scope="module")
def known(user_stack):
    """The API's URL, a user's header, and names of things that are there."""
    cluster, home = user_stack.cluster, user_stack.namespaces[0]
    cluster.run("apply", "--server-side", "-f", str(ROLES))
    manifest = yaml.safe_load(EXPERIMENT)
    cluster.run("apply", "--server-side", "--namespace", home, "-f", "-", input=yaml.safe_dump(manifest))
    cluster.run("wait", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s", "exp/genuine", "--namespace", home)
    uid = cluster.run("get", "exp", "genuine", "--namespace", home, "--output=jsonpath={.metadata.uid}")

    async def log_in():
        store = await connect(user_stack.dsn, application_name="unicorn-test", max_size=1)
        made = await account(store, f"user-{secrets.token_hex(4)}", namespace=home)
        await store.close()
        async with aiohttp.ClientSession() as http:
            user = User(http, user_stack.user_url)
            await user.log_in(made.name)
        return made, user.token

    made, token = asyncio.run(log_in())
    binding = ("--clusterrole=unicorn-user", f"--user={made.kubernetes_user}", "--namespace", home)
    cluster.run("create", "rolebinding", made.name, *binding)
    names = {
        "namespace": home,
        "name": "genuine",
        "experiment": "genuine",
        "executor": str(executor_id(UUID(uid), 1, "d", 0)),
        "flag": "f",
    }
    return user_stack.user_url, {"Authorization": f"Bearer {token}"}, names


@pytest.mark.timeout(900)
def test_no_answer_is_outside_of_the_schema(known):
    url, *_ = known
    schema = schemathesis.openapi.from_url(url + "/openapi.json")
    seen, wrong = set(), []
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:  # what the document allows, and what it does not
            try:
                with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parts
                    try_out(operation.as_strategy(generation_mode=mode), known)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                wrong.append(f"{operation.label} ({mode.value}): {error}")
        seen.add(operation.label)
    assert not wrong, "\n\n".join(wrong)
    assert seen == {route.name for route in ROUTES} - {"GET /openapi.json"}, "schemathesis leaves its own source out"
    check_that_it_came_through(url)


def check_that_it_came_through(url):
    """Requests that were let in, and not turned away for their number, are what was judged."""
    text = requests.get(url + "/metrics", timeout=10).text
    answers = re.findall(r'^unicorn_user_requests_total{route="([^"]+)",status="(\d+)"}', text, re.MULTILINE)
    assert not [route for route, status in answers if status == "429" and route != "POST /api/v1/token"]
    for route in ROUTES:
        statuses = {status for name, status in answers if name == route.name}
        assert statuses - {"401"} or not route.authenticated, route.name
    assert len({route for route, status in answers if status == "200"}) > len(ROUTES) / 2


def try_out(strategy, known):
    url, headers, names = known

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy, draw=st.data())
    def check(case, draw):
        if draw.draw(st.sampled_from(["genuine", "genuine", "as it came"])) == "genuine":
            case.path_parameters.update({name: names[name] for name in case.path_parameters if name in names})
        if case.query:
            case.query = {key: value for key, value in case.query.items() if key not in ("wait", "follow")}
        sent = {} if case.path == "/api/v1/token" else headers
        response = case.call(base_url=url, headers=sent, timeout=60)
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=CHECKS)

    check()

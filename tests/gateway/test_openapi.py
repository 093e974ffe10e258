"""The OpenAPI document: kept, complete, and kept to by the answers."""

import asyncio
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
import schemathesis
from gateway_parts import Operator, gateway_on
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from unicorn_gateway.executor_api import openapi
from unicorn_gateway.executor_api.routes import ROUTES
from unicorn_store import connect
from v1_parts import serialized, v1_agent

KEPT = Path(__file__).parents[2] / "docs" / "openapi-executor.json"
# Not: that whatever the document allows is accepted. It cannot say that a blob must be there before an event names it.
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
PROTOCOL = Path(__file__).parents[2] / "docs" / "executor-protocol.md"


def test_the_kept_document_is_current():
    assert KEPT.read_text() == openapi.text(), (
        "stale: python -m unicorn_gateway.executor_api.openapi > docs/openapi-executor.json"
    )


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_route_is_in_the_protocol(route):
    place = route.path.rstrip("/").replace("/barrier", "")
    assert place in PROTOCOL.read_text(), f"docs/executor-protocol.md does not tell of {route.path}"


@pytest.fixture
def served(migrated, keys, tmp_path):
    """A gateway in a loop of its own (schemathesis is not asynchronous), and a checked-in agent's headers."""
    ready, stop, outcome = threading.Event(), threading.Event(), {}

    async def serve():
        store = await connect(migrated, application_name="unicorn-test", max_size=2)
        async with gateway_on(migrated, keys, tmp_path, netunicorn_hold=timedelta(seconds=0.05)) as running:
            (executor,) = await Operator(store).experiment()
            agent = running.agent(executor)
            await agent.check_in()
            (theirs,) = await serialized(Operator(store), b"graph")
            v1 = await v1_agent(running, Operator(store), theirs)
            assert (await v1.graph()).status == 200
            outcome.update(
                url=running.url,
                headers={"Authorization": f"Bearer {agent.token}", "Unicorn-Instance": agent.instance},
                path={"token": v1.token, "experiment": str(v1.experiment)},
                body={"executor_id": str(v1.executor)},
            )
            ready.set()
            await asyncio.to_thread(stop.wait)
        await store.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    yield outcome
    stop.set()
    thread.join()


@pytest.mark.database
def test_no_answer_is_outside_of_the_schema(served):
    """Whatever is sent, valid or not: no 5xx, no status, header or body that the document does not know."""
    schema = schemathesis.openapi.from_url(served["url"] + "/openapi.json")
    seen = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:  # what the document allows, and what it does not
            with suppress(Unsatisfiable):  # nothing can be wrong with a request that has no parts
                try_out(operation.as_strategy(generation_mode=mode), served)
        seen.add(operation.label)
    assert seen == {route.name for route in ROUTES} - {"GET /openapi.json"}, "schemathesis leaves its own source out"


def try_out(strategy, served):
    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=strategy, draw=st.data())
    def check(case, draw):
        if case.query and isinstance(case.query.get("wait"), int):
            case.query["wait"] = 0
        with_luck = draw.draw(st.sampled_from(["genuine", "genuine", "as it came"])) == "genuine"
        if with_luck and "token" in case.path_parameters:
            case.path_parameters.update({name: served["path"][name] for name in case.path_parameters if name in served["path"]})
            if isinstance(case.body, dict) and "results" in case.body:
                case.body |= served["body"]
            if case.query and "executor_id" in case.query:
                case.query |= served["body"]
        response = case.call(base_url=served["url"], headers=served["headers"], timeout=60)
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=CHECKS)

    check()

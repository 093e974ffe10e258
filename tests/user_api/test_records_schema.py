"""Records v2 answers what its OpenAPI document says, where there is something of each kind."""

import asyncio
import secrets
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from unicorn_gateway.user_api.records.routes import ROUTES
from unicorn_store import connect
from user_parts import ROLES, account, user_api_on

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CRDS = Path(__file__).parents[2] / "crds"
DIGEST = "a" * 64


async def filled(store, namespace) -> dict[str, str]:
    """Something of each kind; the path parameters that lead to it."""
    uid, id, now = uuid4(), uuid4(), datetime.now(UTC)
    async with store.connection() as connection:
        for statement, *arguments in (
            (
                "INSERT INTO unicorn.experiment (uid, namespace, name, user_name, attempt, phase, spec, status, created_at)"
                " VALUES ($1, $2, 'e', 'u', 1, 'Running', '{\"deployments\": []}', '{\"phase\": \"Running\"}', $3)",
                uid,
                namespace,
                now,
            ),
            (
                "INSERT INTO unicorn.executor (id, experiment_uid, attempt, deployment, index, state, keep_alive, node_name)"
                " VALUES ($1, $2, 1, 'd', 0, 'Succeeded', $3, 'n')",
                id,
                uid,
                timedelta(minutes=1),
            ),
            (
                "INSERT INTO unicorn.event (executor_id, seq, kind, task, run, try, wall, mono, body)"
                " VALUES ($1, 1, 'TaskStarted', 't', 1, 1, 1e9, 1, '{}'),"
                " ($1, 2, 'TaskFinished', 't', 1, 1, 1e9, 2, '{\"outcome\": \"Success\", \"value\": [null]}')",
                id,
            ),
            ("INSERT INTO unicorn.log_chunk (executor_id, seq, stream, wall, content) VALUES ($1, 3, 'agent', 1e9, 'x')", id),
            ("INSERT INTO unicorn.result (executor_id, outcome, results) VALUES ($1, 'Success', '{\"t\": [{}]}')", id),
            ("INSERT INTO unicorn.executor_report (executor_id, content, final) VALUES ($1, 'x', true)", id),
            ("INSERT INTO unicorn.blob (executor_id, sha256, size, complete) VALUES ($1, $2, 1, true)", id, DIGEST),
            ("INSERT INTO unicorn.blob_part (executor_id, sha256, start, content) VALUES ($1, $2, 0, 'x')", id, DIGEST),
            ("INSERT INTO unicorn.flag (experiment_uid, attempt, name, integer, version) VALUES ($1, 1, 'f', 1, 1)", uid),
        ):
            await connection.execute(statement, *arguments)
    return {"namespace": namespace, "experiment": str(uid), "executor": str(id), "sha256": DIGEST, "flag": "f"}


@pytest.fixture
def served(cluster, namespace, migrated, tmp_path):
    """A user API in a loop of its own (schemathesis is not asynchronous), a user's token, and paths to what is there."""
    cluster.run("apply", "--server-side", "-f", str(CRDS))
    cluster.run("apply", "--server-side", "-f", str(ROLES))
    name = f"user-{secrets.token_hex(4)}"
    user = f"--user=netunicorn:{name}"
    cluster.run("create", "rolebinding", name, "--clusterrole=unicorn-user", user, "--namespace", namespace)
    ready, stop, outcome = threading.Event(), threading.Event(), dict[str, Any]()

    async def serve():
        store = await connect(migrated, application_name="unicorn-test", max_size=2)
        async with user_api_on(migrated, tmp_path, kubeconfig=str(cluster.kubeconfig)) as running:
            await account(store, name, namespace=namespace)
            token = (await running.logged_in(name)).token
            outcome.update(url=running.url, path=await filled(store, namespace), headers={"Authorization": f"Bearer {token}"})
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
def test_what_is_there_is_answered_as_the_document_says(served):
    """With something of each kind in the records; what else may be asked is test_openapi's."""
    schema = schemathesis.openapi.from_url(served["url"] + "/openapi.json").include(path_regex="^/v2/namespaces/")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert {operation.label for operation in operations} == {route.name for route in ROUTES}
    for operation in operations:
        if operation.method == "get":
            assert plain(operation, served) == 200, operation.label


def plain(operation, served) -> int:
    """The status of what anybody would ask; its answer fits."""
    names = {parameter.name for parameter in operation.path_parameters}
    case = operation.Case(path_parameters={name: served["path"][name] for name in names})
    response = case.call(base_url=served["url"], headers=served["headers"], timeout=60)
    case.validate_response(response, checks=CHECKS)
    return response.status_code

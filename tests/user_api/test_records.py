"""Records v2 over what is in PostgreSQL, with the RBAC of a real Kubernetes: filters, pages, streams, flags, who may."""

import asyncio
import json
import secrets
from pathlib import Path
from uuid import uuid4

import pytest
from e2e_kit import eventually
from records_lab import NOON, bind
from unicorn_gateway.user_api.records import experiments
from unicorn_gateway.user_api.records.routes import ROUTES
from unicorn_store import history, reports
from user_parts import account, stalled, user_api_on

# --- experiments -----------------------------------------------------------------------------------------------------------


async def test_all_pages_give_all_experiments_newest_first(lab):
    same = [await lab.experiment(f"same-{n}", age=5) for n in range(7)]  # made at one moment
    await lab.experiment("older", age=9)
    await lab.experiment("newest", age=0)
    await lab.experiment("elsewhere", namespace="elsewhere")
    found = await lab.all(limit=2)
    assert [one["name"] for one in (found[0], found[-1])] == ["newest", "older"]
    assert {one["uid"] for one in found[1:-1]} == {str(uid) for uid in same}
    assert len(found) == 9
    assert found == (await lab.get(limit=9)).body["items"] == await lab.items()


async def test_a_page_does_not_shift_when_something_comes(lab):
    for n in range(4):
        await lab.experiment(f"e{n}", age=n)
    first = (await lab.get(limit=2)).body
    await lab.experiment("new", age=-1)
    second = (await lab.get(limit=2, **{"continue": first["continue"]})).body
    assert [one["name"] for one in [*first["items"], *second["items"]]] == ["e0", "e1", "e2", "e3"]


FILTERS = [
    ({}, "gone failed ran other"),
    ({"name": "ran"}, "ran"),
    ({"user": "netunicorn:bob"}, "other"),
    ({"phase": "Failed"}, "failed"),
    ({"phase": "Failed,Succeeded"}, "gone failed"),
    ({"search": "AIL"}, "failed"),
    ({"search": "quorum"}, "failed"),
    ({"search": "%"}, ""),
    ({"search": "'; DROP TABLE unicorn.experiment; --"}, ""),
    ({"since": "2026-01-01T11:58:00Z"}, "gone failed ran"),
    ({"since": "2026-01-01T13:58:00+02:00", "until": "2026-01-01T12:00:00Z"}, "failed ran"),
    ({"deleted": "true"}, "gone"),
    ({"deleted": "false"}, "failed ran other"),
]


async def test_search(lab):
    await lab.experiment("other", age=3, user_name="netunicorn:bob")
    await lab.experiment("ran", age=2)
    await lab.experiment("failed", age=1, phase="Failed", reason="QuorumNotMet", message="the QUORUM is not met")
    await lab.experiment("gone", age=0, phase="Succeeded", completed_at=NOON, deleted_at=NOON)
    for query, names in FILTERS:
        assert [one["name"] for one in await lab.items(**query)] == names.split(), query


async def test_one_by_uid_or_the_newest_of_its_name(lab):
    old = await lab.experiment("again", age=5, deleted_at=NOON, completed_at=NOON, phase="Failed", message="why")
    new = await lab.experiment("again", age=1)
    assert (await lab.get("/again")).body["uid"] == str(new)
    found = (await lab.get(f"/{old}")).body
    assert found == {
        "uid": str(old),
        "namespace": lab.namespace,
        "name": "again",
        "user": "netunicorn:ann",
        "attempt": 1,
        "phase": "Failed",
        "reason": "",
        "message": "why",
        "createdAt": "2026-01-01T11:55:00Z",
        "completedAt": "2026-01-01T12:00:00Z",
        "deletedAt": "2026-01-01T12:00:00Z",
        "spec": {"deployments": []},
        "status": {"phase": "Running"},
    }
    for unknown in ("nobody", str(uuid4()), "No%20Name", "%00", "a'b", str(old).replace("-", "")):
        answer = await lab.get(f"/{unknown}")
        assert (answer.status, answer.reason) == (404, "NotFound")


WRONG = [
    ({"limit": "0"}, "limit must be an integer from 1 to 500"),
    ({"limit": "501"}, "from 1 to 500"),
    ({"limit": "-1"}, "must be an integer"),
    ({"phase": "Running,Sleeping"}, "there is no 'Sleeping'; known are Pending, "),
    ({"since": "yesterday"}, "since must be a time as RFC 3339 has it"),
    ({"until": "2026-01-01T12:00:00"}, "with its zone"),
    ({"deleted": "yes"}, "deleted must be true or false"),
    ({"name": "\x00"}, "printable characters"),
    ({"search": ""}, "1 to 253 printable characters"),
    ({"colour": "red"}, "there is no parameter 'colour'; known are limit, continue, name, "),
    ({"continue": "x"}, "continue must be what the page before gave"),
    ({"continue": "WzEsMl0"}, "continue must be"),
]


async def test_a_wrong_query_is_refused_by_name(lab):
    for query, says in WRONG:
        answer = await lab.get(**query)
        assert (answer.status, answer.reason) == (400, "Malformed"), query
        assert says in answer.body["detail"]


# --- executors -------------------------------------------------------------------------------------------------------------


async def test_executors_in_the_deployments_order(lab):
    uid = await lab.experiment()
    for deployment, position in (("z-first", 0), ("a-second", 1)):
        for index in range(12):
            state = "Failed" if index == 11 else "Running"
            await lab.executor(uid, deployment, index, position, state=state)
    found = await lab.all("/e/executors", limit=5)
    assert [(one["deployment"], one["index"]) for one in found] == [
        (deployment, index) for deployment in ("z-first", "a-second") for index in range(12)
    ]
    assert [one["index"] for one in await lab.items("/e/executors", state="Failed,Lost")] == [11, 11]
    assert len(await lab.items("/e/executors", deployment="z-first")) == 12
    assert [one["node"] for one in await lab.items("/e/executors", node="node-3")] == ["node-3", "node-3"]
    assert await lab.items("/e/executors", attempt=2) == []


async def test_one_executor(lab):
    uid, other = await lab.experiment(), await lab.experiment("other")
    id = await lab.executor(uid, exit_code=3, reason="TaskFailed", message="m", released_at=NOON, attempt=1)
    answer = await lab.get(f"/{uid}/executors/{id}")
    assert answer.body == {
        "id": str(id),
        "attempt": 1,
        "deployment": "d",
        "index": 0,
        "node": "node-0",
        "state": "Running",
        "reason": "TaskFailed",
        "message": "m",
        "releasedAt": "2026-01-01T12:00:00Z",
        "exitCode": 3,
        "events": 0,
        "logBytes": 0,
    }
    for unknown in (f"/{other}/executors/{id}", f"/{uid}/executors/{uuid4()}", f"/{uid}/executors/x"):
        assert (await lab.get(unknown)).status == 404


async def test_events_and_task_runs(lab):
    id = await lab.executor(await lab.experiment())
    begun = {"executor_id": id, "kind": "TaskStarted", "wall": 1.6e9, "mono": 5.0, "boot_id": "b", "body": {}, "try": 1}
    ended = {**begun, "kind": "TaskFinished", "wall": 1.6e9 + 2, "mono": 7.0}
    await lab.insert("event", seq=1, task="a", run=1, **begun)
    await lab.insert("event", seq=2, task="a", run=1, **{**ended, "body": {"outcome": "Success", "value": None}})
    await lab.insert("event", seq=4, task="b", run=2, **begun)
    failed = {"outcome": "Failure", "error": "exit code 1", "reason": "NonZeroExit"}
    await lab.insert("event", seq=5, task="b", run=2, **{**ended, "body": failed, "boot_id": "another", "mono": 1.0})
    await lab.insert("event", seq=6, task="b", run=2, **{**begun, "try": 2, "wall": 1e300})
    await lab.insert("event", seq=7, task="c", run=3, **begun)
    runs = await lab.all(f"/e/executors/{id}/tasks", limit=1)
    assert [(run["sequence"], run["task"], run["run"], run["try"], run.get("outcome")) for run in runs] == [
        (1, "a", 1, 1, "Success"),
        (4, "b", 2, 1, "Failure"),
        (6, "b", 2, 2, None),
        (7, "c", 3, 1, None),
    ]
    assert (runs[0]["value"], runs[0]["seconds"]) == (None, 2.0)
    assert (runs[0]["startedAt"], runs[0]["finishedAt"]) == ("2020-09-13T12:26:40Z", "2020-09-13T12:26:42Z")
    assert "seconds" not in runs[1], "the machine was started anew in between"
    assert (runs[1]["error"], runs[1]["reason"]) == ("exit code 1", "NonZeroExit")
    assert "startedAt" not in runs[2], "no clock says that"
    assert [run["run"] for run in await lab.items(f"/e/executors/{id}/tasks", task="b")] == [2, 2]
    events = await lab.all(f"/e/executors/{id}/events", limit=4)
    assert [event["sequence"] for event in events] == [1, 2, 4, 5, 6, 7]
    assert events[3]["body"] == failed
    assert [event["sequence"] for event in await lab.items(f"/e/executors/{id}/events", after=4, kind="TaskStarted")] == [6, 7]


async def test_what_is_in_blobs(lab):
    uid = await lab.experiment()
    id = await lab.executor(uid)
    digest, parts = "a" * 64, [b"x" * 3_000_000, b"\xff\x00y"]
    await lab.insert("blob", executor_id=id, sha256=digest, size=sum(map(len, parts)), complete=True)
    for start, part in zip((0, 3_000_000), parts, strict=True):
        await lab.insert("blob_part", executor_id=id, sha256=digest, start=start, content=part)
    await lab.insert("log_chunk", executor_id=id, seq=1, stream="agent", blob=digest)
    (chunk,) = (await lab.get(f"/e/executors/{id}/logs")).body["items"]
    assert (chunk["blob"], "text" in chunk) == (digest, False)
    for path in ("logs/text", f"blobs/{digest}"):
        assert (await lab.get(f"/e/executors/{id}/{path}")).body == b"".join(parts)
    for unknown in ("b" * 64, "A" * 64, "x"):
        assert (await lab.get(f"/e/executors/{id}/blobs/{unknown}")).status == 404
    await lab.insert("blob", executor_id=id, sha256="c" * 64, size=5, complete=False)
    assert (await lab.get(f"/e/executors/{id}/blobs/{'c' * 64}")).status == 404, "half of it is none"


# --- results ---------------------------------------------------------------------------------------------------------------


async def test_results(lab):
    uid = await lab.experiment()
    none, small, large = [await lab.executor(uid, index=index, position=0) for index in range(3)]
    results = {"t": [{"outcome": "Success", "value": None}]}
    await lab.insert("result", executor_id=small, outcome="Success", results=results, received_at=NOON)
    told = {"outcome": "Failure", "reason": "TaskFailed", "message": "m", "blob": "d" * 64, "received_at": NOON}
    await lab.insert("result", executor_id=large, **told)
    async with lab.store.transaction() as connection:
        await reports.put_report(connection, none, b"pickle" * 300_000, final=False)
    assert (await lab.get(f"/e/executors/{small}/result")).body == {
        "outcome": "Success",
        "reason": "",
        "message": "",
        "late": False,
        "receivedAt": "2026-01-01T12:00:00Z",
        "results": results,
    }
    found = (await lab.get(f"/e/executors/{large}/result")).body
    assert (found["blob"], "results" in found) == ("d" * 64, False)
    found = (await lab.get(f"/e/executors/{none}/result")).body
    assert (list(found), found["report"]["size"], found["report"]["final"]) == (["report"], 1_800_000, False)
    report = await lab.get(f"/e/executors/{none}/report")
    assert report.body == b"pickle" * 300_000
    assert report.headers["Content-Disposition"] == f'attachment; filename="{none}.pickle"'
    assert (await lab.get(f"/e/executors/{small}/report")).status == 404
    lines = (await lab.get("/e/results")).body.decode().splitlines()
    first, second = map(json.loads, lines)
    assert (first["executor"], first["results"], first["outcome"]) == (str(small), results, "Success")
    assert (second["executor"], second["blob"], second["reason"]) == (str(large), "d" * 64, "TaskFailed")
    assert (await lab.get("/e/results", attempt=2)).body == b""


async def test_many_results_are_streamed_in_order(lab):
    uid = await lab.experiment()
    for index in range(120):
        id = await lab.executor(uid, index=index, position=0)
        await lab.insert("result", executor_id=id, outcome="Success", results={"t": [{"value": index}]})
    lines = (await lab.get("/e/results")).body.decode().splitlines()
    assert [json.loads(line)["results"]["t"][0]["value"] for line in lines] == list(range(120))


# --- flags -----------------------------------------------------------------------------------------------------------------


async def test_large_results_are_read_a_few_at_a_time(lab, monkeypatch):
    """By their bytes, as PostgreSQL writes them: here half as many again."""
    uid = await lab.experiment()
    sizes = [900_000, 10, 900_000, 2_000_000, 900_000, 10]
    for index, size in enumerate(sizes):
        id = await lab.executor(uid, "d", index, 0, state="Succeeded")
        value = "\u00e4\n{}" * (size // 4)
        await lab.insert("result", executor_id=id, outcome="Success", results={"t": [{"value": value}]})
    pages, real = [], history.results

    async def counted(*arguments):
        pages.append(await real(*arguments))
        return pages[-1]

    monkeypatch.setattr(history, "results", counted)
    monkeypatch.setattr(experiments, "_PAGE_BYTES", 4_000_000)
    lines = (await lab.get("/e/results")).body.decode().splitlines()
    assert [json.loads(line)["index"] for line in lines] == list(range(6))
    assert [len(json.loads(line)["results"]["t"][0]["value"]) // 4 * 4 for line in lines] == [size // 4 * 4 for size in sizes]
    assert [len(page) for page in pages] == [3, 1, 2, 0]
    assert all(isinstance(one.result.results, str) for page in pages for one in page), "nobody looks into them"


async def test_a_user_has_so_many_requests_at_once(lab, migrated, tmp_path):
    """Those whose bodies are still to come are among them."""
    made = await account(lab.store, "few", namespace=lab.namespace)
    bind(lab.cluster, lab.namespace, "unicorn-user", made.kubernetes_user)
    (tmp_path / "few").mkdir()
    kubeconfig = str(lab.cluster.kubeconfig)
    async with user_api_on(migrated, tmp_path / "few", kubeconfig=kubeconfig, user_requests_in_flight=3) as api:
        user = await api.logged_in("few")
        writers = [(await stalled(api.url, "/api/v1/executors/cancel", user.token))[1] for _ in range(3)]

        async def answers(status):
            return (await user.call("GET", "/api/v1/verify_token")).status == status

        await eventually(lambda: answers(429), "they are there", 20)
        for writer in writers:
            writer.close()
        await eventually(lambda: answers(200), "they have gone", 20)


async def test_flags(lab):
    await lab.experiment()
    call, path = lab.user.call, f"{lab.path}/e/flags"
    assert (await call("GET", f"{path}/x")).body == {"name": "x", "text": None, "integer": 0, "version": 0}
    assert (await call("PUT", f"{path}/x", json={"text": "a", "integer": 4})).body["version"] == 1
    assert (await call("POST", f"{path}/x", json={"add": -6})).body == {"name": "x", "text": "a", "integer": -2, "version": 2}
    assert (await call("PUT", f"{path}/x", json={"integer": 5, "ifVersion": 2})).body["text"] == "a"
    conflict = await call("PUT", f"{path}/x", json={"integer": 9, "ifVersion": 2})
    assert (conflict.status, conflict.reason, conflict.body["flag"]["integer"]) == (409, "Conflict", 5)
    assert (await call("PUT", f"{path}/y", json={"integer": 9, "ifVersion": 1})).status == 409
    assert (await call("PUT", f"{path}/y", json={"integer": 9, "ifVersion": 0})).status == 200
    await asyncio.gather(*(call("POST", f"{path}/many", json={"add": 1}) for _ in range(20)))
    flags = await lab.all("/e/flags", limit=1)
    assert [(flag["name"], flag["integer"]) for flag in flags] == [("many", 20), ("x", 5), ("y", 9)]
    assert (await call("POST", f"{path}/x", json={"add": 2**63 - 1})).reason == "OutOfRange"


WRONG_FLAGS = [
    ("PUT", "x", {}, 400),
    ("PUT", "x", {"integer": 2**63}, 400),
    ("PUT", "x", {"integer": "1"}, 400),
    ("PUT", "x", {"colour": "red"}, 400),
    ("PUT", "x", {"text": "é" * 40_000}, 413),
    ("POST", "x", {"add": None}, 400),
    ("PUT", "x" * 129, {"integer": 1}, 400),
    ("PUT", "%00", {"integer": 1}, 400),
    ("PUT", "a%0Ab", {"integer": 1}, 400),
]


async def test_wrong_flags(lab):
    await lab.experiment()
    for method, name, body, status in WRONG_FLAGS:
        answer = await lab.user.call(method, f"{lab.path}/e/flags/{name}", json=body)
        assert answer.status == status, (name, body, answer.body)


# --- who may ---------------------------------------------------------------------------------------------------------------


async def test_a_stranger_sees_and_changes_nothing(lab):
    uid = await lab.experiment()
    id = await lab.executor(uid)
    await account(lab.store, stranger := f"user-{secrets.token_hex(4)}", namespace=lab.namespace)
    user = await lab.api.logged_in(stranger)
    parts = ("tasks", "events", "logs", "logs/text", "result", "report", f"blobs/{'a' * 64}")
    paths = ["", "/e", f"/{uid}", "/nobody", f"/{uuid4()}", "/e/results", "/e/flags", "/e/flags/x", "/e/executors"]
    paths += [f"/e/executors/{id}", *(f"/e/executors/{id}/{part}" for part in parts)]
    for path in paths:
        answer = await user.call("GET", lab.path + path)
        assert (answer.status, answer.reason) == (403, "Forbidden"), path
    for method, path, body in (
        ("POST", "/e/cancel", None),
        ("POST", f"/e/executors/{id}/cancel", None),
        ("PUT", "/e/flags/x", {"integer": 1}),
        ("POST", "/e/flags/x", {"add": 1}),
    ):
        assert (await user.call(method, lab.path + path, json=body)).status == 403, path
    assert (await lab.api.user().call("GET", lab.path)).status == 401
    assert (await user.call("GET", "/v2/namespaces/No_Namespace/experiments")).status == 404


async def test_who_may_look_may_not_change(lab):
    uid = await lab.experiment()
    id = await lab.executor(uid)
    made = await account(lab.store, name := f"user-{secrets.token_hex(4)}", namespace=lab.namespace)
    bind(lab.cluster, lab.namespace, "unicorn-view", made.kubernetes_user)
    user = await lab.api.logged_in(name)
    assert (await user.call("GET", f"{lab.path}/e/executors/{id}/logs")).status == 200
    for path in ("/e/cancel", f"/e/executors/{id}/cancel"):
        assert (await user.call("POST", lab.path + path)).status == 403
    assert (await user.call("PUT", f"{lab.path}/e/flags/x", json={"integer": 1})).status == 403


# --- cancelling ------------------------------------------------------------------------------------------------------------


async def test_cancelling_an_executor(lab):
    uid = await lab.experiment()
    id, ended = await lab.executor(uid), await lab.executor(uid, index=1, state="Succeeded")
    assert (await lab.user.call("POST", f"{lab.path}/e/executors/{id}/cancel")).body == {"id": str(id)}
    assert (await lab.get(f"/e/executors/{id}")).body["cancelRequestedAt"]
    answer = await lab.user.call("POST", f"{lab.path}/e/executors/{ended}/cancel")
    assert (answer.status, answer.body["detail"]) == (409, "the executor is Succeeded already")


async def test_cancelling_what_is_over_or_gone(lab):
    await lab.experiment("over", phase="Failed", completed_at=NOON)
    await lab.experiment("gone", deleted_at=NOON)
    await lab.experiment("lost")  # the record is here, the resource is not
    for name, says in (("over", "is Failed already"), ("gone", "is gone already"), ("lost", "is gone already")):
        answer = await lab.user.call("POST", f"{lab.path}/{name}/cancel")
        assert (answer.status, answer.reason) == (409, "Conflict")
        assert says in answer.body["detail"]


# --- what is told of it ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_route_is_told_of(route):
    page = (Path(__file__).parents[2] / "docs" / "records-api.md").read_text()
    rest = route.path.removeprefix("/v2/namespaces/{namespace}/experiments")
    row = next((line for line in page.splitlines() if line.startswith(f"| `{route.method} {rest}` |")), "")
    assert row or not rest, f"docs/records-api.md does not tell of {route.name}"
    for parameter in route.parameters:
        assert f"`{parameter.name}`" in page or f"`{parameter.name}=" in page, parameter.name

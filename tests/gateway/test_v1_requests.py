"""What v1 makes of each request: check-in, reports, log, flags; also of hostile ones."""

import asyncio
import json
import pickle
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from gateway_parts import eventually
from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.v1 import logs
from v1_parts import outcome, pickled, serialized, v1_agent

pytestmark = pytest.mark.database
RESULT = "/api/v1/executor/result"
NOTHING = pickle.dumps([None, []])


@pytest.fixture(scope="module")
def reports():
    """`reports(outcome, log)`: bytes as the executor writes them."""
    frame = "from returns.result import {0}\nreport = [{0}({{}}), ['<log>']]"
    made = {kind: pickled(frame.format(kind)) for kind in ("Success", "Failure")}

    def report(kind, *log):
        head, tail = made[kind].split(b"\x8c\x05<log>\x94a", 1)
        lines = b"".join(b"X" + len(line.encode()).to_bytes(4, "little") + line.encode() + b"\x94" for line in log)
        framed = head[:2] + head[11:] if head[2:3] == b"\x95" else head  # a frame would have another length
        return framed + b"(" + lines + b"e" + tail

    return report


@pytest.fixture
async def agent(gateway, operator):
    """One that runs."""
    (executor,) = await serialized(operator, b"the graph")
    agent = await v1_agent(gateway, operator, executor)
    assert (await agent.graph()).status == 200
    return agent


# --- the graph ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/execution_graph", "/execution_graph/", "/pipeline", "/pipeline/"])
async def test_the_graph_is_a_json_string_and_its_request_the_check_in(gateway, operator, path):
    content = bytes(range(256)) * 5000
    (executor,) = await serialized(operator, content)
    agent = await v1_agent(gateway, operator, executor)
    answer = await agent.graph("/api/v1/executor" + path)
    assert (answer.status, answer.body) == (200, b64encode(content).decode())
    assert answer.headers["Content-Type"].startswith("application/json")
    row = await operator.row(executor)
    assert (row["state"], row["instance"]) == ("Running", "fence-1")
    assert (await agent.graph()).body == answer.body, "again, until its first report"
    await agent.report(NOTHING, state=1)
    assert (await agent.graph()).body == b""


async def test_nothing_but_a_serialized_graph_can_be_had(gateway, operator):
    (executor,) = await operator.experiment()
    agent = await v1_agent(gateway, operator, executor)
    assert (await agent.graph()).body == b""
    row = await operator.row(executor)
    assert (row["state"], row["reason"]) == ("Failed", "GraphInvalid")


async def test_a_graph_comes_with_the_release(gateway, operator):
    (executor,) = await serialized(operator, b"graph", release_on_check_in=False)
    agent = await v1_agent(gateway, operator, executor)
    waiting = asyncio.create_task(agent.graph())

    async def checked_in():
        return (await operator.row(executor))["state"] == "CheckedIn"

    await eventually(checked_in)
    await operator.release(executor)
    async with asyncio.timeout(5):
        assert (await waiting).body == b64encode(b"graph").decode()


# --- reports -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "final"), [(0, False), (1, False), (2, True), (3, True), (None, True)])
@pytest.mark.parametrize("path", [RESULT, RESULT + "/"])
async def test_which_reports_are_final(agent, operator, reports, state, final, path):
    answer = await agent.report(reports("Success"), state=state, path=path)
    assert (answer.status, answer.body) == (200, None)
    found = await outcome(operator, agent.executor)
    assert (found.row["state"], found.final) == (("Succeeded", True) if final else ("Running", False))
    assert found.content == reports("Success")


@pytest.mark.parametrize(
    ("content", "state", "reason"),
    [
        (NOTHING, "Failed", "GraphUnloadable"),
        (pickle.dumps([ValueError("x"), []]), "Failed", "UnreadableReport"),
        (pickle.dumps({"a": 1}), "Failed", "UnreadableReport"),
        (b"", "Failed", "UnreadableReport"),
        (b"\x80\x05](" + b"\xff" * 1000, "Failed", "UnreadableReport"),
        ("no base64!", "Failed", "UnreadableReport"),
        ("é", "Failed", "UnreadableReport"),
    ],
)
async def test_final_reports_that_say_nothing_good(agent, operator, content, state, reason):
    answer = await agent.report(content)
    assert (answer.status, answer.body) == (200, None)
    found = await outcome(operator, agent.executor)
    assert (found.row["state"], found.row["reason"], found.result["outcome"]) == (state, reason, "Failure")
    assert found.row["message"]
    assert found.content == (content if isinstance(content, bytes) else None), "the bytes as they came"


async def test_a_failure_is_one(agent, operator, reports):
    await agent.report(reports("Failure", "why\n"))
    found = await outcome(operator, agent.executor)
    assert (found.row["state"], found.row["reason"], found.log) == ("Failed", "TaskFailed", "why\n")


async def test_the_first_final_report_stays(agent, operator, reports):
    for kind in ("Success", "Failure", "Success"):
        assert (await agent.report(reports(kind, f"{kind}\n"))).status == 200
    await agent.report(NOTHING, state=1)
    found = await outcome(operator, agent.executor)
    assert (found.row["state"], found.content, found.log) == ("Succeeded", reports("Success", "Success\n"), "Success\n")


@pytest.mark.parametrize("how", ["cancelled", "experiment over"])
async def test_what_comes_too_late_is_kept_and_changes_nothing(agent, operator, reports, how):
    if how == "cancelled":
        await operator.set(agent.executor, state="Cancelled", finished_at=datetime.now(UTC))
    else:
        await operator.complete(agent.executor)
    before = (await operator.row(agent.executor))["state"]
    for state in (1, 2):
        assert (await agent.report(reports("Success", "late\n"), state=state)).status == 200
    found = await outcome(operator, agent.executor)
    assert (found.row["state"], found.final, found.log, found.result["late"]) == (before, True, "late\n", True)
    assert await operator.one("SELECT bool_and(late) FROM unicorn.log_chunk")


async def test_one_that_was_lost_is_alive_again(agent, operator, reports):
    await operator.set(agent.executor, state="Lost")
    await agent.report(reports("Success"), state=1)

    async def alive():
        return (await operator.row(agent.executor))["state"] == "Running"

    await eventually(alive)
    await operator.set(agent.executor, state="Lost")
    await agent.report(reports("Success"))
    assert (await operator.row(agent.executor))["state"] == "Succeeded"


async def test_equal_heartbeats_cost_no_query(gateway, agent, operator, reports):
    await agent.report(reports("Success", "a\n"), state=1)
    await operator.all("DELETE FROM unicorn.executor_report")
    await agent.report(reports("Success", "a\n"), state=1)
    assert (await outcome(operator, agent.executor)).content is None
    await agent.report(reports("Success", "a\n", "b\n"), state=1)
    assert (await outcome(operator, agent.executor)).content == reports("Success", "a\n", "b\n")


async def test_too_large_reports_fail_once(agent, operator, reports, monkeypatch):
    await agent.report(reports("Success", "so far\n"), state=1)
    monkeypatch.setattr(limits, "V1_REPORT", 500_000)
    monkeypatch.setattr(limits, "V1_LARGE", 100_000)
    large = "A" * 600_000
    assert (await agent.report(large, state=1)).status == 200
    assert (await operator.row(agent.executor))["state"] == "Running", "a heartbeat"
    for _ in range(2):
        assert (await agent.report(large, state=2)).status == 200
    found = await outcome(operator, agent.executor)
    assert (found.row["state"], found.row["reason"]) == ("Failed", "ResultTooLarge")
    assert (found.content, found.final) == (reports("Success", "so far\n"), False), "what the last heartbeat brought stays"


async def test_more_than_all_measure_is_cut_off(agent, operator, monkeypatch):
    monkeypatch.setattr(limits, "V1_REPORT", 1000)
    monkeypatch.setattr(limits, "V1_LARGE", 1000)
    monkeypatch.setattr(limits, "V1_DRAINED", 100_000)
    answer = await agent.call("POST", RESULT + "/", data=b"x" * 1_000_000)
    assert answer.status == 413


BAD = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "no results": {"executor_id": "", "state": 2},
    "results are a number": {"executor_id": "", "results": 3},
    "a state of its own": {"executor_id": "", "results": "", "state": 7},
    "state is text": {"executor_id": "", "results": "", "state": "2"},
    "state is true": {"executor_id": "", "results": "", "state": True},
    "nested": b"[" * 100_000,
    "not UTF-8": b'{"executor_id": "\xff"}',
    "infinite": b'{"executor_id": 1e999, "results": ""}',
}


@pytest.mark.parametrize("why", BAD)
async def test_bodies_that_are_none(agent, operator, why):
    body = BAD[why]
    data = body if isinstance(body, bytes) else json.dumps(body | {"executor_id": str(agent.executor)}).encode()
    answer = await agent.call("POST", RESULT + "/", data=data)
    assert (answer.status, answer.reason) == (422, "Malformed")
    assert (await operator.row(agent.executor))["state"] == "Running"


async def test_the_token_is_overwritten_wherever_it_stands(agent, operator):
    text = f"{agent.token} and {agent.token}\n"
    content = pickle.dumps([{"a": agent.token}, [text]])
    await agent.report(content)
    found = await outcome(operator, agent.executor)
    hidden = "x" * len(agent.token)
    assert found.content == content.replace(agent.token.encode(), hidden.encode())
    assert found.log == f"{hidden} and {hidden}\n"


# --- the log -----------------------------------------------------------------------------------------------------------------


async def test_only_new_lines_are_stored(agent, operator, reports):
    steps = [
        (("a\n",), 1, "a\n"),
        (("a\n", "b\n", "part"), 1, "a\nb\n"),  # the last line is still being written
        (("a\n", "b\n", "part of c\n"), 1, "a\nb\npart of c\n"),
        (("a\n",), 1, "a\nb\npart of c\n"),  # shorter: nothing new
        (("a\n", "b\n", "part of c\n", "\n", "\0\n", "no end"), 2, "a\nb\npart of c\n\n\N{REPLACEMENT CHARACTER}\nno end"),
    ]
    for log, state, expected in steps:
        assert (await agent.report(reports("Success", *log), state=state)).status == 200
        assert (await outcome(operator, agent.executor)).log == expected


async def test_a_log_over_its_quota_is_counted(agent, operator, reports, monkeypatch):
    monkeypatch.setattr(limits, "LOG_QUOTA", 30_000)
    lines = [f"{number:07d} \n" for number in range(5_000)]
    await agent.report(reports("Success", *lines))
    found = await outcome_without_gaps(operator, agent.executor)
    assert found["log_bytes"] == 45_000
    assert 0 < found["stored"] <= 30_000


async def outcome_without_gaps(operator, executor):
    row = await operator.row(executor)
    stored = await operator.one(
        "SELECT coalesce(sum(length(content)), 0) FROM unicorn.log_chunk WHERE executor_id = $1", executor
    )
    return {"log_bytes": row["log_bytes"], "stored": stored}


@pytest.mark.parametrize(
    ("log", "stored", "final", "expected"),
    [
        ([], 0, False, []),
        (["a\n", "b"], 0, False, ["a\n"]),
        (["a\n", "b"], 0, True, ["a\n", "b"]),
        (["a\n", "b"], 1, True, ["b"]),
        (["a\n", "b"], 2, True, []),
        (["a\n"], 5, True, []),
    ],
)
def test_new_lines(log, stored, final, expected):
    assert list(logs.new_lines(log, stored, final)) == expected


@pytest.mark.parametrize("lines", [[], ["x"], ["a\n"] * 100_000, ["y" * 100_000], ["a\n", "z" * 40_000, "b\n", "c" * 16_384]])
def test_chunks_hold_all_of_it(lines):
    chunks = list(logs.chunks(lines))
    assert "".join(chunks) == "".join(lines)
    assert all(0 < len(chunk) <= limits.V1_LOG_CHUNK for chunk in chunks)
    assert len(chunks) <= 2 + 2 * sum(map(len, lines)) // limits.V1_LOG_CHUNK


# --- flags -------------------------------------------------------------------------------------------------------------------


async def test_flags_as_netunicorns_tasks_know_them(agent):
    never = await agent.flag("GET", "f")
    assert (never.status, never.body) == (404, None)
    steps = [
        ("", {"int_value": 5, "text_value": "t"}, {"text_value": "t", "int_value": 5}),
        ("/increment", None, {"text_value": "t", "int_value": 6}),
        ("/decrement/", None, {"text_value": "t", "int_value": 5}),
        ("/", {"text_value": "only"}, {"text_value": "only", "int_value": 0}),
        ("", {"int_value": -(2**63)}, {"text_value": None, "int_value": -(2**63)}),
        ("", {}, {"text_value": None, "int_value": 0}),
        ("/decrement", None, {"text_value": None, "int_value": -1}),
    ]
    for action, body, after in steps:
        answer = await agent.flag("POST", "f", action, **({"json": body} if body is not None else {}))
        assert (answer.status, answer.body) == (200, None)
        assert (await agent.flag("GET", "f")).body == after
    await agent.flag("POST", "a+b", "/increment")
    assert (await agent.flag("GET", "a+b")).body["int_value"] == 1


async def test_both_protocols_have_the_same_flags(gateway, operator):
    executors = await serialized(operator, b"graph", executors=2)
    theirs, ours = await v1_agent(gateway, operator, executors[0]), gateway.agent(executors[1])
    await theirs.graph()
    await ours.check_in()
    await theirs.flag("POST", "f", "/increment")
    news = asyncio.create_task(ours.call("GET", "/v2/flags/f?wait=20&version=1"))
    await asyncio.sleep(0)
    await theirs.flag("POST", "f", "/increment")
    async with asyncio.timeout(10):
        assert (await news).body == {"name": "f", "text": None, "integer": 2, "version": 2}


async def test_no_increment_is_lost_or_applied_twice(gateway, operator):
    executors = await serialized(operator, b"graph", executors=4)
    agents = [await v1_agent(gateway, operator, executor) for executor in executors]
    actions = ["/increment", "/increment", "/decrement"] * 100
    answers = await asyncio.gather(
        *(agent.flag("POST", f"f{n % 7}", action) for agent in agents for n, action in enumerate(actions))
    )
    assert {answer.status for answer in answers} == {200}
    assert await operator.one("SELECT sum(integer) FROM unicorn.flag") == 4 * 100


async def test_what_is_too_much_for_a_flag(agent, operator, monkeypatch):
    assert (await agent.flag("POST", "f", json={"int_value": 2**63})).status == 422
    assert (await agent.flag("POST", "f", json={"int_value": None})).status == 422
    assert (await agent.flag("POST", "f", json={"int_value": "3"})).status == 422
    assert (await agent.flag("POST", "f", data=b"[")).status == 422
    assert (await agent.flag("POST", "f", json={"text_value": "x" * 70_000})).status == 422
    assert (await agent.flag("POST", "f", data=b"x" * 600_000)).status == 413
    assert (await agent.flag("POST", "f" * 129, "/increment")).status == 422
    assert (await agent.flag("POST", "%00", "/increment")).status == 422
    assert (await agent.flag("GET", "f")).status == 404
    await agent.flag("POST", "high", json={"int_value": 2**63 - 1})
    both = await asyncio.gather(agent.flag("POST", "high", "/increment"), agent.flag("POST", "low", "/increment"))
    assert [answer.status for answer in both] == [422, 200], "one that overflows takes no other with it"
    assert (await agent.flag("GET", "high")).body["int_value"] == 2**63 - 1
    monkeypatch.setattr(limits, "FLAGS", 3)
    many = await asyncio.gather(*(agent.flag("POST", name, "/increment") for name in ("a", "b", "low")))
    assert many[2].status == 200, "it was there already"
    assert sorted(answer.status for answer in many[:2]) == [200, 422], "one more found room, whichever came first"
    assert (await agent.flag("POST", "c", json={"int_value": 1})).reason == "TooManyFlags"

"""What ends by itself: a start, a run, a finished Experiment's life, a spec that nobody should have taken."""

import contextlib

import pytest
from e2e_kit import Kit, eventually, experiment
from unicorn_core.errors import NotFound
from unicorn_kube.resource import CONNECTORS, SECRETS

from .conftest import nothing_is_left

MUTE = {"type": "local", "config": {"nodes": ["mute-0", "mute-1"]}, "gateway": {"endpoint": "http://127.0.0.1:9"}}


@pytest.fixture
async def mute(kit: Kit):
    """A reference to a Connector whose agents never check in: nobody is at its gateway's address."""
    reference = {"name": "mute", "namespace": kit.namespace}
    await kit.put("Connector", "mute", MUTE)
    await kit.connector_ready(reference)
    yield reference
    await kit.clean()
    await kit.kube.delete(CONNECTORS, kit.namespace, "mute")

    async def gone():
        with contextlib.suppress(NotFound):
            return not await kit.kube.get(CONNECTORS, kit.namespace, "mute")
        return True

    await eventually(gone, "the Connector is gone")


def beside_the_mute(name: str, command: str, kit: Kit, mute, there: int, **spec):
    """So many executors that check in, and one that does not."""
    body = experiment(name, {"name": "t", "run": command}, count=there, connector=kit.local, deadlines={"start": "4s"}, **spec)
    (deployment,) = body["spec"]["deployments"]
    body["spec"]["deployments"].append({**deployment, "name": "mute", "nodes": {"count": 1, "connectorRef": mute}})
    return body


async def test_at_the_start_deadline_a_quorum_goes_on_without_the_missing(kit, mute, notes):
    spec = {"start": {"quorum": 2}, "failurePolicy": {"tolerate": 1}}
    one = await kit.apply(beside_the_mute("quorum", notes.add("ran"), kit, mute, 2, **spec))
    await one.reaches("Starting", checkedIn=2)
    assert notes.all() == [], "they are released together"
    status = await one.succeeds()
    assert status["executors"] == {"total": 3, "succeeded": 2, "failed": 1}
    assert [entry["reason"] for entry in status["failures"]] == ["NotCheckedIn"]
    assert notes.all() == ["ran", "ran"]
    await nothing_is_left(kit, one)


async def test_the_missing_count_as_failed(kit, mute, notes):
    one = await kit.apply(beside_the_mute("strict", notes.add("ran"), kit, mute, 1, start={"quorum": 1}))
    status = await one.reaches("Failed")
    assert (status["reason"], status["executors"]) == ("TooManyFailures", {"total": 2, "succeeded": 1, "failed": 1})


async def test_at_the_start_deadline_too_few_fail_the_attempt(kit, mute, notes):
    one = await kit.apply(beside_the_mute("too-few", notes.add("ran"), kit, mute, 2))
    status = await one.reaches("Failed")
    assert status["reason"] == "QuorumNotMet"
    assert "NotCheckedIn" in {entry["reason"] for entry in status["failures"]}
    assert notes.all() == [], "nobody was released"
    await nothing_is_left(kit, one)


async def test_at_the_run_deadline_all_are_stopped(kit, notes):
    quick = {"name": "t", "run": f"{notes.add('ran')}; [ $(executor.index) = 0 ] || sleep 300"}
    one = await kit.run("endless", quick, count=2, deadlines={"run": "3s"})
    status = await one.reaches("Failed")
    assert status["reason"] == "RunDeadlineExceeded"
    assert status["executors"] == {"total": 2, "succeeded": 1, "failed": 1}
    assert status["failures"][0]["reason"] == "RunDeadlineExceeded"
    assert notes.all() == ["ran", "ran"]
    await nothing_is_left(kit, one)


async def test_after_its_time_a_finished_experiment_goes_and_its_records_stay(kit):
    one = await kit.run("short-lived", {"name": "t", "run": "echo hello"}, ttlSecondsAfterFinished=2)
    await one.succeeds()
    await one.gone()
    record = await one.record()
    assert (record.phase, record.deleted is not None) == ("Succeeded", True)
    assert (await one.values("t"))["d/0"]["stdout"] == "hello\n"
    (executor,) = await one.executors()
    assert await one.events(executor.id)
    assert "hello" in "".join(log.text for log in await one.logs(executor.id))


INVALID = [
    ("placeholder", {"run": "echo $(params.nothing)"}, "spec.deployments[0].pipeline.stages[0].tasks[0].run"),
    ("nul", {"python": {"object": "m:T", "kwargs": {"x": "a\0b"}}}, "spec.deployments[0].pipeline.stages[0].tasks[0].python"),
]


@pytest.mark.parametrize(("name", "task", "path"), INVALID, ids=[row[0] for row in INVALID])
async def test_where_webhooks_are_off_a_wrong_spec_fails_and_can_be_deleted(kit, name, task, path):
    one = await kit.run(f"wrong-{name}", {"name": "t", **task})
    status = await one.reaches("Failed")
    assert status["reason"] == "Invalid"
    accepted = await one.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "Invalid")
    assert path in accepted["message"]
    assert (await one.record()).phase == "Failed"
    await one.delete()
    await one.gone()


async def test_a_secret_is_waited_for_and_comes_as_a_variable(kit):
    environment = {
        "shell": {"commands": ['test "$WORD" = "grüße"']},
        "runtime": {"env": [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "words", "key": "greeting"}}}]},
    }
    one = await kit.run("with-secret", {"name": "t", "run": "echo $WORD"}, environment=environment)

    async def waits():
        prepared = await one.condition("Prepared") or {}
        return prepared.get("reason") == "SecretNotFound" and prepared["status"] == "False" and "words" in prepared["message"]

    await eventually(waits, "it says what it waits for")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words", "namespace": kit.namespace}}
    await kit.kube.create(SECRETS, {**secret, "stringData": {"greeting": "grüße"}})
    try:
        await one.succeeds()
        assert (await one.values("t"))["d/0"]["stdout"] == "grüße\n"
    finally:
        await kit.kube.delete(SECRETS, kit.namespace, "words")


@pytest.mark.parametrize("value", ["aGlkZGVu/w==", "aGlkZGVuAA=="], ids=["no text", "NUL"])
async def test_a_secret_that_is_no_text_fails_its_executors_and_nobody_else(kit, value):
    environment = {
        "shell": {"commands": ["true"]},
        "runtime": {"env": [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "binary", "key": "word"}}}]},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "binary", "namespace": kit.namespace}}
    await kit.kube.create(SECRETS, {**secret, "data": {"word": value}})
    try:
        one = await kit.run("binary-secret", {"name": "t", "run": "true"}, environment=environment)
        status = await one.reaches("Failed")
        (failure,) = status["failures"]
        assert failure["reason"] == "SecretNotUsable"
        assert "key word of Secret" in failure["message"]
        assert "hidden" not in str(status)
        await (await kit.run("after-it", {"name": "t", "run": "true"})).succeeds()
    finally:
        await kit.kube.delete(SECRETS, kit.namespace, "binary")

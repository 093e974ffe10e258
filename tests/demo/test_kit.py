"""The stack and the kit that tests of the whole stand on."""


async def test_an_experiment_runs_and_can_be_read(kit):
    experiment = await kit.run("smoke", {"name": "say", "run": "echo hello from $(executor.index)"}, count=2)
    status = await experiment.succeeds()
    assert status["executors"] == {"total": 2, "succeeded": 2}
    values = await experiment.values("say")
    assert {place: value["stdout"] for place, value in values.items()} == {"d/0": "hello from 0\n", "d/1": "hello from 1\n"}
    executor = (await experiment.executors())[0]
    assert [log.text for log in await experiment.logs(executor.id) if log.stream == "stdout"] == ["hello from 0\n"]
    assert [event.kind for event in await experiment.events(executor.id)] == ["TaskStarted", "TaskFinished"]
    assert (await experiment.record()).phase == "Succeeded"
    assert await experiment.leases() == 0

"""Flag tasks: the experiment's flags, waits and barriers."""

from executor_graphs import chain


def flag(timeout=None, **flag):
    return {"flag": flag, **({"timeoutSeconds": timeout} if timeout else {})}


async def test_set_get_add(start):
    agent = await start(
        chain(
            set=flag(set="colour", text="red", integer=3),
            add=flag(add="colour", amount=-5),
            get=flag(get="colour"),
            text=flag(set="colour", text="blue"),
            odd=flag(set="a name/with ?&", integer=1),
            use={"script": "result = previous['get'][-1]['value']['integer']"},
        )
    )
    results = {task: entries[0].get("value") for task, entries in (await agent.result())["results"].items()}
    assert results["set"] == {"text": "red", "integer": 3}
    assert results["add"] == results["get"] == {"text": "red", "integer": -2}
    assert results["text"] == {"text": "blue", "integer": -2}, "an absent one keeps its value"
    assert results["odd"] == {"text": None, "integer": 1}
    assert results["use"] == -2


async def test_wait_for_another_executor(start):
    waiting = await start(chain(a=flag(wait="ready", text="yes"), b=flag(wait="count", atLeast=2)), index=0)
    await waiting.sees("TaskStarted", task="a")
    setting = await start(chain(a=flag(set="ready", text="yes"), b=flag(add="count"), c=flag(add="count")), index=1)
    assert (await setting.result())["outcome"] == "Success"
    results = (await waiting.result())["results"]
    assert results["a"][0]["value"] == {"text": "yes", "integer": 0}
    assert results["b"][0]["value"] == {"text": None, "integer": 2}


async def test_a_wait_that_lasts_too_long_is_a_timeout(start):
    agent = await start(chain(a=flag(wait="never", integer=1, timeout=0.3)))
    result = await agent.result()
    assert result["results"]["a"] == [{"outcome": "Failure", "error": "timed out after 0.3 s", "reason": "Timeout"}]


async def test_a_barrier_lets_all_pass_together_in_every_round(start, gateway):
    graph = chain(a=flag(barrier="everyone"), end={})
    graph["edges"].append({"from": "end", "to": "root", "weak": True, "limit": 1})
    agents = [await start(graph, index=index, released=False) for index in range(3)]
    await gateway.release(*(agent.token for agent in agents))
    for agent in agents:
        assert (await agent.result())["results"]["a"] == [{"outcome": "Success", "value": {"members": 3}}] * 2


async def test_what_the_gateway_refuses_is_a_failure(start):
    agent = await start(chain(a=flag(add="big", amount=2**63)))
    (entry,) = (await agent.result())["results"]["a"]
    assert (entry["reason"], entry["error"]) == ("FlagFailed", "422 OutOfRange 64-bit integers only")


async def test_an_outage_is_waited_out(start, gateway):
    agent = await start(chain(a={"run": "true"}, b=flag(wait="ready", integer=1)))
    await agent.sees("TaskStarted", task="b")
    await gateway.cut()
    await gateway.restore()
    other = await start(chain(a=flag(set="ready", integer=1)), index=1)
    assert (await other.result())["outcome"] == "Success"
    assert (await agent.result())["outcome"] == "Success"


async def test_the_tries_of_a_run_add_once(start, faults):
    """The answer to the first try comes too late: what it added stays added."""
    faults.slow_flag_writes(1.5, times=1)
    graph = chain(a={**flag(add="n", timeout=0.5), "retry": {"limit": 2, "backoffSeconds": 0.1}}, b=flag(get="n"))
    results = (await (await start(graph)).result())["results"]
    assert [entry["outcome"] for entry in results["a"]] == ["Success"]
    assert results["b"][0]["value"]["integer"] == 1


async def test_the_tries_of_a_run_arrive_at_a_barrier_once(start, gateway, workdir):
    meet = {**flag(barrier="everyone", timeout=0.5), "retry": {"limit": 100, "backoffSeconds": 0.05}}
    late = chain(wait={"run": "while ! test -e go; do sleep 0.02; done"}, a=meet)
    agents = [await start(graph, index=index, released=False) for index, graph in enumerate((chain(a=meet), late))]
    await gateway.release(*(agent.token for agent in agents))
    await agents[0].sees("TaskStarted", task="a", **{"try": 3})
    (workdir / "go").touch()
    for agent in agents:
        assert [entry["value"] for entry in (await agent.result())["results"]["a"]] == [{"members": 2}]

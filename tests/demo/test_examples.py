"""Every folder of examples/ runs to the end that it announces, on the real thing; what is peculiar to one is looked at."""

import pytest
from e2e_kit import Experiment, Kit
from unicorn_devcluster.demo import examples, notebook, running


async def run(kit: Kit, name: str) -> Experiment:
    """Apply it as the demo does, into the namespace with the Connectors, and follow it to its end."""
    example = examples.load(name)
    uid = await running.apply(kit.kube, kit.namespace, example)
    experiment = kit.took(kit.namespace, example.experiment, uid)
    async for view in running.follow(kit.kube, kit.store, kit.namespace, example):
        last = view
    assert last.phase == example.expect, last.status
    assert await experiment.leases() == 0
    return experiment


def test_each_folder_is_an_example_with_a_readme():
    folders = sorted(path.name for path in examples.ROOT.iterdir() if path.is_dir())
    assert folders == sorted([*examples.names(), notebook.SCRIPT.parent.name])
    assert all((examples.ROOT / name / "README.md").exists() for name in folders)
    for name in examples.names():
        assert examples.load(name).experiment == name, "a person looks for it by the folder's name"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.pods] * examples.load(name).needs_pods) for name in examples.names()]
)
async def test_it_ends_as_it_announces(kit, name):
    experiment = await run(kit, name)
    check = CHECKS.get(name)
    if check:
        check(await experiment.results())


def hello(results):
    assert set(results) == {"home/0", "home/1", "away/0"}
    for result in results.values():
        assert result["all-arrived"][-1]["value"]["integer"] == 3, "the barrier lets go only when all have counted themselves"
        assert "runs Linux" in result["greet"][-1]["value"], "a value was handed from one task to the next"
    assert results["away/0"]["greet"][-1]["value"].startswith("Ahoy, far friend!"), "parameters differ by deployment"


def failure_edges(results):
    assert [results[place]["work"][-1]["value"] for place in ("repair/0", "repair/1")] == ["repaired first", "straight on"]
    assert results["retry/0"]["flaky"][-1]["outcome"] == "Success"
    assert "never" not in results["stop-early/0"]


def flags(results):
    assert {results[f"clients/{index}"]["request"][-1]["value"][:12] for index in range(3)} == {"GET http://l"}


def hold_then_run(results):
    shown = results["prepared/0"]["show"][-1]["value"]["stdout"]
    assert shown.startswith("ready since "), "what was prepared before the hold is there"


def best_effort(results):
    assert [bool(results[f"some/{index}"]) for index in range(3)] == [True, True, False]


def pods(results):
    assert results["workers/0"]["pod"][-1]["value"]["stdout"].split()[1] == "10001"
    assert results["default/0"]["tell"][-1]["value"]["stdout"] == "all three pods have met\n"


def build(results):
    assert set(results) == {"named/0", "named/1", "inline/0"}
    for result in results.values():
        assert result["about"][-1]["value"]["stdout"].startswith("built for the lab on "), "a command's file is in the image"
        assert "gigabitsPerSecond" in result["throughput"][-1]["value"]["stdout"], "a package and a ConfigMap's file are"


CHECKS = {
    "hello": hello,
    "failure-edges": failure_edges,
    "flags": flags,
    "hold-then-run": hold_then_run,
    "best-effort": best_effort,
    "pods": pods,
    "build": build,
}

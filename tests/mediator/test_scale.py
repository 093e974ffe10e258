"""A thousand deployments with graphs of 150 tasks, each another graph; nodes of an elastic pool."""

import json

import pytest
import yaml
from e2e_kit import Kit
from mediator_lab import Lab
from notebooks import Notebook
from unicorn_core.naming import API_VERSION
from unicorn_kube.resource import EXPERIMENTS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
CLOUD = {
    "apiVersion": API_VERSION,
    "kind": "Connector",
    "metadata": {"name": "cloud"},
    "spec": {"type": "fake", "config": {"nodes": 0, "elastic": 1000, "agent": "NoOp"}},
}
MIB = 1024 * 1024


async def test_a_thousand_deployments_with_150_tasks_each(lab: Lab, book: Notebook, kit: Kit) -> None:
    lab.run("apply", "-n", lab.ada, "-f", "-", input=yaml.safe_dump(CLOUD))
    lab.run("wait", "--for=condition=InventorySynced", "--timeout=60s", "connector/cloud", "-n", lab.ada)
    lab.run("wait", "--for=condition=Ready", "--timeout=60s", "targetnodes", "--all", "-n", lab.ada)
    told = await book("""
pool = ada.get_nodes().filter(lambda node: node["connector"] == "cloud")
kind, limit = type(pool.nodes[0]).__name__, pool.nodes[0].soft_limit
def chain(index):
    made = Pipeline(environment_definition=ShellExecution())
    for task in range(150):
        made = made.then(SleepTask(0, name=f"task-{index}-{task}"))
    return made
experiment = Experiment()
for index, node in enumerate(pool.take(1000)):
    experiment.append(node, chain(index))
began = time.monotonic()
ada.prepare_experiment(experiment, "thousand")
prepared = time.monotonic() - began
information = wait(ada, "thousand", ExperimentStatus.READY, seconds=240)
ada.start_execution("thousand")
ended = wait(ada, "thousand", ExperimentStatus.FINISHED, seconds=240)
result = {
    "kind": kind,
    "limit": limit,
    "graphs": len({one.execution_graph for one in experiment}),
    "seconds": prepared,
    "prepared": sum(one.prepared for one in information.experiment),
    "order": [ended.experiment[index].node.name for index in (0, 1)],
    "same": [told._execution_graph for told in ended.execution_result] == [one.execution_graph for one in experiment],
    "errors": sum(told.error is not None for told in ended.execution_result),
    "size": len(experiment[0].execution_graph),
    "sent": len(json.dumps(experiment, cls=UnicornEncoder)),
}
""")
    assert (told["kind"], told["limit"]) == ("UncountableNodePool", 1000)
    assert told["size"] > 15_000
    assert told["sent"] < 32 * MIB, "half of UNICORN_MEDIATOR_BODY_LIMIT"
    assert (told["graphs"], told["prepared"], told["errors"], told["same"]) == (1000, 1000, 0, True)
    assert told["order"] == ["fake-pool-1", "fake-pool-2"]
    (item,) = (
        one for one in (await kit.kube.list(EXPERIMENTS, lab.ada)).items if one["metadata"]["name"].startswith("thousand-")
    )
    assert len(item["spec"]["deployments"]) == 1000
    assert len(json.dumps(item)) < MIB, "as the API server keeps it, managedFields and all"

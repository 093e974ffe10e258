"""Access tags when nodes are given out: for users of kubectl by their groups, for nobody whom nobody knows."""

import asyncio
import json
import subprocess

import pytest
from e2e_kit import eventually
from unicorn_core.naming import ANNOTATION_TAGS
from unicorn_kube.resource import EXPERIMENTS

NODE = """
apiVersion: netunicorn.io/v1alpha1
kind: Connector
metadata: {name: vault}
spec: {type: local, config: {nodes: [plain, secret]}}
---
apiVersion: netunicorn.io/v1alpha1
kind: TargetNode
metadata: {name: vault.secret}
spec: {connectorRef: {name: vault}, nodeName: secret, accessTags: [red]}
"""


@pytest.fixture(scope="module")
def vault(user_stack):
    """Two nodes, one of them for the tag `red`."""
    cluster, home = user_stack.cluster, user_stack.namespaces[0]
    cluster.run("apply", "--server-side", "--force-conflicts", "--namespace", home, "-f", "-", input=NODE)
    for node in ("vault.plain", "vault.secret"):
        cluster.run("wait", "--for=create", "--timeout=30s", f"tn/{node}", "--namespace", home)
        cluster.run("wait", "--for=condition=Ready", "--timeout=30s", f"tn/{node}", "--namespace", home)


@pytest.fixture
async def placed(served, vault):
    """An experiment of that user on all nodes of the vault: the names of those it got, and why not more."""
    made = []

    async def place(name, user, *groups):
        manifest = {
            "apiVersion": "netunicorn.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": name, "namespace": served.home},
            "spec": {
                "allocation": {"mode": "BestEffort", "whenBusy": "Fail"},
                "start": {"quorum": "0%"},
                "failurePolicy": {"tolerate": "100%"},
                "deployments": [
                    {
                        "name": "d",
                        "nodes": {"connectorRef": {"name": "vault"}, "names": ["plain", "secret"]},
                        "pipeline": {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]},
                    }
                ],
            },
        }
        identity = ["--as", user, *(word for group in ("system:masters", *groups) for word in ("--as-group", group))]
        command = [*served.stack.cluster.kubectl, *identity, "create", "-f", "-"]

        options = {"input": json.dumps(manifest), "capture_output": True, "text": True, "check": False}
        done = await asyncio.to_thread(subprocess.run, command, **options)
        assert done.returncode == 0, done.stderr
        made.append(name)

        async def ended():
            item = await served.kube.get(EXPERIMENTS, served.home, name)
            return item if (item.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Cancelled") else None

        item = await eventually(ended, f"{name} ends")
        async with served.store.connection() as connection:
            rows = await connection.fetch(
                "SELECT node_name, state::text AS state, message FROM unicorn.executor WHERE experiment_uid = $1",
                item["metadata"]["uid"],
            )
        tags = (item["metadata"].get("annotations") or {}).get(ANNOTATION_TAGS)
        return tags, {row["node_name"] for row in rows if row["state"] == "Succeeded"}, {row["message"] for row in rows} - {""}

    yield place
    for name in made:
        await served.kube.delete(EXPERIMENTS, served.home, name)


async def test_a_tag_in_common_gives_the_node(placed):
    assert await placed("red", "ann", "netunicorn:tag:red", "netunicorn:tag:green") == ("green,red", {"plain", "secret"}, set())


async def test_another_tag_does_not(placed):
    tags, nodes, messages = await placed("blue", "ben", "netunicorn:tag:blue")
    assert (tags, nodes) == ("blue", {"plain"})
    assert messages == {"no node is named secret"}, "it is not even said that it exists"


async def test_who_has_no_tags_may_have_all(placed):
    assert await placed("none", "carl") == (None, {"plain", "secret"}, set())

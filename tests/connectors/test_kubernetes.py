"""What is particular to pods, on a real cluster."""

import asyncio
import base64
import json
from datetime import timedelta

import pytest
import yaml
from unicorn_connectors.kubernetes import TYPE, KubernetesConfig, connector, delivery
from unicorn_core.connector import ConnectorContext, Done, Exited, Failed, Gateway, Running, Runtime, Seen, Unknown, Unreachable
from unicorn_core.errors import Refused
from unicorn_devcluster import registry, tools

pytestmark = [pytest.mark.cluster, pytest.mark.pods]
GRACE = timedelta(seconds=5)


async def only(outcomes):
    (outcome,) = (await outcomes).values()
    return outcome


async def seen(connector, order):
    return (await connector.observe([order.handle.node]))[order.handle.node.name].executors.get(order.handle.executor)


async def becomes(connector, order, until, test, seconds=30):
    async def look():
        found = await seen(connector, order)
        return found if found is not None and test(found) else None

    return await until(look, seconds, what=f"{await seen(connector, order)}")


def has_exited(found):
    return isinstance(found, Exited)


def output(pods, order, *command):
    name = f"unicorn-{order.handle.executor}"
    return pods.cluster.run("exec", "-n", pods.namespace, name, "-c", "executor", "--", *command)


async def test_what_a_pod_may_and_what_it_sees(pods, connect, until):
    connector = connect(pods)
    order = pods.order(
        gateway=Gateway("http://gateway.example:8080", ca_bundle="PEM"),
        runtime=Runtime({"STUB": "sleep", "PASSWORD": "SECRET", "HOME": "/tmp"}, resources={"limits": {"memory": "64Mi"}}),
    )
    assert await only(connector.start([order])) == Done()
    await becomes(connector, order, until, lambda found: found == Running())
    (pod,) = await pods.pods(order.handle.executor)
    assert "SECRET" not in json.dumps(pod)
    assert not [v for v in pod["spec"]["volumes"] if "projected" in v]  # no ServiceAccount token
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"memory": "64Mi"}
    script = "id -u; cat $UNICORN_TOKEN_FILE; echo; cat $UNICORN_CA_FILE; echo; echo $PASSWORD; pwd; touch it /tmp/it; echo $HOME"
    said = await asyncio.to_thread(output, pods, order, "sh", "-c", script)
    assert said.split() == ["10001", order.token, "PEM", "SECRET", "/workdir", "/tmp"]
    secrets = json.loads(await asyncio.to_thread(pods.cluster.run, "get", "secrets", "-n", pods.namespace, "-o", "json"))["items"]
    (secret,) = secrets
    assert secret["metadata"]["ownerReferences"][0]["uid"] == pod["metadata"]["uid"]


async def test_an_executor_costs_two_writes_and_one_more_to_remove(pods, connect, until, cluster):
    connector = connect(pods)
    first, order = pods.order(stub="exit:0"), pods.order(stub="exit:0")
    await connector.start([first])  # brings the agent into the namespace
    writes = []
    connector._kube._on_request = lambda method, path: method != "GET" and writes.append((method, path.rsplit("/", 1)[-1]))
    assert await only(connector.start([order])) == Done()
    await becomes(connector, order, until, has_exited)
    assert await only(connector.stop([order.handle], GRACE)) == Done()
    assert await only(connector.cleanup([order.handle])) == Done()
    name = f"unicorn-{order.handle.executor}"
    assert writes == [("POST", "pods"), ("POST", "secrets"), ("DELETE", name)]


async def test_an_agent_image_brings_the_agent_too(pods, connect, until):
    connector = connect(pods, agent_image=pods.images["agent"])
    order = pods.order(stub="exit:3")
    assert await only(connector.start([order])) == Done()
    exited = await becomes(connector, order, until, has_exited)
    assert (exited.code, exited.reason) == (3, "AgentRefused")


async def test_images_that_cannot_be_had(pods, connect, until):
    connector = connect(pods)
    missing = pods.order(image=f"{pods.cluster.registry}/no/such:1")
    invalid = pods.order(image="Not A Name")
    await connector.start([missing, invalid])
    found = await becomes(connector, missing, until, lambda found: found.reason == "ImagePullFailed")
    assert "no/such" in found.message
    found = await becomes(connector, invalid, until, lambda found: found.reason == "InvalidImageName")
    assert found.hopeless
    assert set((await connector.stop([missing.handle, invalid.handle], GRACE)).values()) == {Done(clean=True)}


async def test_an_image_without_python(pods, connect, until, cluster):
    container = tools.run("buildah", "from", "scratch").strip()
    try:
        tools.run("buildah", "commit", "--quiet", container, "localhost/netunicorn/empty:1")
        image = registry.push(cluster, "localhost/netunicorn/empty:1", "netunicorn/empty")
    finally:
        tools.run("buildah", "rm", container)
        tools.run("buildah", "rmi", "localhost/netunicorn/empty:1")
    connector, order = connect(pods), pods.order(image=image)
    await connector.start([order])
    assert (await becomes(connector, order, until, has_exited)).reason == "PythonMissing"


async def test_no_room(pods, connect, until):
    connector, order = connect(pods, node_selector={"colour": "no-such"}), pods.order()
    await connector.start([order])
    found = await becomes(connector, order, until, lambda found: found.reason == "Unschedulable")
    assert not found.started
    assert not found.hopeless
    assert await only(connector.stop([order.handle], GRACE)) == Done(clean=True)


async def test_too_much_memory(pods, connect, until):
    connector = connect(pods)
    order = pods.order(runtime=Runtime({"STUB": "memory"}, resources={"limits": {"memory": "48Mi"}}))
    await connector.start([order])
    exited = await becomes(connector, order, until, has_exited)
    assert (exited.code, exited.reason) == (137, "OOMKilled")


async def test_refusals_have_reasons(pods, connect, cluster):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": pods.namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    cluster.run("apply", "-f", "-", input=json.dumps(quota))
    outcome = await only(connect(pods).start([pods.order()]))
    assert (type(outcome), outcome.reason) == (Failed, "QuotaExceeded"), outcome
    cluster.run("delete", "resourcequota", "none", "-n", pods.namespace)
    cluster.run("label", "namespace", pods.namespace, "pod-security.kubernetes.io/enforce=restricted")
    assert await only(connect(pods).start([pods.order()])) == Done(), "the default pod is restricted"
    wide = connect(pods, pod_security={"addCapabilities": ["NET_RAW"], "runAsRoot": True})
    outcome = await only(wide.start([pods.order()]))
    assert (type(outcome), outcome.reason) == (Failed, "PodSecurityViolated"), outcome
    order = pods.order()
    pods.namespace = "no-such-namespace"
    outcome = await only(connect(pods).start([pods.same(pods.order(), 1)]))
    assert (type(outcome), outcome.reason) == (Failed, "NamespaceGone"), outcome
    assert order.token


async def test_root_and_capabilities_where_infrastructure_people_say_so(pods, connect, until):
    connector = connect(pods, pod_security={"level": "Baseline", "addCapabilities": ["NET_RAW"], "runAsRoot": True})
    order = pods.order()
    await connector.start([order])
    await becomes(connector, order, until, lambda found: found == Running())
    assert (await asyncio.to_thread(output, pods, order, "id", "-u")).strip() == "0"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"image": ""}, "ImageMissing"),
        ({"runtime": Runtime(network="bridge")}, "EnvironmentUnsupported"),
    ],
)
async def test_what_pods_cannot_do_is_refused_in_prepare(pods, connect, more, reason):
    outcome = await only(connect(pods).prepare([pods.order(**more)]))
    assert (type(outcome), outcome.reason) == (Failed, reason)


async def test_no_agent_is_unknown_not_failed(pods, connect):
    outcome = await only(connect(pods).start([pods.order(gateway=Gateway("http://127.0.0.1:9", agent_sha256="0" * 64))]))
    assert (type(outcome), outcome.reason) == (Unknown, "AgentNotAvailable")


async def test_a_pod_deleted_by_somebody_is_absent_and_news(pods, connect, until, cluster):
    news = []
    connector, order = connect(pods, notify=news.append), pods.order()
    await connector.start([order])
    await becomes(connector, order, until, lambda found: found == Running())
    news.clear()
    name = f"unicorn-{order.handle.executor}"
    await asyncio.to_thread(cluster.run, "delete", "pod", name, "-n", pods.namespace, "--grace-period=1")

    async def absent():  # its end may be news of its own, a moment before
        return await seen(connector, order) is None

    await until(absent)
    assert news
    assert isinstance(await only(connector.stop([order.handle], GRACE)), Done)


async def test_a_pod_on_a_dead_node_is_not_said_to_be_gone(pods, connect, until, cluster, monkeypatch):
    monkeypatch.setattr(connector, "_BEYOND_GRACE", timedelta(seconds=1))
    made, order = connect(pods), pods.order()
    await made.start([order])
    await becomes(made, order, until, lambda found: found == Running())
    await asyncio.to_thread(cluster.stop, "kubelet")
    try:
        outcome = await only(made.stop([order.handle], timedelta(seconds=1)))
        assert (type(outcome), outcome.reason) == (Unknown, "StillTerminating")
        assert isinstance(await seen(made, order), Running)
        refused = await only(made.cleanup([order.handle]))
        assert (type(refused), refused.reason) == (Failed, "StillRunning")
    finally:
        await asyncio.to_thread(cluster.start, "kubelet")
    monkeypatch.undo()
    assert isinstance(await only(made.stop([order.handle], timedelta(seconds=20))), Done)


async def test_without_the_api_nothing_is_concluded_and_afterwards_all_is_seen(pods, connect, until, cluster):
    connector, order = connect(pods), pods.order()
    await connector.start([order])
    await becomes(connector, order, until, lambda found: found == Running())
    await asyncio.to_thread(cluster.stop, "kube-apiserver")
    try:

        async def unreachable():
            return isinstance((await connector.observe([order.handle.node]))["linux-amd64"], Unreachable)

        await until(unreachable)
        assert not (await connector.check()).healthy
        assert isinstance(await only(connector.start([pods.order()])), Unknown)
        assert isinstance(await only(connector.stop([order.handle], GRACE)), Unknown)
    finally:
        await asyncio.to_thread(cluster.start, "kube-apiserver")

    async def back():
        sighting = (await connector.observe([order.handle.node]))["linux-amd64"]
        return isinstance(sighting, Seen) and order.handle.executor in sighting.executors

    await until(back, 30)


# --- another cluster -----------------------------------------------------------------------------------------------------


def a_context(kubeconfig, **config):
    return ConnectorContext("c", "default", "uid-2", KubernetesConfig(**config), {"kubeconfig": kubeconfig})


async def test_a_foreign_cluster_has_one_namespace_for_all(pods, cluster, monkeypatch, tmp_path, until):
    agent = tmp_path / "agent"
    agent.write_text("import time; time.sleep(600)")
    monkeypatch.setenv("UNICORN_AGENT_PATH", str(agent))
    made = TYPE.create(a_context(cluster.kubeconfig.read_bytes(), namespace=pods.namespace))
    try:
        assert (await made.check()).healthy
        order = pods.order()
        pods.namespace, namespace = "of-the-experiment", pods.namespace
        order = pods.order()
        assert await only(made.start([order])) == Done()
        pods.namespace = namespace
        assert len(await pods.pods(order.handle.executor)) == 1
        assert await only(made.stop([order.handle], GRACE)) == Done(clean=True)
    finally:
        await made.close()


def test_kubeconfigs_that_could_harm_are_refused(cluster):
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"exec": {"command": "/bin/sh"}}
    with pytest.raises(Refused, match="credential programs"):
        TYPE.create(a_context(yaml.safe_dump(document).encode()))
    with pytest.raises(Refused, match="no key kubeconfig"):
        TYPE.create(ConnectorContext("c", "default", "uid", KubernetesConfig(), {"token": b"x"}))


async def test_wrong_credentials_are_unhealthy(cluster):
    document = yaml.safe_load(cluster.kubeconfig.read_text())
    document["users"][0]["user"] = {"token": "wrong"}
    made = TYPE.create(a_context(yaml.safe_dump(document).encode()))
    try:
        health = await made.check()
        assert (health.healthy, health.reason) == (False, "Unauthorized")
        assert "wrong" not in health.message
    finally:
        await made.close()


def test_an_agent_in_a_config_map_is_whole():
    made = delivery._config_map("n", "name", b"\x00\xff")
    assert base64.b64decode(made["binaryData"]["executor.pyz"]) == b"\x00\xff"

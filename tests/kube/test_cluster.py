"""The client against a real API server."""

import contextlib

import pytest
from unicorn_core.errors import ApiRefused, Conflict, NotFound
from unicorn_devcluster.stack import install_crds
from unicorn_kube import KubeClient, KubeConfig
from unicorn_kube.resource import CONFIG_MAPS, PIPELINES, SERVICE_ACCOUNTS, SUBJECT_ACCESS_REVIEWS

pytestmark = pytest.mark.cluster


@pytest.fixture
async def kube(cluster):
    async with KubeClient(KubeConfig.load(cluster.kubeconfig)) as client:
        yield client


def a_config_map(namespace, name="a", **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


async def test_the_life_of_an_object(kube, namespace):
    made = await kube.create(CONFIG_MAPS, a_config_map(namespace, x="1"))
    with pytest.raises(Conflict):
        await kube.create(CONFIG_MAPS, a_config_map(namespace))
    applied = await kube.apply(CONFIG_MAPS, a_config_map(namespace, x="2"), "tester")
    assert applied["metadata"]["uid"] == made["metadata"]["uid"]
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"x": "3"}}
    with pytest.raises(Conflict):
        await kube.patch_merge(CONFIG_MAPS, namespace, "a", stale)
    version = applied["metadata"]["resourceVersion"]
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": version}
    await kube.patch_json(CONFIG_MAPS, namespace, "a", [test, {"op": "add", "path": "/data/y", "value": "4"}])
    with pytest.raises(ApiRefused) as refused:
        await kube.patch_json(CONFIG_MAPS, namespace, "a", [test])
    assert refused.value.status == 422
    assert (await kube.get(CONFIG_MAPS, namespace, "a"))["data"] == {"x": "2", "y": "4"}
    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAPS, namespace, "a", uid="another")
    await kube.delete(CONFIG_MAPS, namespace, "a", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound):
        await kube.get(CONFIG_MAPS, namespace, "a")


async def test_a_list_and_the_watch_that_goes_on_from_it(kube, namespace):
    listing = await kube.list(CONFIG_MAPS, namespace, field_selector="metadata.name=a")
    assert not listing.items
    await kube.create(CONFIG_MAPS, a_config_map(namespace, "b"))
    await kube.create(CONFIG_MAPS, a_config_map(namespace, "a"))
    await kube.delete(CONFIG_MAPS, namespace, "a")
    seen = []
    events = kube.watch(
        CONFIG_MAPS, namespace, field_selector="metadata.name=a", resource_version=listing.resource_version, seconds=20
    )
    async with contextlib.aclosing(events):
        async for kind, item in events:
            seen.append((kind, item["metadata"]["name"]))
            if kind == "DELETED":
                break
    assert seen == [("ADDED", "a"), ("DELETED", "a")]


async def test_a_watch_ends_by_itself(kube, namespace):
    listing = await kube.list(CONFIG_MAPS, namespace)
    async for kind, _ in kube.watch(CONFIG_MAPS, namespace, resource_version=listing.resource_version, seconds=1):
        assert kind in ("ADDED", "BOOKMARK")


async def test_reviews_and_tokens_are_created(kube, namespace):
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}
    review["spec"] = {"user": "nobody", "resourceAttributes": {"namespace": namespace, "verb": "get", "resource": "pods"}}
    assert (await kube.create(SUBJECT_ACCESS_REVIEWS, review))["status"]["allowed"] is False
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": namespace}}
    await kube.create(SERVICE_ACCOUNTS, account)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}
    token = (await kube.create(SERVICE_ACCOUNTS, request, namespace, "robot", "token"))["status"]["token"]
    as_robot = KubeConfig(server=kube.config.server, ca=kube.config.ca, token=token)
    async with KubeClient(as_robot) as robot:
        with pytest.raises(ApiRefused) as refused:
            await robot.list(CONFIG_MAPS, namespace)
    assert refused.value.status == 403


async def test_an_object_nested_deeper_than_python_reads_hides_no_other(kube, cluster, namespace):
    install_crds(cluster)
    manifest = """{{"apiVersion": "netunicorn.io/v1alpha1", "kind": "Pipeline", "metadata": {{"name": "{}"}}, "spec": {{"stages":
        [{{"name": "s", "tasks": [{{"name": "t", "python": {{"object": "m:f", "args": [{}]}}}}]}}]}}}}"""
    for name, value in (("deep", "[" * 5000 + "]" * 5000), ("flat", "1")):
        cluster.run("create", "-n", namespace, "--validate=false", "-f", "-", input=manifest.format(name, value))
    listing = await kube.list(PIPELINES, namespace)
    assert [item["metadata"]["name"] for item in listing.items] == ["deep", "flat"]

"""What is half done, done twice, or undone behind the mediator's back."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from e2e_kit import Kit, eventually
from mediator_lab import Lab
from orders_kit import SHELL, body, deployment, graph, on
from unicorn_core.errors import ApiUnavailable
from unicorn_core.naming import ANNOTATION_NAME, API_VERSION
from unicorn_devcluster import identities
from unicorn_gateway.user_api.mediator import contexts, experiments
from unicorn_kube import KubeClient, Resource
from unicorn_kube.resource import EXPERIMENTS
from unicorn_store import connect, graphs, mediator
from unicorn_store.mediator import NewMediated
from user_parts import User, account, user_api_on

pytestmark = pytest.mark.cluster
SPEC = {"desiredState": "Ready", "deployments": [], "allocation": {"mode": "BestEffort"}}


@pytest.fixture
async def ada(lab: Lab) -> AsyncIterator[User]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as http:
        user = User(http, lab.url)
        assert (await user.log_in("ada")).status == 200
        yield user


def sent(*deployments: dict) -> dict:
    return json.loads(body(*deployments))


async def own(kit: Kit, lab: Lab, name: str) -> list[dict]:
    items = (await kit.kube.list(EXPERIMENTS, lab.ada)).items
    return [one for one in items if one["metadata"].get("annotations", {}).get(ANNOTATION_NAME) == name]


async def test_what_was_promised_is_made_by_whoever_looks_next(lab: Lab, ada: User, kit: Kit) -> None:
    """The process died between the record and the Experiment."""
    (digest,) = await graphs.put_graphs(kit.store, lab.ada, [b"a graph"])
    metadata = {"name": "half-12345678", "annotations": {ANNOTATION_NAME: "half", "netunicorn.io/user": "netunicorn:ada"}}
    experiment = {"apiVersion": API_VERSION, "kind": "Experiment", "metadata": metadata, "spec": SPEC}
    new = NewMediated(
        id=uuid4(),
        namespace=lab.ada,
        name="half",
        user="netunicorn:ada",
        resource="half-12345678",
        orders={"context": None, "environments": [], "deployments": []},
        graphs=[digest],
        manifest={"experiment": experiment, "environments": {"half-12345678-env-1": {"shell": {}}}},
    )
    assert await mediator.claim(kit.store, new)
    first, second = await asyncio.gather(*(ada.call("GET", "/api/v1/experiment/half") for _ in range(2)))
    assert (first.status, second.status) == (200, 200)
    (item,) = await own(kit, lab, "half")
    environment = json.loads(lab.run("get", "environment", "half-12345678-env-1", "-n", lab.ada, "-o", "json"))
    assert environment["metadata"]["ownerReferences"][0]["uid"] == item["metadata"]["uid"]
    row = await mediator.by_name(kit.store, lab.ada, "half")
    assert row is not None
    assert (str(row.uid), row.manifest) == (item["metadata"]["uid"], None)

    async def ended() -> bool:
        return (await ada.call("GET", "/api/v1/experiment/half")).body["status"] == 4

    await eventually(ended, "the empty experiment ends")
    assert (await ada.call("DELETE", "/api/v1/experiment/half")).status == 200


async def test_one_name_is_one_experiment_however_many_prepare_it(lab: Lab, ada: User, kit: Kit) -> None:
    order = sent(deployment(node=on("c-1", "campus"), execution_graph=graph(b"\x80\x04N.")))
    path = "/api/v1/experiment/race"
    answers = await asyncio.gather(*(ada.call("POST", path + "/prepare", json=order) for _ in range(8)))
    assert [(one.status, one.body) for one in answers] == [(200, "race")] * 8
    (item,) = await own(kit, lab, "race")
    assert await mediator.names(kit.store, lab.ada)
    lab.run("delete", "experiment", item["metadata"]["name"], "-n", lab.ada, "--wait=false")
    gone = await ada.call("GET", path)
    assert (gone.status, gone.body) == (400, "Experiment race not found"), "kubectl deleted it: the name is free"
    assert "race" not in (await ada.call("GET", "/api/v1/experiment")).body
    assert (await ada.call("POST", path + "/prepare", json=order)).body == "race"
    items = [one for one in await own(kit, lab, "race") if "deletionTimestamp" not in one["metadata"]]
    assert len(items) == 1


async def test_the_client_sees_its_experiment_when_the_record_of_its_name_is_lost(lab: Lab, ada: User, kit: Kit) -> None:
    """As after the restoration of a backup: the resource decides what there is."""
    order = sent(deployment(node=on("c-2", "campus"), execution_graph=graph(b"\x80\x04N.")))
    await ada.call("POST", "/api/v1/experiment/lost-record/prepare", json=order)
    row = await mediator.by_name(kit.store, lab.ada, "lost-record")
    assert row is not None
    await mediator.forget(kit.store, row.id)

    async def ready() -> bool:
        listed = (await ada.call("GET", "/api/v1/experiment")).body
        assert "lost-record" in listed
        return listed["lost-record"]["status"] == 2

    await eventually(ready, "it is READY")
    assert (await ada.call("POST", "/api/v1/experiment/lost-record/prepare", json=order)).body == "lost-record"
    assert (await ada.call("POST", "/api/v1/experiment/lost-record/cancel")).status == 200
    assert len(await own(kit, lab, "lost-record")) == 1


@pytest.mark.parametrize("kind", ["experiments", "environments"])
async def test_what_kubernetes_refuses_leaves_nothing(lab: Lab, ada: User, kit: Kit, kind: str) -> None:
    """Two graphs in one environment: that is an Experiment, then an Environment beside it."""
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}}
    hard = {"spec": {"hard": {f"count/{kind}.netunicorn.io": "0"}}}
    lab.run("apply", "-n", lab.ada, "-f", "-", input=json.dumps({**quota, **hard}))
    order = sent(
        *(deployment(node=on("c-3", "campus"), execution_graph=graph(one)) for one in (b"\x80\x04N.", b"\x80\x04K\x01."))
    )
    names = []
    try:

        async def refused() -> bool:
            names.append(f"quota-{uuid4()}")
            answer = await ada.call("POST", f"/api/v1/experiment/{names[-1]}/prepare", json=order)
            assert answer.status == 400, "the quota is not known to the API server yet"
            assert answer.body.startswith("Kubernetes refuses the experiment: "), answer.body
            return "quota: none" in answer.body

        await eventually(refused, "the quota is enforced")
        assert [one for one in await mediator.names(kit.store, lab.ada) if one.name == names[-1]] == []
        left = [one for one in await own(kit, lab, names[-1]) if "deletionTimestamp" not in one["metadata"]]
        assert left == []
    finally:
        lab.run("delete", "resourcequota", "none", "-n", lab.ada)


async def test_what_is_too_large_for_an_object_is_refused_before_its_name_is_taken(lab: Lab, ada: User, kit: Kit) -> None:
    """In the Experiment itself; and in an Environment that two deployments share."""
    long = {**SHELL, "commands": ["x" * 30_000 for _ in range(40)]}
    orders = {
        "The experiment, with 1 different deployments,": [deployment(node=on("c-4", "campus"), environment_definition=long)],
        "An environment": [
            deployment(node=on("c-4", "campus"), environment_definition=long, execution_graph=graph(one))
            for one in (b"\x80\x04N.", b"\x80\x04K\x01.")
        ],
    }
    for what, order in orders.items():
        answer = await ada.call("POST", "/api/v1/experiment/too large/prepare", data=BytesIO(body(*order)))
        assert answer.status == 400, what
        assert answer.body.startswith(f"{what} would have 12"), answer.body
        assert "shorten" in answer.body
        assert await mediator.by_name(kit.store, lab.ada, "too large") is None
    answer = await ada.call("GET", "/api/v1/experiment/too large")
    assert (answer.status, answer.body) == (400, "Experiment too large not found")


@dataclass
class Etcd:
    """What it does to one name, in place of an API server whose etcd fails."""

    full: bool = True


@pytest.fixture
def etcd(monkeypatch: pytest.MonkeyPatch) -> Etcd:
    """A double: the API server's answer to the creation of an Experiment called `full…` is 500, until `full` is False; all
    else is the real one's. What a real etcd refuses by its size is refused before."""
    state, create = Etcd(), KubeClient.create

    async def failing(self: KubeClient, resource: Resource, body: Any, *arguments: Any, **more: Any) -> Any:
        if state.full and resource == EXPERIMENTS and body["metadata"]["name"].startswith("full"):
            raise ApiUnavailable("etcdserver: mvcc: database space exceeded")
        return await create(self, resource, body, *arguments, **more)

    monkeypatch.setattr(KubeClient, "create", failing)
    return state


@pytest.fixture
async def ann(lab: Lab, migrated: str, namespace: str, tmp_path: Path) -> AsyncIterator[User]:
    """At home in `namespace`, where no operator looks; of a user API in this process, with the rights that it has."""
    cluster = lab.stack.cluster
    store = await connect(migrated, application_name="unicorn-test")
    await account(store, "ann", namespace=namespace)
    await store.close()
    cluster.run("create", "rolebinding", "ann", "-n", namespace, "--clusterrole=unicorn-user", "--user=netunicorn:ann")
    kubeconfig = identities.user_gateway(cluster, lab.stack.lease_namespace, tmp_path)
    async with user_api_on(migrated, tmp_path, kubeconfig=str(kubeconfig)) as api:
        yield await api.logged_in("ann")


async def test_what_kubernetes_does_not_take_yet_keeps_nobody_from_anything(
    lab: Lab, ann: User, etcd: Etcd, namespace: str, migrated: str
) -> None:
    """It is PREPARING; its name can be freed; the other experiments are listed; and it is made once that is over."""
    empty = sent()
    for name in ("full a", "full b", "full c", "other"):
        answer = await ann.call("POST", f"/api/v1/experiment/{name}/prepare", json=empty)
        assert (answer.status, answer.body) == (200, name)
    listed = (await ann.call("GET", "/api/v1/experiment")).body
    assert list(listed) == ["full a", "full b", "full c", "other"]
    assert {listed[name]["status"] for name in ("full a", "full b", "full c")} == {1}
    assert (await ann.call("GET", "/api/v1/experiment/full a")).body["status"] == 1
    started = await ann.call("POST", "/api/v1/experiment/full a/start")
    assert (started.status, started.body[:42]) == (400, "Experiment full a is not ready to start. C")
    assert (await ann.call("DELETE", "/api/v1/experiment/full a")).status == 200
    assert (await ann.call("POST", "/api/v1/experiment/full b/cancel")).status == 200
    assert (await ann.call("GET", "/api/v1/experiment/full b")).body["status"] == 4
    etcd.full = False
    listed = (await ann.call("GET", "/api/v1/experiment")).body
    assert list(listed) == ["full b", "full c", "other"]
    items = json.loads(lab.run("get", "experiments", "-n", namespace, "-o", "json"))["items"]
    names = [one["metadata"]["annotations"][ANNOTATION_NAME] for one in items]
    assert sorted(names) == ["full c", "other"], "neither what was deleted nor what was cancelled"


async def test_contexts_are_there_or_the_experiment_is_not(
    lab: Lab, ann: User, etcd: Etcd, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An authentication context is kept in no table, so that one who dies in the middle leaves an Experiment that is unmade."""
    path, headers = "/api/v1/experiment/full/prepare", {contexts.NEW: '{"lab": {"token": "x"}}'}
    answer = await ann.call("POST", path, json=sent(), headers=headers)
    assert answer.status == 503
    assert (await ann.call("GET", "/api/v1/experiment/full")).body == "Experiment full not found"
    etcd.full = False
    large = {contexts.NEW: json.dumps({"lab": {"token": "x" * 50_000}})}
    order = {**sent(), "deployment_context": {"lab": {"k": "x" * 250_000}}}
    answer = await ann.call("POST", path, json=order, headers=large)
    assert (answer.status, answer.body) == (400, "Contexts are larger than 262144 bytes")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"count/secrets": "0"}}}
    lab.run("apply", "-n", namespace, "-f", "-", input=json.dumps(quota))

    async def refused() -> bool:
        answer = await ann.call("POST", f"/api/v1/experiment/{uuid4()}/prepare", json=sent(), headers=headers)
        assert answer.status == 400, "the quota is not known to the API server yet"
        return "Kubernetes refuses the contexts: " in answer.body

    await eventually(refused, "the quota is enforced")
    assert (await ann.call("POST", path, json=sent(), headers=headers)).status == 400
    assert "full" not in (await ann.call("GET", "/api/v1/experiment")).body
    lab.run("delete", "resourcequota", "none", "-n", namespace)

    async def kept() -> bool:
        answer = await ann.call("POST", path, json=sent(), headers=headers)
        return answer.status == 200

    await eventually(kept, "the quota is gone")
    secrets = json.loads(lab.run("get", "secrets", "-n", namespace, "-o", "json"))["items"]
    told = [base64.b64decode(one["data"]["authentication"]) for one in secrets if one["metadata"]["name"].startswith("full-")]
    assert told == [b'{"lab": {"token": "x"}}']


async def test_one_whose_request_died_with_its_context_is_undone(
    ann: User, namespace: str, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await connect(migrated, application_name="unicorn-test")
    metadata = {"name": "dead-12345678", "annotations": {ANNOTATION_NAME: "dead"}}
    experiment = {"apiVersion": API_VERSION, "kind": "Experiment", "metadata": metadata, "spec": SPEC}
    new = NewMediated(
        id=uuid4(),
        namespace=namespace,
        name="dead",
        user="netunicorn:ann",
        resource="dead-12345678",
        orders={"context": None, "environments": [], "deployments": []},
        graphs=[],
        manifest={"experiment": experiment, "environments": {}, "private": True},
    )
    assert await mediator.claim(store, new)
    await store.close()
    assert (await ann.call("GET", "/api/v1/experiment/dead")).body["status"] == 1, "whoever makes it may still be there"
    monkeypatch.setattr(experiments, "_MAKING", timedelta(0))
    assert (await ann.call("GET", "/api/v1/experiment/dead")).body == "Experiment dead not found"


async def test_images_that_are_being_built_are_listed(lab: Lab, ann: User, namespace: str) -> None:
    answer = await ann.call("POST", "/api/v1/experiment/my image/prepare", json=sent())
    assert answer.status == 200
    (item,) = json.loads(lab.run("get", "experiments", "-n", namespace, "-o", "json"))["items"]
    owner = {"apiVersion": API_VERSION, "kind": "Experiment", "name": item["metadata"]["name"], "uid": item["metadata"]["uid"]}
    build = {"base": "python:3.11-slim", "platforms": ["linux/amd64", "linux/arm64"]}
    environment = {
        "apiVersion": API_VERSION,
        "kind": "Environment",
        "metadata": {"name": "built", "ownerReferences": [owner]},
        "spec": {"build": build},
    }
    lab.run("apply", "-n", namespace, "-f", "-", input=json.dumps(environment))
    now = "2026-01-01T00:00:00Z"
    building = {"type": "Ready", "status": "False", "reason": "Building", "message": "", "lastTransitionTime": now}
    patch = json.dumps({"status": {"conditions": [building]}})
    lab.run("patch", "environment", "built", "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
    uid = lab.run("get", "environment", "built", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
    answer = await ann.call("GET", "/api/v1/ui/compilations")
    row = {"username": "ann", "experiment_name": "my image", "experiment_id": item["metadata"]["uid"], "compilation_id": uid}
    assert answer.body == [{**row, "architecture": platform} for platform in ("linux/amd64", "linux/arm64")]

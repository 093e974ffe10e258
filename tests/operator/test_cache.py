"""The caches: news in any order, indexes, and what a listing mends."""

from typing import Any

import pytest
from unicorn_operator.cache import Caches
from unicorn_operator.dependents import dependents, learn
from unicorn_operator.key import Key
from unicorn_operator.queue import WorkQueue


def an_object(kind: str, name: str, version: int, namespace: str = "lab", uid: str = "", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": uid or f"uid-{kind}-{name}", "resourceVersion": str(version)}
    metadata |= fields.pop("metadata", {})
    return {"kind": kind, "metadata": metadata, **fields}


def an_experiment(name: str, version: int = 1, phase: str = "Pending", **deployment: Any) -> dict[str, Any]:
    return an_object("Experiment", name, version, spec={"deployments": [{"name": "d", **deployment}]}, status={"phase": phase})


@pytest.fixture
def caches() -> Caches:
    return Caches()


def test_newer_versions_replace_older_ones_only(caches):
    cache = caches.pipelines
    assert cache.put(an_object("Pipeline", "p", 5))
    assert not cache.put(an_object("Pipeline", "p", 5)), "the same is no news"
    assert not cache.put(an_object("Pipeline", "p", 4)), "an older one is no news"
    assert cache.put(an_object("Pipeline", "p", 10)), "versions are numbers: 10 is after 5"
    assert cache.get("lab", "p")["metadata"]["resourceVersion"] == "10"
    assert len(cache) == 1


def test_a_deleted_object_does_not_come_back(caches):
    cache = caches.pipelines
    old = an_object("Pipeline", "p", 5)
    cache.put(old)
    assert cache.remove(an_object("Pipeline", "p", 6))
    assert not cache.remove(an_object("Pipeline", "p", 6))
    assert not cache.put(an_object("Pipeline", "p", 5)), "a listing that began before the deletion still has it"
    assert cache.put(an_object("Pipeline", "p", 7, uid="another")), "a new object of that name is another one"
    assert cache.by_uid("another") is cache.get("lab", "p")


def test_an_object_that_replaced_one_whose_deletion_was_missed(caches):
    cache = caches.pipelines
    cache.put(an_object("Pipeline", "p", 5, uid="first"))
    cache.put(an_object("Pipeline", "p", 9, uid="second"))
    assert cache.by_uid("first") is None
    assert not cache.remove(an_object("Pipeline", "p", 8, uid="first")), "its late deletion does not touch the second"
    assert cache.get("lab", "p")["metadata"]["uid"] == "second"


def test_managed_fields_are_not_kept(caches):
    caches.pipelines.put(an_object("Pipeline", "p", 1, metadata={"managedFields": [{"big": True}]}))
    assert "managedFields" not in caches.pipelines.get("lab", "p")["metadata"]


def test_a_listing_mends_what_was_missed(caches):
    cache = caches.pipelines
    for name, version in (("kept", 3), ("changed", 3), ("gone", 4), ("younger", 20)):
        cache.put(an_object("Pipeline", name, version))
    listed = [an_object("Pipeline", "kept", 3), an_object("Pipeline", "changed", 7), an_object("Pipeline", "new", 8)]
    missed = cache.sweep(listed, listed_at=10)
    assert sorted(key.name for key in missed) == ["changed", "gone", "new"]
    assert sorted(item["metadata"]["name"] for item in cache) == ["changed", "kept", "new", "younger"]
    assert cache.sweep(listed, listed_at=10) == [], "the second time there is nothing to mend"


def test_indexes_follow_the_objects(caches):
    experiments = caches.experiments
    experiments.put(an_experiment("e", 1, pipelineRef={"name": "p"}, environmentRef={"name": "v"}))
    assert [item["metadata"]["name"] for item in experiments.find("pipeline", "lab/p")] == ["e"]
    assert [item["metadata"]["name"] for item in experiments.find("environment", "lab/v")] == ["e"]
    assert [item["metadata"]["name"] for item in experiments.find("connector", "*")] == ["e"]
    experiments.put(an_experiment("e", 2, pipelineRef={"name": "q"}, nodes={"connectorRef": {"name": "c", "namespace": "infra"}}))
    assert experiments.find("pipeline", "lab/p") == experiments.find("environment", "lab/v") == []
    assert len(experiments.find("pipeline", "lab/q")) == len(experiments.find("connector", "infra/c")) == 1
    assert experiments.find("connector", "*") == []
    experiments.remove(an_experiment("e", 3))
    assert experiments.find("pipeline", "lab/q") == []


def test_nodes_by_connector_and_by_owner(caches):
    owner = {"apiVersion": "netunicorn.io/v1alpha1", "kind": "Connector", "name": "c", "uid": "u"}
    node = an_object("TargetNode", "n", 1, spec={"connectorRef": {"name": "c"}}, metadata={"ownerReferences": [owner]})
    caches.target_nodes.put(node)
    assert caches.target_nodes.find("connector", "lab/c") == [node]
    assert caches.target_nodes.find("owner", "u") == [node]


# --- dependents ----------------------------------------------------------------------------------------------------------


def names(keys: list[Key]) -> list[str]:
    return sorted(f"{key.kind}/{key.name}" for key in keys)


@pytest.fixture
def filled(caches: Caches) -> Caches:
    for phase in ("Pending", "Allocating", "Running", "Succeeded"):
        caches.experiments.put(an_experiment(phase.lower(), 1, phase, pipelineRef={"name": "p"}, environmentRef={"name": "v"}))
    caches.target_nodes.put(an_object("TargetNode", "n", 1, spec={"connectorRef": {"name": "c"}}))
    return caches


def test_a_pipeline_concerns_those_that_have_no_snapshot_yet(filled):
    assert names(dependents(filled, "Pipeline", None, an_object("Pipeline", "p", 1))) == [
        "Experiment/allocating",
        "Experiment/pending",
    ]
    assert dependents(filled, "Pipeline", None, an_object("Pipeline", "other", 1)) == []


def test_an_environment_concerns_them_until_they_end(filled):
    found = names(dependents(filled, "Environment", None, an_object("Environment", "v", 1)))
    assert found == ["Experiment/allocating", "Experiment/pending", "Experiment/running"]


@pytest.mark.parametrize(
    ("before", "after", "concerned", "because"),
    [
        ({}, {"status": {"leases": {"used": 1}}}, False, "who leases it is known from the database"),
        ({}, {"status": {"lastContactTime": "later"}}, False, "being seen again changes nothing"),
        ({}, {"status": {"properties": {"a": 1}}}, True, "it may fit now"),
        ({}, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}, True, "it can be had now"),
        ({}, {"metadata": {"generation": 2}}, True, "its capacity may have changed"),
    ],
)
def test_what_about_a_node_concerns_who_waits_for_nodes(filled, before, after, concerned, because):
    spec = {"connectorRef": {"name": "c"}}
    old, new = an_object("TargetNode", "n", 1, spec=spec, **before), an_object("TargetNode", "n", 2, spec=spec, **after)
    found = names(dependents(filled, "TargetNode", old, new))
    assert found == (["Experiment/allocating", "Experiment/pending"] if concerned else []), because


@pytest.mark.parametrize("kind", ["Connector", "TargetNode"])
def test_the_end_of_a_node_or_connector_concerns_who_runs_there(filled, kind):
    spec = {"connectorRef": {"name": "c"}}
    old = an_object(kind, "c", 1, spec=spec)
    new = an_object(kind, "c", 2, spec=spec, metadata={"deletionTimestamp": "now"})
    assert "Experiment/running" in names(dependents(filled, kind, old, new))


def test_a_connector_concerns_its_nodes(filled):
    assert "TargetNode/n" in names(dependents(filled, "Connector", None, an_object("Connector", "c", 1)))
    same = an_object("Connector", "c", 1, status={"lastContactTime": "x"})
    assert dependents(filled, "Connector", an_object("Connector", "c", 1), same) == []


def test_a_namespaces_labels_concern_its_experiments(filled):
    old = an_object("Namespace", "lab", 1, namespace="")
    assert dependents(filled, "Namespace", old, an_object("Namespace", "lab", 2, namespace="")) == []
    labelled = an_object("Namespace", "lab", 2, namespace="", metadata={"labels": {"team": "a"}})
    assert len(dependents(filled, "Namespace", old, labelled)) == 3
    filled.namespaces.put(labelled)
    assert filled.namespace_labels("lab") == {"team": "a"}
    assert filled.namespace_labels("elsewhere") == {}


async def test_an_own_write_wakes_who_waits_even_if_its_answer_is_before_its_watch(caches):
    def a_node(version: int, ready: str) -> dict[str, Any]:
        spec = {"connectorRef": {"name": "campus"}, "nodeName": "n"}
        return an_object("TargetNode", "n", version, spec=spec, status={"conditions": [{"type": "Ready", "status": ready}]})

    queue = WorkQueue()
    caches.experiments.put(an_experiment("waits", phase="Allocating", nodes={"count": 1}))
    caches.target_nodes.put(a_node(1, "False"))
    learn(caches, queue, "TargetNode", a_node(2, "True"))
    assert await queue.get() == Key("Experiment", "lab", "waits")
    assert not caches.target_nodes.put(a_node(2, "True")), "what the watch brings then is no news"

"""The objects of a build in Kubernetes, and what is read from them; without a cluster."""

import base64
import json
from datetime import timedelta

import pytest
from unicorn_core.images import BuildReport, BuildResult
from unicorn_core.naming import LABEL_BUILD, is_dns_label
from unicorn_core.planning.builds import Seen, Stage
from unicorn_operator.images.builders import BuildOrder, run_name, step_in
from unicorn_operator.images.credentials import for_build
from unicorn_operator.images.job import seen_of
from unicorn_operator.images.job_manifest import JobTerms, objects
from unicorn_operator.orders import image_for
from unicorn_operator.registry import Credentials, Reference

NAME = run_name("f" * 64, 3)
ORDER = BuildOrder(
    NAME, "linux/arm64", {"build.json": b"{}", "files.tar.gz": b"\0\xff"}, b'{"auths": {"r": {"auth": "c2VjcmV0"}}}'
)
TERMS = JobTerms("system", "r/builder@sha256:1", timedelta(minutes=30), service_account="nobody")


def pod_of(job):
    return job["spec"]["template"]["spec"]


def test_a_name_has_room_for_a_pods_suffix():
    assert is_dns_label(NAME + "-" + "x" * 5)
    assert run_name("f" * 64, 3) != run_name("f" * 64, 4)


def test_a_job_may_do_no_more_than_a_build_needs():
    _, _, job = objects(ORDER, TERMS)
    pod = pod_of(job)
    (container,) = pod["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}
    assert "privileged" not in container["securityContext"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (1000, True)
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("nobody", False)
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} == {"configMap", "emptyDir", "secret"}
    assert not any(field in pod for field in ("hostNetwork", "hostPID", "hostIPC"))
    assert (pod["restartPolicy"], job["spec"]["backoffLimit"]) == ("Never", 0)
    assert pod["activeDeadlineSeconds"] > TERMS.deadline.total_seconds(), "its end is ours, with its log"
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert container["resources"]["limits"]["memory"] == "2Gi"


def test_credentials_are_in_a_secret_and_nowhere_else():
    config_map, secret, job = objects(ORDER, TERMS)
    assert base64.b64decode(secret["data"]["config.json"]) == ORDER.credentials
    assert "c2VjcmV0" not in json.dumps([config_map, job])
    assert "c2VjcmV0" not in repr(ORDER)
    assert {"name": "REGISTRY_AUTH_FILE", "value": "/credentials/config.json"} in pod_of(job)["containers"][0]["env"]
    _, none, job = objects(BuildOrder(NAME, "linux/amd64", {}), TERMS)
    assert none is None
    assert "credentials" not in json.dumps(job)


def test_all_that_belongs_to_a_run_bears_its_name():
    for body in objects(ORDER, TERMS):
        assert body["metadata"]["name"] == body["metadata"]["labels"][LABEL_BUILD] == NAME
        assert body["metadata"]["namespace"] == "system"


def test_a_node_of_the_same_architecture_is_preferred_and_not_required():
    _, _, job = objects(ORDER, TERMS)
    affinity = pod_of(job)["affinity"]["nodeAffinity"]
    assert list(affinity) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    assert "arm64" in json.dumps(affinity)


@pytest.mark.parametrize(
    ("terms", "field", "value"),
    [({"host_network": True}, "hostNetwork", True), ({"host_network": True}, "dnsPolicy", "Default"), ({}, "hostNetwork", None)],
)
def test_the_nodes_network_only_where_it_was_asked_for(terms, field, value):
    _, _, job = objects(ORDER, JobTerms("system", "i", timedelta(minutes=1), **terms))
    assert pod_of(job).get(field) == value


def test_authorities_are_trusted_by_a_file():
    config_map, _, job = objects(ORDER, JobTerms("system", "i", timedelta(minutes=1), authorities="PEM"))
    assert base64.b64decode(config_map["binaryData"]["registry-ca.pem"]) == b"PEM"
    assert {"name": "SSL_CERT_FILE", "value": "/context/registry-ca.pem"} in pod_of(job)["containers"][0]["env"]


BUILT = BuildReport(BuildResult.BUILT, "sha256:1")
SAYS_BUILT = json.dumps({"result": "Built", "digest": "sha256:1"})


def a_pod(state=None, phase="Running", **status):
    statuses = [{"name": "builder", "state": state}] if state is not None else []
    return {"status": {"phase": phase, "containerStatuses": statuses, **status}}


def ended(message="", code=1, reason="Error"):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("why", "pod", "expected"),
    [
        ("nothing is known", {}, Seen(Stage.PENDING)),
        ("it is being made", a_pod({"waiting": {"reason": "ContainerCreating"}}, "Pending"), Seen(Stage.PENDING)),
        (
            "its image cannot be had",
            a_pod({"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "Pending"),
            Seen(Stage.PENDING, why="ImagePullBackOff: no such image"),
        ),
        (
            "no node takes it",
            a_pod(
                phase="Pending",
                conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}],
            ),
            Seen(Stage.PENDING, why="Unschedulable: 0/1 nodes"),
        ),
        ("it runs", a_pod({"running": {}}), Seen(Stage.RUNNING)),
        (
            "it has built",
            a_pod(ended(SAYS_BUILT, 0, "Completed"), "Succeeded"),
            Seen(Stage.ENDED, BUILT, "Completed: its builder ended with exit code 0"),
        ),
        (
            "what it says cannot be read",
            a_pod(ended("no JSON"), "Failed"),
            Seen(Stage.ENDED, None, "its builder ended with exit code 1"),
        ),
        (
            "it was killed",
            a_pod(ended(code=137, reason="OOMKilled"), "Failed"),
            Seen(Stage.ENDED, None, "OOMKilled: its builder ended with exit code 137"),
        ),
        (
            "its node was cleared",
            a_pod(phase="Failed", reason="Evicted", message="disk pressure"),
            Seen(Stage.ENDED, None, "Evicted: disk pressure"),
        ),
        (
            "the safety net of its pod",
            a_pod(phase="Failed", reason="DeadlineExceeded"),
            Seen(Stage.ENDED, None, "DeadlineExceeded"),
        ),
    ],
)
def test_what_a_pod_tells(why, pod, expected):
    assert seen_of(pod) == expected, why


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", ""),
        ("unicorn: step 1/3 python: x\nGet:1\nunicorn: step 2/3 apt: iperf3\nunpacking", "2/3 apt: iperf3"),
        (" unicorn: step 9/9 forged by a command\nunicorn: step 1/3 python", "1/3 python"),
        ("unicorn: built sha256:1", ""),
    ],
)
def test_how_far_a_log_is(log, expected):
    assert step_in(log) == expected


USERS = Credentials.parse(
    json.dumps(
        {"auths": {"base.example": {"username": "u", "password": "p"}, "other.example": {"username": "o", "password": "q"}}}
    )
)
PUSH = json.dumps({"auths": {"push.example": {"auth": "cHVzaA=="}}}).encode()


@pytest.mark.parametrize(
    ("why", "push", "users", "base", "places"),
    [
        ("nothing to show", b"", Credentials(), "base.example/lab/a@sha256:1", []),
        ("ours", PUSH, Credentials(), "base.example/lab/a@sha256:1", ["push.example"]),
        ("ours, and theirs for the base", PUSH, USERS, "base.example/lab/a@sha256:1", ["base.example/lab/a", "push.example"]),
        ("theirs for others stay with them", PUSH, USERS, "third.example/a@sha256:1", ["push.example"]),
        ("theirs alone", b"", USERS, "base.example/lab/a@sha256:1", ["base.example/lab/a"]),
    ],
)
def test_a_build_gets_no_credentials_but_those_it_needs(why, push, users, base, places):
    reference = Reference.parse(base.replace("sha256:1", f"sha256:{'1' * 64}"))
    made = for_build(push, users, reference)
    assert sorted(json.loads(made)["auths"] if made else {}) == places, why


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("linux/amd64", "r@1"), ("linux/arm64", "r@2"), ("unknown", "r@0")],
)
def test_an_executor_starts_from_the_image_of_its_nodes_architecture(architecture, expected):
    assert image_for(architecture, {"linux/amd64": "r@1", "linux/arm64": "r@2", "*": "r@0"}) == expected


def test_one_that_lacks_it_is_refused():
    with pytest.raises(Exception, match=r"no image for linux/arm/v7.*it has linux/amd64"):
        image_for("linux/arm/v7", {"linux/amd64": "r@1", "*": "r@0"})

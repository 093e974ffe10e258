"""What a pod says about its executor: a table of pods as kubelets and schedulers write them."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from unicorn_connectors.kubernetes.pods import Pods
from unicorn_connectors.kubernetes.sightings import view
from unicorn_core.connector import Exited, Running

MADE = datetime(2026, 1, 1, tzinfo=UTC)
SOON, LATE = MADE + timedelta(seconds=5), MADE + timedelta(minutes=3)


def a_pod(status, version=1, **metadata):
    return {
        "metadata": {
            "name": "p",
            "namespace": "n",
            "uid": "u",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"netunicorn.io/executor": str(uuid4())},
            "annotations": {"netunicorn.io/fence": "3", "netunicorn.io/node": "linux-amd64"},
            **metadata,
        },
        "status": status,
    }


def container(name="executor", **state):
    return {"name": name, "state": state}


def pending(*containers, init=()):
    return {"phase": "Pending", "containerStatuses": list(containers), "initContainerStatuses": list(init)}


def failed(container_state=None, init=None, **more):
    return {
        "phase": "Failed",
        "containerStatuses": [container(terminated=container_state)] if container_state else [],
        "initContainerStatuses": [container("agent", terminated=init)] if init else [],
        **more,
    }


def waiting(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


UNSCHEDULED = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]
NO_PYTHON = 'exec: "python3": executable file not found in $PATH: unknown'


@pytest.mark.parametrize(
    ("status", "now", "expected", "because"),
    [
        ({"phase": "Pending"}, SOON, Running(False), "nobody has looked at it yet"),
        (
            {"phase": "Pending", "conditions": UNSCHEDULED},
            LATE,
            Running(False, "Unschedulable", "0/1 nodes"),
            "room may come: that is for the start deadline to end",
        ),
        (pending(container(**waiting("ContainerCreating"))), LATE, Running(False), "it is on its way"),
        (
            pending(container(**waiting("ImagePullBackOff", "no"))),
            SOON,
            Running(False, "ImagePullFailed", "no"),
            "a registry may be restarting",
        ),
        (
            pending(container(**waiting("ImagePullBackOff", "no"))),
            LATE,
            Running(False, "ImagePullFailed", "no", hopeless=True),
            "two minutes are enough",
        ),
        (
            pending(container(**waiting("InvalidImageName", "bad"))),
            SOON,
            Running(False, "InvalidImageName", "bad", hopeless=True),
            "no waiting makes a name valid",
        ),
        (
            pending(container(**waiting("CreateContainerConfigError", "no secret"))),
            SOON,
            Running(False, "CreateContainerConfigError", "no secret"),
            "its Secret may come",
        ),
        (
            pending(container(**waiting("PodInitializing")), init=[container("agent", **waiting("ErrImagePull", "no"))]),
            SOON,
            Running(False, "ImagePullFailed", "no"),
            "the init container's image counts too",
        ),
        ({"phase": "Running", "containerStatuses": [container(running={})]}, LATE, Running(), "it runs"),
        (
            {"phase": "Succeeded", "containerStatuses": [container(terminated={"exitCode": 0, "reason": "Completed"})]},
            LATE,
            Exited(0),
            "a clean end",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    container(terminated={"exitCode": 0, "reason": "Completed"}),
                    container("sidecar", running={}),
                ],
            },
            SOON,
            Exited(0),
            "its phase follows, or waits for what somebody else put in",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [container(terminated={"exitCode": 137, "reason": "ContainerStatusUnknown"})],
            },
            SOON,
            Running(False),
            "the kubelet does not find it: the phase decides",
        ),
        (failed({"exitCode": 3, "reason": "Error"}), LATE, Exited(3, "AgentRefused"), "the agent's own codes have names"),
        (failed({"exitCode": 137, "reason": "OOMKilled"}), LATE, Exited(137, "OOMKilled"), "the kernel's reason"),
        (failed({"exitCode": 137, "reason": "Error"}), LATE, Exited(137, "Killed"), "somebody killed it"),
        (
            failed({"exitCode": 128, "reason": "StartError", "message": NO_PYTHON}),
            LATE,
            Exited(128, "PythonMissing", "there is no python3 in the image"),
            "said in words that a user understands",
        ),
        (
            failed(reason="Evicted", message="low on resource: memory"),
            LATE,
            Exited(None, "Evicted", "low on resource: memory"),
            "the pod's own reason",
        ),
        (
            failed(reason="DeadlineExceeded", message="Pod was active too long"),
            LATE,
            Exited(None, "DeadlineExceeded", "Pod was active too long"),
            "the pod's own reason",
        ),
        (
            failed(init={"exitCode": 1, "reason": "Error"}),
            LATE,
            Exited(None, "AgentNotAvailable", "the init container that brings the agent ended with 1"),
            "the executor never ran",
        ),
    ],
)
def test_sighting(status, now, expected, because):
    seen = view(a_pod(status))
    assert seen.sighting(now) == expected, because
    assert seen.final is isinstance(expected, Exited)


def test_the_third_failed_pull_is_hopeless():
    known, version = None, 0
    tries = []
    for _ in range(3):
        for reason in ("ErrImagePull", "ImagePullBackOff"):
            version += 1
            known = view(a_pod(pending(container(**waiting(reason))), version), known)
        tries.append(known.sighting(SOON).hopeless)
    assert tries == [False, False, True]


def test_what_is_not_ours_is_nobody():
    assert view(a_pod({}, labels={})) is None
    assert view(a_pod({}, annotations={})) is None
    assert view(a_pod({}, labels={"netunicorn.io/executor": "no uuid"})) is None


def test_a_pod_that_is_stopped_before_its_agent_came_was_killed():
    status = failed(init={"exitCode": 137, "reason": "ContainerStatusUnknown"})
    assert view(a_pod(status, deletionTimestamp="2026-01-01T00:00:01Z")).state == Exited(None, "Killed")


def test_a_pod_of_another_namespace_is_another_pod():
    """Whoever may make pods in a namespace of theirs can give them any label."""
    pods = Pods(None, "", None, lambda _: None)
    ours = a_pod(pending(), uid="ours", namespace="lab")
    annotations = {**ours["metadata"]["annotations"], "netunicorn.io/fence": "99"}
    forged = a_pod(pending(), labels=ours["metadata"]["labels"], annotations=annotations, uid="forged", namespace="evil")
    executor = view(ours).executor
    for pod in (ours, forged):
        pods.put(pod)
    pods.in_view = True
    assert pods.of(executor, "lab").uid == "ours"
    assert pods.of(executor, "elsewhere") is None
    assert pods.of(executor, "").uid == "forged", "after a restoration nobody knows the namespace: the newest of all"

"""What a pod says about its executor. Pure.

Of each pod a small `PodView` is kept in place of the object; folding the next state of the pod into it counts failed pulls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_core.connector import Exited, Running
from unicorn_core.naming import LABEL_EXECUTOR, ExecutorId
from unicorn_core.text import plain

from unicorn_connectors.exit_codes import exit_reason
from unicorn_connectors.kubernetes.delivery import INIT_CONTAINER
from unicorn_connectors.kubernetes.manifest import ANNOTATION_FENCE, ANNOTATION_NODE, CONTAINER

_PULL_TRIES = 3
_PATIENCE = timedelta(minutes=2)  # with what may mend itself: a registry that restarts, a Secret that comes late
_PULLING = {"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "ImageInspectError"}
_CONFIGURATION = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_NEVER = {"InvalidImageName", "ErrImageNeverPull"}
_NOT_FOUND = ("executable file not found", "no such file or directory")
_FINAL = ("Succeeded", "Failed")
_LOST = "ContainerStatusUnknown"


@dataclass(frozen=True, slots=True)
class PodView:
    executor: ExecutorId
    namespace: str
    name: str
    uid: str
    version: int  # resourceVersion
    node: str  # ours, from the annotation
    fence: int
    created: datetime
    final: bool  # nothing of the executor runs, nor will
    deleting: bool
    state: Running | Exited
    waiting: str = ""  # for what a container of it waits, as the kubelet says it
    failed_pulls: int = 0

    def sighting(self, now: datetime) -> Running | Exited:
        """Patience with what may mend itself ends after a while."""
        state = self.state
        if isinstance(state, Exited) or state.started or state.hopeless or now - self.created < _PATIENCE:
            return state
        hopeless = self.waiting in _PULLING | _CONFIGURATION
        return Running(False, state.reason, state.message, hopeless=True) if hopeless else state


def view(pod: Mapping[str, Any], before: PodView | None = None) -> PodView | None:
    """None: no executor of ours. `before`: of the same pod."""
    metadata = pod["metadata"]
    try:
        executor = ExecutorId(UUID(metadata["labels"][LABEL_EXECUTOR]))
        annotations = metadata["annotations"]
        fence, node = int(annotations[ANNOTATION_FENCE]), annotations[ANNOTATION_NODE]
    except (KeyError, ValueError):
        return None
    same = before if before is not None and before.uid == metadata["uid"] else None
    final = _is_final(pod)
    waiting = _waiting(pod)
    reason = waiting.get("reason", "")
    pulls = same.failed_pulls if same else 0
    if reason == "ErrImagePull" and (same is None or same.waiting != reason):
        pulls += 1
    return PodView(
        executor=executor,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        node=node,
        fence=fence,
        created=datetime.fromisoformat(metadata["creationTimestamp"]).astimezone(UTC),
        final=final,
        deleting="deletionTimestamp" in metadata,
        state=_exited(pod) if final else _running(pod, waiting, pulls),
        waiting=reason,
        failed_pulls=pulls,
    )


def _is_final(pod: Mapping[str, Any]) -> bool:
    """Its executor has ended, which is never restarted, or its phase says so.

    The phase follows a second or so later, and not at all while a container runs that somebody else put in. Of a container that
    the kubelet merely cannot find the phase alone is believed.
    """
    ended = _containers(pod).get(CONTAINER, {}).get("terminated") or {}
    known = bool(ended) and ended.get("reason") != _LOST
    return known or (pod.get("status") or {}).get("phase") in _FINAL


def _containers(pod: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    status = pod.get("status") or {}
    both = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    return {one["name"]: one.get("state") or {} for one in both}


def _waiting(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first container that waits for something worth telling."""
    for state in _containers(pod).values():
        waiting: Mapping[str, Any] = state.get("waiting") or {}
        if waiting.get("reason", "PodInitializing") not in ("PodInitializing", "ContainerCreating"):
            return waiting
    return {}


def _running(pod: Mapping[str, Any], waiting: Mapping[str, Any], pulls: int) -> Running:
    if "running" in _containers(pod).get(CONTAINER, {}):
        return Running()
    kubelet, message = waiting.get("reason", ""), plain(str(waiting.get("message") or ""))
    if kubelet in _PULLING:
        return Running(False, "ImagePullFailed", message, hopeless=pulls >= _PULL_TRIES)
    if kubelet:
        return Running(False, kubelet, message, hopeless=kubelet in _NEVER)
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return Running(False, condition.get("reason", "Unschedulable"), plain(condition.get("message") or ""))
    return Running(False)


def _exited(pod: Mapping[str, Any]) -> Exited:
    """The pod's own reason (Evicted, DeadlineExceeded, …) before its container's (OOMKilled), before the exit code's."""
    status = pod.get("status") or {}
    states = _containers(pod)
    main = states.get(CONTAINER, {}).get("terminated") or {}
    init = states.get(INIT_CONTAINER, {}).get("terminated") or {}
    code = main.get("exitCode") if main else None
    message = plain(str(status.get("message") or main.get("message") or ""))
    if status.get("reason"):
        return Exited(code, status["reason"], message)
    if init.get("exitCode") and "deletionTimestamp" not in pod["metadata"]:
        said = init.get("message") or f"the init container that brings the agent ended with {init['exitCode']}"
        return Exited(None, "AgentNotAvailable", plain(str(said)))
    if any(text in message for text in _NOT_FOUND) and "python3" in message:
        return Exited(code, "PythonMissing", "there is no python3 in the image")
    named = main.get("reason", "")
    return Exited(code, named if named not in ("", "Completed", "Error") else exit_reason(code), message)

"""Writing the status of a resource: once a pass, only if it changed, never over somebody else's change."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from unicorn_core.errors import ApiRefused, NotFound
from unicorn_core.text import plain
from unicorn_kube import Resource
from unicorn_kube.resource import CONNECTORS, ENVIRONMENTS, EXPERIMENTS, PIPELINES, TARGET_NODES

from unicorn_operator.cache import Object, key_of
from unicorn_operator.dependents import learn
from unicorn_operator.world import World

RESOURCES: Mapping[str, Resource] = {
    "Experiment": EXPERIMENTS,
    "Pipeline": PIPELINES,
    "Environment": ENVIRONMENTS,
    "Connector": CONNECTORS,
    "TargetNode": TARGET_NODES,
}
_SOON = timedelta(milliseconds=100)

log = structlog.get_logger(__name__)


def moment(at: datetime) -> str:
    """A time as manifests write it: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(type: str, status: bool | None, reason: str, message: str = "") -> dict[str, Any]:
    """A condition without its transition time, which `merged` adds. None: Unknown."""
    said = "Unknown" if status is None else str(status)
    entry = {"type": type, "status": said, "reason": reason}
    return entry | {"message": plain(message)} if message else entry


def condition_of(item: Mapping[str, Any], type: str) -> Mapping[str, Any]:
    """The condition of this type as it stands; empty when there is none."""
    conditions: Iterable[Mapping[str, Any]] = (item.get("status") or {}).get("conditions") or ()
    return next((entry for entry in conditions if entry.get("type") == type), {})


def merged(old: Mapping[str, Any], new: Mapping[str, Any], generation: int | None, now: datetime) -> dict[str, Any]:
    """The status to write: `new`, its conditions with the time of their last change of status, and observedGeneration."""
    result = dict(new)
    if generation is not None:
        result["observedGeneration"] = generation
    if "conditions" in result:
        before = {entry["type"]: entry for entry in old.get("conditions") or ()}
        result["conditions"] = [_timed(entry, before.get(entry["type"]), now) for entry in result["conditions"]]
    return result


def _timed(entry: Mapping[str, Any], before: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    same = before is not None and before.get("status") == entry["status"] and before.get("lastTransitionTime")
    return {**entry, "lastTransitionTime": before["lastTransitionTime"] if before and same else moment(now)}


def changes(item: Object, status: Mapping[str, Any], now: datetime) -> bool:
    """Whether `write_status` would write."""
    old = item.get("status") or {}
    return merged(old, status, item["metadata"].get("generation"), now) != old


async def write_status(world: World, kind: str, item: Object, status: Mapping[str, Any], *, judged: bool = True) -> bool:
    """Replace the status of `item` with `status` (conditions without times, no observedGeneration: both are filled in).
    Not `judged`: the spec was not looked at, and observedGeneration is what `status` says.

    True when it was written; the cache then has the answer. False when nothing changed, when the object is gone, or when
    `item` is not its newest version: then its key is put back into the queue. Raises ApiUnavailable, ApiRefused.
    """
    metadata = item["metadata"]
    old = item.get("status") or {}
    wanted = merged(old, status, metadata.get("generation") if judged else None, world.now())
    if wanted == old:
        return False
    operations = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": "/status", "value": wanted},
    ]
    try:
        written = await world.kube.patch_json(
            RESOURCES[kind], metadata["namespace"], metadata["name"], operations, subresource="status"
        )
    except NotFound:
        return False
    except ApiRefused as error:
        if not is_test_failure(error):
            raise
        log.debug("status not written: the object changed meanwhile", kind=kind, name=metadata["name"])
        world.queue.add_after(key_of(item, kind), _SOON)
        return False
    learn(world.caches, world.queue, kind, written)
    return True


def is_test_failure(error: ApiRefused) -> bool:
    """Whether a JSON patch was refused because a `test` of it did not hold.

    The API server says this of a patch that cannot be applied; of a result that is not valid it says what is wrong with it.
    """
    return error.status == 422 and str(error).startswith("the server rejected our request")

"""Environments: how they stand, and that they are compiled as soon as they are there.

One that stands for an environment inside of Experiments asks for nothing by itself: its Experiments do, as long as they wait.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_core.admission import check_environment
from unicorn_core.errors import Refused
from unicorn_core.naming import LABEL_INLINE
from unicorn_core.planning.builds import Build, BuildState, Hopeless, NotYet, Ready
from unicorn_core.reasons import EnvironmentCondition, EnvironmentReason
from unicorn_core.resources import EnvironmentSpec, load
from unicorn_core.text import last_lines, plain

from unicorn_operator.cache import Object
from unicorn_operator.images import Asker, Look, Wanted
from unicorn_operator.images.builders import run_name
from unicorn_operator.key import Key
from unicorn_operator.status import condition, condition_of, moment, write_status
from unicorn_operator.world import World

LOOK_AGAIN = timedelta(minutes=1)  # at a registry that said no: somebody may have pushed the image since

_TELLING = (BuildState.FAILED, BuildState.RUNNING, BuildState.WAITING, BuildState.CANCELLED, BuildState.SUCCEEDED)


async def reconcile(key: Key, world: World, now: datetime) -> timedelta | None:
    """Say whether executors can start in it. Raises StoreUnavailable, Broken."""
    item = world.caches.environments.get(key.namespace, key.name)
    if item is None or "deletionTimestamp" in item["metadata"]:
        world.images.gone(key)
        return None
    try:
        spec = load(EnvironmentSpec, item.get("spec") or {})
        if problems := check_environment(spec):
            raise Refused(problems)
    except Refused as error:
        await write_status(world, "Environment", item, _ready(False, EnvironmentReason.INVALID, str(error)))
        return None
    look = (await world.images.look(_asker(key, item), {"": Wanted(spec)}))[""]
    if _is_unsure(look) and _stays_ready(item):
        return None  # the registry is away for a while: the images are not; the key comes back by itself
    await write_status(world, "Environment", item, status_of(spec, look))
    return LOOK_AGAIN if isinstance(look.verdict, Hopeless) and not look.builds else None


def status_of(spec: EnvironmentSpec, look: Look) -> dict[str, Any]:
    """Without observedGeneration and transition times, which are filled in at the write."""
    status: dict[str, Any] = {"contentHash": look.content, "build": _build(look.builds)}
    match look.verdict:
        case Ready(images):
            platforms = {platform: ref for platform, ref in images.items() if platform != "*"}
            status["images"] = [{"platform": platform, "ref": ref} for platform, ref in sorted(platforms.items())]
            status["index"] = images.get("*", "") if len(platforms) > 1 else ""
            status |= _ready(True, *_how(spec, look))
        case NotYet(reason, message) | Hopeless(reason, message):
            status |= _ready(False, reason, message)
    return {name: value for name, value in status.items() if value not in ("", [], {})}


def _is_unsure(look: Look) -> bool:
    away = (EnvironmentReason.REGISTRY_UNREACHABLE, EnvironmentReason.REGISTRY_BUSY)
    return isinstance(look.verdict, NotYet) and look.verdict.reason in away


def _stays_ready(item: Object) -> bool:
    described = (item.get("status") or {}).get("observedGeneration")
    return condition_of(item, "Ready").get("status") == "True" and described == item["metadata"].get("generation")


def _asker(key: Key, item: Object) -> Asker:
    metadata = item["metadata"]
    made = datetime.fromisoformat(metadata["creationTimestamp"])
    return Asker(key, UUID(metadata["uid"]), made, only_looks=LABEL_INLINE in (metadata.get("labels") or {}))


def _how(spec: EnvironmentSpec, look: Look) -> tuple[EnvironmentReason, str]:
    if spec.shell is not None:
        return EnvironmentReason.NOTHING_TO_BUILD, ""
    if spec.build is not None:
        return EnvironmentReason.BUILT, ""
    if look.resolved:
        return EnvironmentReason.RESOLVED, ""
    return EnvironmentReason.TAKEN_AS_WRITTEN, f"{spec.image.ref if spec.image else ''} is used as it is named"


def _build(builds: Sequence[Build]) -> dict[str, Any]:
    if not builds:
        return {}
    one = min(builds, key=lambda build: (_TELLING.index(build.state), build.platform))
    running = one.state is BuildState.RUNNING
    status = {
        "hash": one.hash,
        "platform": one.platform,
        "job": run_name(one.hash, one.run) if running else "",
        "step": plain(one.step, 256) if running else "",
        "startTime": moment(one.started) if one.started else "",
        "seconds": _seconds(one),
        "failedStep": _failed_step(one.report) if one.state is BuildState.FAILED and one.report else {},
        "log": _log_end(one.report) if one.state is BuildState.FAILED and one.report else "",
    }
    return {name: value for name, value in status.items() if value not in ("", {}, None)}


def _seconds(build: Build) -> int | None:
    if build.started is None or build.finished is None or build.finished < build.started:
        return None
    return int((build.finished - build.started).total_seconds())


def _failed_step(report: Mapping[str, Any]) -> dict[str, Any]:
    step = {
        "number": report.get("step") or None,
        "title": plain(str(report.get("title") or ""), 256),
        "command": plain(str(report.get("command") or ""), 4096),
        "exitCode": report.get("exitCode"),
    }
    return {name: value for name, value in step.items() if value not in ("", None)}


def _log_end(report: Mapping[str, Any]) -> str:
    return "\n".join(last_lines([str(line) for line in report.get("tail") or ()]))


def _ready(status: bool, reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [condition(EnvironmentCondition.READY, status, reason, message)]}

"""Whose pass may come out differently because an object came, changed or went."""

from collections.abc import Iterable
from typing import Any

from unicorn_operator.cache import Caches, Object, key_of, path
from unicorn_operator.key import Key
from unicorn_operator.queue import WorkQueue

_FINAL = ("Succeeded", "Failed", "Cancelled")
_WAITING = ("", "Pending", "Allocating")


def dependents(caches: Caches, kind: str, old: Object | None, new: Object) -> list[Key]:
    """The keys of others. `old` is None when the object came, or went: then `new` is the last that was known of it."""
    here = path(new["metadata"].get("namespace", ""), new["metadata"]["name"])
    experiments = caches.experiments
    match kind:
        case "Pipeline" if _spec_changed(old, new):
            return _experiments(experiments.find("pipeline", here), _WAITING)
        case "Environment" if _spec_changed(old, new) or _ready(old) != _ready(new):
            return _experiments(experiments.find("environment", here))
        case "Connector" if _spec_changed(old, new) or _going(old) != _going(new):
            nodes = [key_of(node, "TargetNode") for node in caches.target_nodes.find("connector", here)]
            return [*nodes, *_users(caches, here, new)]
        case "TargetNode" if _node_changed(old, new):
            connector = path(
                new["metadata"].get("namespace", ""), (new.get("spec") or {}).get("connectorRef", {}).get("name", "")
            )
            return _users(caches, connector, new)
        case "Namespace" if old is None or _labels(old) != _labels(new) or _going(old) != _going(new):
            return _experiments(experiments.find("namespace", new["metadata"]["name"]))
    return []


def waiting_for_graphs(caches: Caches, namespace: str) -> list[Key]:
    """The experiments there that may lack a serialized graph."""
    return _experiments(caches.experiments.find("namespace", namespace), ("", "Pending"))


def learn(caches: Caches, queue: WorkQueue, kind: str, item: Object) -> None:
    """Take the answer to a write of ours. The watch brings the same later, or not first: then it is no news any more."""
    key = key_of(item, kind)
    old = caches.by_kind[kind].get(key.namespace, key.name)
    if caches.by_kind[kind].put(item):
        for other in dependents(caches, kind, old, item):
            queue.add(other)


def _users(caches: Caches, connector: str, item: Object) -> list[Key]:
    """The experiments that use this connector, or may: a deployment that names none may use any (`*`)."""
    found = [*caches.experiments.find("connector", connector), *caches.experiments.find("connector", "*")]
    # Nodes are chosen while Allocating. Later only the end of a node or connector matters.
    return _experiments(found, None if _going(item) else _WAITING)


def _experiments(items: Iterable[Object], phases: tuple[str, ...] | None = None) -> list[Key]:
    """Those in these phases; by default, those that are not final."""
    found = []
    for item in items:
        phase = (item.get("status") or {}).get("phase", "")
        if phase in phases if phases is not None else phase not in _FINAL:
            found.append(key_of(item, "Experiment"))
    return found


def _spec_changed(old: Object | None, new: Object) -> bool:
    return old is None or old["metadata"].get("generation") != new["metadata"].get("generation") or _uid(old) != _uid(new)


def _node_changed(old: Object | None, new: Object) -> bool:
    if old is None or _spec_changed(old, new) or _going(old) != _going(new) or _ready(old) != _ready(new):
        return True
    before, after = old.get("status") or {}, new.get("status") or {}
    return any(before.get(field) != after.get(field) for field in ("properties", "architecture", "environments"))


def _ready(item: Object | None) -> tuple[Any, Any] | None:
    for condition in ((item or {}).get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Ready":
            return condition.get("status"), condition.get("reason")
    return None


def _going(item: Object | None) -> bool:
    return item is not None and "deletionTimestamp" in item["metadata"]


def _labels(item: Object) -> Any:
    return item["metadata"].get("labels") or {}


def _uid(item: Object) -> Any:
    return item["metadata"].get("uid")

"""Putting our finalizer on objects and taking it off, never over somebody else's change."""

from typing import Any

from unicorn_core.errors import ApiRefused, Conflict, NotFound
from unicorn_core.naming import FINALIZER
from unicorn_kube import KubeClient, Resource

from unicorn_operator.cache import Object
from unicorn_operator.status import is_test_failure


def has(item: Object) -> bool:
    return FINALIZER in (item["metadata"].get("finalizers") or ())


def addition(item: Object) -> dict[str, Any]:
    """The JSON patch that puts it on."""
    if item["metadata"].get("finalizers"):
        return {"op": "add", "path": "/metadata/finalizers/-", "value": FINALIZER}
    return {"op": "add", "path": "/metadata/finalizers", "value": [FINALIZER]}


async def add(kube: KubeClient, resource: Resource, item: Object) -> Object:
    """The object with our finalizer. Raises Conflict when `item` is not its newest version, NotFound when it is gone."""
    return item if has(item) else await _patch(kube, resource, item, [addition(item)])


async def remove(kube: KubeClient, resource: Resource, item: Object) -> bool:
    """Take it off; the object may vanish by that. False when it was not there. Raises Conflict."""
    if not has(item):
        return False
    index = item["metadata"]["finalizers"].index(FINALIZER)
    place = f"/metadata/finalizers/{index}"
    try:
        await _patch(kube, resource, item, [{"op": "test", "path": place, "value": FINALIZER}, {"op": "remove", "path": place}])
    except NotFound:
        return False
    return True


async def _patch(kube: KubeClient, resource: Resource, item: Object, changes: list[dict[str, Any]]) -> Object:
    metadata = item["metadata"]
    guards = [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
    ]
    try:
        return await kube.patch_json(resource, metadata["namespace"], metadata["name"], [*guards, *changes])
    except ApiRefused as error:
        if is_test_failure(error):
            raise Conflict(f"{metadata['namespace']}/{metadata['name']} changed meanwhile") from error
        raise

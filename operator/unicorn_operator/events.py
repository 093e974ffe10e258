"""Kubernetes Events: few, each said once. Never worth a failed pass."""

import hashlib
from typing import Literal

import structlog
from unicorn_core.errors import Broken, Conflict
from unicorn_core.naming import API_VERSION
from unicorn_core.text import plain
from unicorn_kube.resource import EVENTS

from unicorn_operator.cache import Object
from unicorn_operator.status import moment
from unicorn_operator.world import World

log = structlog.get_logger(__name__)


async def emit(world: World, kind: str, item: Object, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
    """Say something about an object. The same text about the same version of its spec is said once; failures are logged only."""
    metadata = item["metadata"]
    message = plain(message)
    # The name follows from what is said: a second operator, or we after a restart, say it once too.
    content = f"{metadata['uid']} {metadata.get('generation')} {reason} {message}"
    name = f"{metadata['name'][:200]}.{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    now = moment(world.now())
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": kind,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": type,
        "reason": reason,
        "message": message,
        "source": {"component": "netunicorn-operator"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await world.kube.create(EVENTS, body)
    except Conflict:
        pass  # said before
    except Broken as error:
        log.debug("an event was not recorded", name=metadata["name"], error=plain(str(error)))

"""The tables of netunicorn's web page: locks, compilations, experiments that run, and the last ones."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_kube.resource import ENVIRONMENTS, EXPERIMENTS
from unicorn_store import mediator
from unicorn_store.mediator import Recent

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import texts
from unicorn_gateway.user_api.mediator.answers import status_of
from unicorn_gateway.user_api.mediator.names import shown_names
from unicorn_gateway.user_api.mediator.nodes import ConnectorName, Inventory
from unicorn_gateway.user_api.routing import Call

DAYS = 14
_MOST_DAYS = 36500


async def locks(call: Call) -> Any:
    """The nodes that experiments of the user's namespace hold."""
    await _may_list(call)
    held = await mediator.locks(call.api.store, call.caller.namespace)
    inventory = await call.api.catalogue.inventory(call.caller.namespace)
    connectors = await call.api.catalogue.connector_names()
    return [
        {
            "node_name": one.node,
            "username": texts.plain_user(one.user),
            "connector": _shown(one.connector_uid, inventory, connectors),
        }
        for one in held
    ]


def _shown(uid: UUID | None, inventory: Inventory, connectors: Mapping[UUID, ConnectorName]) -> str:
    return inventory.shown(connectors[uid]) if uid is not None and uid in connectors else ""


async def compilations(call: Call) -> Any:
    """The images that are being built for experiments of the user's namespace."""
    await _may_list(call)
    namespace = call.caller.namespace
    environments = (await call.api.kube.list(ENVIRONMENTS, namespace)).items
    building = [one for one in environments if _is_built(one)]
    if not building:
        return []
    rows = await mediator.names(call.api.store, namespace)
    shown = shown_names((await call.api.kube.list(EXPERIMENTS, namespace)).items, {row.name: str(row.uid or "") for row in rows})
    names = {item["metadata"]["uid"]: name for name, item in shown.items()}
    return [
        {
            "username": call.caller.name,
            "experiment_name": names.get(owner["uid"], owner["name"]),
            "experiment_id": owner["uid"],
            "compilation_id": one["metadata"]["uid"],
            "architecture": platform,
        }
        for one in building
        for owner in one["metadata"].get("ownerReferences") or ()
        if owner.get("kind") == "Experiment"
        for platform in one["spec"]["build"].get("platforms") or ("unknown",)
    ]


def _is_built(environment: Any) -> bool:
    conditions = (environment.get("status") or {}).get("conditions") or ()
    return "build" in environment["spec"] and any(one.get("reason") == "Building" for one in conditions)


async def running(call: Call) -> Any:
    await _may_list(call)
    return _rows(await mediator.recent(call.api.store, call.caller.namespace, None))


async def last(call: Call) -> Any:
    """`days`: how far back, 14 by default. Raises ProblemError 422."""
    await _may_list(call)
    given = call.request.query.get("days", str(DAYS))
    if not (given.isascii() and given.isdecimal() and len(given) < 10):
        raise ProblemError(422, "Invalid", "days must be an integer, 0 or more")
    since = datetime.now(UTC) - timedelta(days=min(int(given), _MOST_DAYS))
    return _rows(await mediator.recent(call.api.store, call.caller.namespace, since))


def _rows(recent: Sequence[Recent]) -> list[dict[str, Any]]:
    return [
        {
            "username": texts.plain_user(one.user),
            "experiment_name": one.shown,
            "experiment_id": str(one.uid),
            "status": str(status_of(one.phase, one.desired)),
            "error": one.message if one.phase == "Failed" else None,
            "creation_time": _time(one.created),
            "start_time": _time(one.started),
            "nodes": ", ".join(one.nodes),
        }
        for one in recent
    ]


def _time(moment: datetime | None) -> str:
    """As netunicorn writes times: UTC without saying so."""
    return str(moment.astimezone(UTC).replace(tzinfo=None)) if moment else "None"


async def _may_list(call: Call) -> None:
    await call.api.authorize(call.caller, "list", "experiments", call.caller.namespace)

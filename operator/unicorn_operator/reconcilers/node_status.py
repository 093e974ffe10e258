"""What a TargetNode's status says: pure, from its spec, its Connector, the last discovery and its use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unicorn_core.connector import DiscoveredNode, EnvironmentType
from unicorn_core.platforms import same_platform
from unicorn_core.reasons import TargetNodeCondition, TargetNodeReason
from unicorn_core.resources import TargetNodeSpec
from unicorn_store.nodes import Usage

from unicorn_operator.inventory import Inventory
from unicorn_operator.status import condition, moment

UNLISTED = DiscoveredNode("", environments=(EnvironmentType.SHELL,))


@dataclass(frozen=True, slots=True)
class View:
    """`connector`: is there, is being deleted, or is not there."""

    spec: TargetNodeSpec
    discovered_by: bool  # made by its connector's discovery, not by hand
    deleting: bool
    connector: str  # Present | Deleting | Absent
    inventory: Inventory | None
    usage: Usage

    @property
    def found(self) -> DiscoveredNode | None:
        """What discovery says of it; None when it does not list it."""
        return ((self.inventory and self.inventory.nodes) or {}).get(self.spec.node_name)

    @property
    def is_gone(self) -> bool:
        """Discovery made it, and lists it no more."""
        return self.discovered_by and self.inventory is not None and self.inventory.nodes is not None and self.found is None


def readiness(view: View) -> tuple[bool | None, TargetNodeReason, str]:
    """Whether new leases of it can be taken; the most lasting obstacle is named first."""
    usage, inventory = view.usage, view.inventory
    if view.deleting:
        return False, TargetNodeReason.DELETING, "; ".join(filter(None, ("it is being deleted", _orphans(usage))))
    if view.connector == "Absent":
        return False, TargetNodeReason.CONNECTOR_NOT_FOUND, f"there is no Connector {view.spec.connector_ref.name}"
    if view.connector == "Deleting":
        return False, TargetNodeReason.DELETING, f"Connector {view.spec.connector_ref.name} is being deleted"
    if usage.orphaned_slots >= view.spec.slots:
        return False, TargetNodeReason.ORPHANED_EXECUTOR, _orphans(usage)
    if inventory is None:
        return None, TargetNodeReason.CHECKING, "its Connector has not answered yet"
    if inventory.is_down:
        return False, TargetNodeReason.CONNECTOR_UNHEALTHY, f"{inventory.health.reason}: {inventory.health.message}"
    if inventory.nodes is None:
        return None, TargetNodeReason.CHECKING, inventory.problem or "its Connector has not listed its nodes yet"
    if view.found is None and (view.discovered_by or not view.spec.address):
        hint = "" if view.discovered_by else "; write its address, if the connector can reach it by that"
        return False, TargetNodeReason.NOT_SEEN, f"the Connector lists no node {view.spec.node_name}{hint}"
    if view.spec.unschedulable:
        return False, TargetNodeReason.UNSCHEDULABLE, "spec.unschedulable is true"
    reason = TargetNodeReason.WRITTEN_BY_HAND if view.found is None else TargetNodeReason.AVAILABLE
    return True, reason, _orphans(usage)  # what other slots it has can be leased


def status_of(view: View, old: Mapping[str, Any]) -> dict[str, Any]:
    """The whole status. What discovery does not say (it failed, or has not been tried since our start) stays as it was."""
    ready, reason, message = readiness(view)
    status: dict[str, Any] = {"conditions": [condition(TargetNodeCondition.READY, ready, reason, message)]}
    found = view.found
    if found is None and view.inventory is not None and view.inventory.nodes is not None and not view.discovered_by:
        found = UNLISTED
    if found is not None:
        status["architecture"] = same_platform(found.architecture)
        status["environments"] = sorted(found.environments)
        status["properties"] = {**found.properties, **view.spec.property_overrides}
    else:
        status |= {field: old[field] for field in ("architecture", "environments", "properties") if field in old}
    contact = view.inventory.discovered_at if view.inventory and view.found is not None else None
    if contact is not None:
        status["lastContactTime"] = moment(contact)
    elif "lastContactTime" in old:
        status["lastContactTime"] = old["lastContactTime"]
    leases: dict[str, Any] = {"used": view.usage.used}
    if view.usage.holders:
        leases["firstHolders"] = list(view.usage.holders)
    return status | {"leases": leases}


def _orphans(usage: Usage) -> str:
    if not usage.orphans:
        return ""
    names = ", ".join(usage.orphan_executors)
    more = f" and {usage.orphans - len(usage.orphan_executors)} more" if usage.orphans > len(usage.orphan_executors) else ""
    why = f" ({usage.orphan_message})" if usage.orphan_message else ""
    return (
        f"not shown to be gone: executor {names}{more}{why}; stopping is retried. If you know that nothing of it runs, "
        f"annotate this TargetNode with netunicorn.io/release-orphans=true"
    )

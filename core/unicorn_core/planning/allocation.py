"""Which node and slot each executor gets: all or none, or what is free. Pure; the database's constraints guard what comes of it.

A slot is free, or claimed by a holder: an experiment (Exclusive) or a user (SameUser). Devices are filled evenly, one executor a
node before any gets a second; a node that is named twice is used twice, if need be on one slot.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from unicorn_core.connector import EnvironmentType
from unicorn_core.resources import NodeOperator, NodesSpec


@dataclass(frozen=True, slots=True)
class Offer:
    """A TargetNode as allocation sees it."""

    uid: UUID
    name: str
    connector_uid: UUID
    connector: str  # namespace/name
    slots: int = 1
    elastic: bool = False
    ready: bool = True
    why_not: str = ""  # the reason if it is not ready, or unschedulable
    architecture: str = "unknown"
    environments: frozenset[EnvironmentType] = frozenset({EnvironmentType.SHELL})
    properties: Mapping[str, Any] = field(default_factory=dict)
    access_tags: frozenset[str] = frozenset()
    address: str = ""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a deployment wants. `offers`: those it may use, before its own selection."""

    deployment: str
    nodes: NodesSpec
    environment: EnvironmentType | None  # None: whatever the node takes
    offers: Sequence[Offer]
    platforms: frozenset[str] | None = None  # that its environment has an image for; None: any, or not known yet


@dataclass(frozen=True, slots=True)
class Placement:
    deployment: str
    index: int
    offer: Offer | None  # None under BestEffort: none could be had, for `reason`
    slot: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Shortage:
    deployment: str
    reason: str  # NodeNotFound | NodesBusy | NodesNotReady | EnvironmentNotSupported | ArchitectureNotSupported
    message: str
    node: str = ""  # one that is waited for
    holder: str = ""  # who has it
    hopeless: bool = False  # no node that becomes free or ready changes it


@dataclass(frozen=True, slots=True)
class Allocation:
    placements: tuple[Placement, ...]
    shortages: tuple[Shortage, ...]


Claims = Mapping[UUID, Mapping[int, str]]  # node -> slot -> holder


def selected(nodes: NodesSpec, offers: Sequence[Offer]) -> list[Offer]:
    """Those that the deployment's names or expressions mean, ready or not, in the order of the names, else by name."""
    if nodes.names is not None:
        by_name: dict[str, Offer] = {}
        for offer in offers:
            by_name.setdefault(offer.name, offer)
        return [by_name[name] for name in dict.fromkeys(nodes.names) if name in by_name]
    requirements = nodes.match_expressions or ()
    fitting = [
        offer for offer in offers if all(_fits(offer.properties, one.key, one.operator, one.values) for one in requirements)
    ]
    return sorted(fitting, key=lambda offer: (offer.elastic, offer.name))


def candidates(demands: Sequence[Demand]) -> frozenset[UUID]:
    """All nodes that these demands compete for."""
    return frozenset(offer.uid for demand in demands for offer in selected(demand.nodes, demand.offers))


def allocate(demands: Sequence[Demand], claims: Claims, holder: str) -> Allocation:
    """Place every executor that can be placed. The caller decides whether a shortage forbids the rest."""
    taken = {uid: dict(slots) for uid, slots in claims.items()}
    placements: list[Placement] = []
    shortages: list[Shortage] = []
    for demand in demands:
        found, shortage = _place(demand, taken, holder)
        placements.extend(found)
        shortages.extend(shortage)
    return Allocation(tuple(placements), tuple(shortages))


def _place(demand: Demand, taken: dict[UUID, dict[int, str]], holder: str) -> tuple[list[Placement], list[Shortage]]:
    offers = selected(demand.nodes, demand.offers)
    usable = [offer for offer in offers if offer.ready and _takes(offer, demand.environment) and _runs(offer, demand)]
    if demand.nodes.names is not None and demand.nodes.count is None:
        picks = _by_name(demand, {offer.name: offer for offer in usable}, taken, holder)
    else:
        wanted = demand.nodes.count if demand.nodes.count is not None else sum(1 for offer in offers if not offer.elastic)
        slots = _evenly(usable, taken, holder)
        picks = [next(slots, None) for _ in range(wanted)]
        if wanted == 0:
            return [], [Shortage(demand.deployment, "NodeNotFound", "no node fits spec.deployments[].nodes")]
    placements, missing = [], 0
    for index, pick in enumerate(picks):
        if pick is None:
            missing += 1
            continue
        offer, slot = pick
        placements.append(Placement(demand.deployment, index, offer, slot))
    if not missing:
        return placements, []
    shortage = _explain(demand, offers, usable, taken, holder, missing, len(picks))
    names = demand.nodes.names if demand.nodes.count is None else None
    by_name, said = {offer.name: offer for offer in offers}, dict[str, str]()
    for index, pick in enumerate(picks):
        if pick is not None:
            continue
        message = shortage.message
        if names is not None:
            name = names[index]
            if name not in said:
                said[name] = _explain_name(demand, name, by_name.get(name), taken, holder)
            message = said[name]
        placements.append(Placement(demand.deployment, index, None, 0, shortage.reason, message))
    return placements, [shortage]


Pick = tuple[Offer, int] | None


def _by_name(demand: Demand, usable: Mapping[str, Offer], taken: dict[UUID, dict[int, str]], holder: str) -> list[Pick]:
    picks: list[Pick] = []
    open_slots: dict[str, Iterator[int]] = {}  # each goes on where the last pick of its node left it
    for name in demand.nodes.names or ():
        offer = usable.get(name)
        if offer is None:
            picks.append(None)
            continue
        slots = taken.setdefault(offer.uid, {})
        if name not in open_slots:
            open_slots[name] = _open_slots(offer, slots, holder)
        slot = next(open_slots[name], None)
        if slot is None:
            picks.append(None)
            continue
        slots[slot] = holder
        picks.append((offer, slot))
    return picks


def _evenly(usable: Sequence[Offer], taken: dict[UUID, dict[int, str]], holder: str) -> Iterator[tuple[Offer, int]]:
    """Free slots, a round over all nodes at a time; then, where slots are shared by a user, those that the user has."""
    fresh = [(offer, _free_slots(offer, taken.setdefault(offer.uid, {}))) for offer in usable]
    fresh.sort(key=lambda pair: (pair[0].elastic, len(taken[pair[0].uid])))
    while fresh:
        left = []
        for offer, slots in fresh:
            slot = next(slots, None)
            if slot is not None:
                taken[offer.uid][slot] = holder
                left.append((offer, slots))
                yield offer, slot
        fresh = left
    if holder.startswith("user:"):
        for offer in usable:
            yield from ((offer, slot) for slot, by in sorted(taken[offer.uid].items()) if by == holder and slot < offer.slots)


def _free_slots(offer: Offer, slots: Mapping[int, str]) -> Iterator[int]:
    return (slot for slot in range(offer.slots) if slot not in slots)


def _open_slots(offer: Offer, slots: Mapping[int, str], holder: str) -> Iterator[int]:
    """The free ones; then, again and again, the first that the holder has."""
    yield from _free_slots(offer, slots)
    first = min((slot for slot, by in slots.items() if by == holder), default=None)
    while first is not None:
        yield first


def _takes(offer: Offer, environment: EnvironmentType | None) -> bool:
    return environment is None or environment in offer.environments


def _runs(offer: Offer, demand: Demand) -> bool:
    """A node that does not tell its architecture is believed to fit: whoever runs the image there will see."""
    if demand.environment is not EnvironmentType.IMAGE or demand.platforms is None:
        return True
    return offer.architecture == "unknown" or offer.architecture in demand.platforms


def _explain(
    demand: Demand, offers: Sequence[Offer], usable: Sequence[Offer], taken: Claims, holder: str, missing: int, wanted: int
) -> Shortage:
    counts = f"{wanted - missing} of {wanted} nodes"
    known = {offer.name for offer in offers}
    unknown = next((name for name in demand.nodes.names or () if name not in known), None)
    if unknown is not None:
        return Shortage(demand.deployment, "NodeNotFound", f"no node is named {unknown}", unknown)
    if not offers:
        return Shortage(demand.deployment, "NodeNotFound", "no node fits spec.deployments[].nodes")
    if foreign := _foreign(demand, offers, wanted):
        message = f"node {foreign.name} is {foreign.architecture}, the environment has images for {_listed(demand.platforms)}"
        return Shortage(demand.deployment, "ArchitectureNotSupported", message, foreign.name, hopeless=True)
    held = next(((offer, by) for offer in usable for by in taken.get(offer.uid, {}).values() if by != holder), None)
    if held is not None:
        offer, by = held
        return Shortage(demand.deployment, "NodesBusy", f"{counts} are free", offer.name, by)
    wrong = [offer for offer in offers if not _takes(offer, demand.environment)]
    if wrong:
        kinds = ", ".join(sorted(wrong[0].environments))
        message = f"node {wrong[0].name} takes {kinds}, the environment is {demand.environment}"
        return Shortage(demand.deployment, "EnvironmentNotSupported", message, wrong[0].name)
    unready = [offer for offer in offers if not offer.ready]
    if unready:
        message = f"node {unready[0].name} is not ready: {unready[0].why_not}"
        return Shortage(demand.deployment, "NodesNotReady", message, unready[0].name)
    return Shortage(demand.deployment, "NodesBusy", f"{counts} exist")


def _foreign(demand: Demand, offers: Sequence[Offer], wanted: int) -> Offer | None:
    """A node whose architecture lacks an image, if for that reason there can never be enough of these nodes."""
    foreign = [offer for offer in offers if _takes(offer, demand.environment) and not _runs(offer, demand)]
    if not foreign:
        return None
    if demand.nodes.names is not None and demand.nodes.count is None:
        return foreign[0]
    fitting = sum(offer.slots for offer in offers if _takes(offer, demand.environment) and _runs(offer, demand))
    return foreign[0] if fitting < wanted else None


def _listed(platforms: frozenset[str] | None) -> str:
    return ", ".join(sorted(platforms or ())) or "none"


def _explain_name(demand: Demand, name: str, offer: Offer | None, taken: Claims, holder: str) -> str:
    if offer is None:
        return f"no node is named {name}"
    if not offer.ready:
        return f"node {offer.name} is not ready: {offer.why_not}"
    if not _takes(offer, demand.environment):
        return f"node {offer.name} does not take {demand.environment} environments"
    if not _runs(offer, demand):
        return f"node {offer.name} is {offer.architecture}, the environment has images for {_listed(demand.platforms)}"
    other = next((by for by in taken.get(offer.uid, {}).values() if by != holder), None)
    return f"node {offer.name} is busy" if other is None else f"Node {offer.name} is already locked by {_who(other)}"


def _who(holder: str) -> str:
    """A holder for people."""
    kind, _, name = holder.partition(":")
    return name if kind == "user" else "another experiment"


def _fits(properties: Mapping[str, Any], key: str, operator: NodeOperator, values: Sequence[str]) -> bool:
    there = key in properties
    if operator is NodeOperator.EXISTS:
        return there
    if operator is NodeOperator.DOES_NOT_EXIST:
        return not there
    if operator is NodeOperator.NOT_IN:
        return not there or _text(properties[key]) not in values
    if not there:
        return False
    if operator is NodeOperator.IN:
        return _text(properties[key]) in values
    try:
        left, right = float(properties[key]), float(values[0])
    except (TypeError, ValueError, IndexError):
        return False
    return left > right if operator is NodeOperator.GT else left < right


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

"""Rules for a TargetNode."""

from unicorn_core.admission.shapes import at_most_one
from unicorn_core.errors import Problem
from unicorn_core.resources.targetnode import TargetNodeSpec


def check_target_node(spec: TargetNodeSpec, old: TargetNodeSpec | None = None) -> list[Problem]:
    """`old`: for an edit, the spec before it. Leases are held on this node under these names."""
    problems = at_most_one(spec, "spec", "capacity", "elastic")
    if old is not None and spec.connector_ref != old.connector_ref:
        problems.append(_fixed("spec.connectorRef.name", old.connector_ref.name, spec.connector_ref.name))
    if old is not None and spec.node_name != old.node_name:
        problems.append(_fixed("spec.nodeName", old.node_name, spec.node_name))
    return problems


def _fixed(path: str, old: str, new: str) -> Problem:
    return Problem(path, "cannot change", f"write {old}, or make another TargetNode", new)

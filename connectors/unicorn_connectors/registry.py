"""Which connectors there are: the entry points of the group `unicorn.connectors`, ours and third parties'."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from unicorn_core.connector import ConnectorType
from unicorn_core.errors import Problem, Refused
from unicorn_core.resources.base import load

GROUP = "unicorn.connectors"


def type_names() -> list[str]:
    """Sorted. Naming a type imports nothing."""
    return sorted(_entry_points())


def connector_type(name: str) -> ConnectorType:
    """The type of that name, imported at its first use. Raises Refused: unknown, or it cannot be imported here."""
    entry = _entry_points().get(name)
    if entry is None:
        raise Refused(
            Problem("spec.type", "no such connector", f"one of {', '.join(type_names())}", name), "UnknownConnectorType"
        )
    try:
        found: ConnectorType = entry.load()
    except Exception as error:  # a third party's module may raise anything; the others must go on
        message = f"this connector cannot be loaded: {type(error).__name__}: {error}"
        raise Refused(Problem("spec.type", message, "its package, installed whole", name), "ConnectorNotLoadable") from error
    return found


def check_config(name: str, config: Mapping[str, Any]) -> Any:
    """The type's own model of `spec.config`. Raises Refused with a Problem for each wrong field."""
    return load(connector_type(name).config_model, config, at="spec.config")


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}

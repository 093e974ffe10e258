"""Starting netunicorn's own executor in place of our agent: command and environment, for every connector that can."""

from collections.abc import Mapping
from importlib.resources import files

from unicorn_core.connector import Order
from unicorn_core.planning.liveness import heartbeat_seconds

AGENT = "Netunicorn"
ENDPOINT = "NETUNICORN_GATEWAY_ENDPOINT"  # holds the token: a secret
ARGUMENTS = ("-c", (files("unicorn_connectors") / "netunicorn_start.py").read_text())  # of the environment's python


def is_wanted(order: Order) -> bool:
    return order.agent == AGENT


def endpoint(order: Order) -> str:
    """Its gateway, with its token in the path. Without a slash at the end: netunicorn's tasks take it as it is."""
    return f"{order.gateway.endpoint.rstrip('/')}/x/{order.token}"


def environment(order: Order) -> Mapping[str, str]:
    """What it is told, its endpoint aside."""
    return {
        "NETUNICORN_EXECUTOR_ID": str(order.handle.executor),
        "NETUNICORN_EXPERIMENT_ID": order.handle.experiment_uid,
        "NETUNICORN_EXECUTOR_HEARTBEAT_SECONDS": str(int(heartbeat_seconds(order.keep_alive))),
    }

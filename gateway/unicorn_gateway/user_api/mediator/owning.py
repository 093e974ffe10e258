"""What belongs to an Experiment of Kubernetes goes with it. Pure."""

from typing import Any

from unicorn_core.naming import API_VERSION

Object = dict[str, Any]


def owner_reference(item: Object) -> dict[str, str]:
    """`item`: the Experiment."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "name": item["metadata"]["name"],
        "uid": item["metadata"]["uid"],
    }

"""Rules for a Connector."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from unicorn_core.admission.shapes import at_least
from unicorn_core.errors import Problem, Refused
from unicorn_core.resources.connector import ConnectorSpec, GatewaySpec, NamespacesFrom, SharingNamespaces

CheckConfig = Callable[[str, Mapping[str, Any]], object]
"""(type, config): the registry's check by that type's own model. Raises Refused."""

_LEAST_INTERVAL = timedelta(seconds=1)


def check_connector(spec: ConnectorSpec, check_config: CheckConfig) -> list[Problem]:
    problems = at_least(spec.discovery_interval, "spec.discoveryInterval", _LEAST_INTERVAL)
    problems += _sharing(spec.sharing.namespaces, "spec.sharing.namespaces")
    if spec.gateway is not None:
        problems += _gateway(spec.gateway, "spec.gateway")
    try:
        check_config(spec.type, spec.config)
    except Refused as refused:
        problems += refused.problems
    return problems


def _sharing(namespaces: SharingNamespaces, at: str) -> list[Problem]:
    if (namespaces.from_ is NamespacesFrom.SELECTOR) == (namespaces.selector is not None):
        return []
    if namespaces.selector is None:
        return [Problem(at, "has no selector, and from: Selector chooses by it", "add selector, or write from: All")]
    return [Problem(f"{at}.selector", f"means nothing beside from: {namespaces.from_}", "write from: Selector, or remove it")]


def _gateway(gateway: GatewaySpec, at: str) -> list[Problem]:
    if not gateway.ca_bundle:
        return []
    if not gateway.endpoint.startswith("https:"):
        return [Problem(f"{at}.caBundle", "means nothing beside an http:// endpoint", "remove it, or write https://")]
    if "-----BEGIN CERTIFICATE-----" not in gateway.ca_bundle:
        return [Problem(f"{at}.caBundle", "is not a PEM certificate", "paste it with its BEGIN CERTIFICATE line")]
    return []

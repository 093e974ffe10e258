"""Which nodes there are for the mediator."""

import pytest
from e2e_kit import Kit
from mediator_lab import Lab
from unicorn_core.naming import API_VERSION
from unicorn_gateway.user_api.mediator.catalogue import Catalogue
from unicorn_kube.resource import CONNECTORS

pytestmark = pytest.mark.cluster


async def test_nodes_that_no_operator_looks_after_are_not_offered(lab: Lab, kit: Kit, namespace: str) -> None:
    """The operator watches some namespaces; a Connector of another one is shared with all, and would never serve anybody."""
    spec = {"type": "local", "config": {"nodes": ["stray"]}, "sharing": {"namespaces": {"from": "All"}}}
    stray = {"apiVersion": API_VERSION, "kind": "Connector", "metadata": {"name": "stray", "namespace": namespace}, "spec": spec}
    await kit.kube.apply(CONNECTORS, stray, "test")

    async def offered(*watched: str) -> set[str]:
        return {one.namespace for one in (await Catalogue(kit.kube, watched).connector_names()).values()}

    assert await offered(*lab.stack.namespaces) == {lab.infra}
    assert await offered() >= {lab.infra, namespace}, "without the setting all are"

"""The pools of a cluster, by what its nodes say of themselves."""

from types import SimpleNamespace

import pytest
from unicorn_connectors.kubernetes.config import KubernetesConfig
from unicorn_connectors.kubernetes.connector import KubernetesConnector
from unicorn_core.connector import ConnectorContext
from unicorn_kube import KubeConfig


def node(architecture, system="linux"):
    return {"status": {"nodeInfo": {"architecture": architecture, "operatingSystem": system}}}


@pytest.mark.parametrize(
    ("nodes", "pools"),
    [
        ([node("amd64"), node("amd64"), node("arm64")], {"linux-amd64": "linux/amd64", "linux-arm64": "linux/arm64"}),
        ([node("arm")], {"linux-arm": "linux/arm/v7"}),
        ([node("amd64", "windows")], {}),
    ],
    ids=["each architecture has one", "32-bit ARM is called as images for it are", "Windows has none"],
)
async def test_the_pools_of_a_cluster(monkeypatch, nodes, pools):
    context = ConnectorContext("kubernetes", "default", "uid", KubernetesConfig())
    connector = KubernetesConnector(context, KubeConfig("https://127.0.0.1:1"), foreign=False)

    async def listed(*_: object, **__: object) -> SimpleNamespace:
        return SimpleNamespace(items=nodes)

    monkeypatch.setattr(connector, "_open", listed)
    monkeypatch.setattr(connector._kube, "list", listed)
    found = await connector.discover()
    assert {one.name: one.architecture for one in found} == pools
    assert all(one.properties["architecture"] == one.architecture for one in found)

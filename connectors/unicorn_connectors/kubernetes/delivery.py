"""How the agent comes into a pod.

By default from a ConfigMap, one for each namespace and version of the agent: a pod starts as fast as a bare one. Where the
Connector names an agent image, or the agent's bytes cannot be had here, by an init container that copies it, which costs
a pod about a second.
"""

import asyncio
import base64
import time
from dataclasses import dataclass
from typing import Any

from unicorn_core.connector import Gateway
from unicorn_core.errors import Conflict, NotFound
from unicorn_kube import KubeClient
from unicorn_kube.resource import CONFIG_MAPS

from unicorn_connectors.agent_file import AgentNotAvailable, AgentSource, sha256

DIRECTORY = "/unicorn"
FILE = "executor.pyz"
INIT_CONTAINER = "agent"
_SIZE_LIMIT = 700 * 1024  # as base64 within a ConfigMap's 1 MiB
_FRESH_SECONDS = 30.0
_RESOURCES = {"requests": {"cpu": "10m", "memory": "16Mi"}}


@dataclass(frozen=True, slots=True)
class Delivery:
    """Exactly one of the two."""

    config_map: str = ""  # its name, in the pod's namespace
    image: str = ""

    def volume(self) -> dict[str, Any]:
        source = {"configMap": {"name": self.config_map, "defaultMode": 0o444}} if self.config_map else {"emptyDir": {}}
        return {"name": INIT_CONTAINER, **source}

    def init_containers(self, security: dict[str, Any]) -> list[dict[str, Any]]:
        if not self.image:
            return []
        copy: dict[str, Any] = {
            "name": INIT_CONTAINER,
            "image": self.image,
            "command": ["python3", "/opt/unicorn/copy.py", DIRECTORY],
            "resources": _RESOURCES,
            "securityContext": security,
            "volumeMounts": [{"name": INIT_CONTAINER, "mountPath": DIRECTORY}],
        }
        return [copy]


class Deliveries:
    """`image`: the Connector's word; `fallback_image`: the operator's, for when the agent's bytes cannot be had."""

    def __init__(self, kube: KubeClient, source: AgentSource, image: str, fallback_image: str) -> None:
        self._kube, self._source = kube, source
        self._image, self._fallback_image = image, fallback_image
        self._lock = asyncio.Lock()
        self._seen: dict[tuple[str, str], float] = {}  # namespace and name of ConfigMaps: when they were there

    async def to(self, namespace: str, gateway: Gateway) -> Delivery:
        """Raises AgentNotAvailable or what the API says."""
        if self._image:
            return Delivery(image=self._image)
        try:
            content = await self._source.content(gateway)
            if len(content) > _SIZE_LIMIT:
                raise AgentNotAvailable(f"the agent is too large for a ConfigMap ({len(content)} bytes); set config.agentImage")
        except AgentNotAvailable:
            if not self._fallback_image:
                raise
            return Delivery(image=self._fallback_image)
        name = f"unicorn-agent-{sha256(content)[:16]}"
        async with self._lock:
            if time.monotonic() - self._seen.get((namespace, name), -_FRESH_SECONDS) >= _FRESH_SECONDS:
                await self._have(namespace, name, content)
                self._seen[namespace, name] = time.monotonic()
        return Delivery(config_map=name)

    async def _have(self, namespace: str, name: str, content: bytes) -> None:
        try:
            await self._kube.get(CONFIG_MAPS, namespace, name)
        except NotFound:
            try:
                await self._kube.create(CONFIG_MAPS, _config_map(namespace, name, content))
            except Conflict:
                pass  # somebody else was first


def _config_map(namespace: str, name: str, content: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "netunicorn-operator"}},
        "immutable": True,
        "binaryData": {FILE: base64.b64encode(content).decode()},
    }

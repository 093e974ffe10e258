"""Orders: everything a connector needs to prepare and start an executor. Secrets are read here and travel in the Order only."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from unicorn_core.connector import Gateway, Handle, Node, Order, Runtime
from unicorn_core.errors import NotFound, Problem, Refused, Waiting
from unicorn_core.naming import ExecutorId, executor_display
from unicorn_core.platforms import same_platform
from unicorn_core.reasons import ExecutorReason
from unicorn_core.resources import ConnectorSpec, Deadlines, EnvironmentSpec, load
from unicorn_kube.resource import SECRETS

from unicorn_operator.world import World

TOKEN_SLACK = timedelta(days=30)  # after the end of all deadlines


@dataclass(slots=True)
class SecretReader:
    """Secrets of a namespace, each read once a batch."""

    world: World
    _read: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)

    async def value(self, namespace: str, name: str, key: str) -> str:
        """Raises Waiting when it is not there, Refused when it can be in no environment. Neither shows it."""
        if (namespace, name) not in self._read:
            try:
                secret = await self.world.kube.get(SECRETS, namespace, name)
            except NotFound as error:
                raise Waiting("SecretNotFound", f"Secret {namespace}/{name} does not exist") from error
            self._read[namespace, name] = secret.get("data") or {}
        data = self._read[namespace, name]
        if key not in data:
            raise Waiting("SecretNotFound", f"Secret {namespace}/{name} has no key {key}")
        try:
            text = base64.b64decode(data[key]).decode()
        except ValueError:
            text = None  # decided outside: an error raised here would carry the value as its context
        if text is None or "\0" in text:
            problem = Problem(
                "environment.runtime.env",
                f"key {key} of Secret {namespace}/{name} cannot be the value of a variable",
                "it must be UTF-8 text without a NUL character",
            )
            raise Refused(problem, ExecutorReason.SECRET_NOT_USABLE)
        return text


def handle_of(row: Mapping[str, Any]) -> Handle:
    """Of a row of `read_due_operations` or `read_orphans`."""
    return Handle(
        executor=ExecutorId(row["executor_id"]),
        node=Node(row["node_name"], row["node_address"], row.get("node_properties") or {}),
        namespace=row["namespace"],
        experiment_uid=str(row["experiment_uid"]),
        fence=row.get("fence") or 0,
    )


async def order_of(row: Mapping[str, Any], world: World, secrets: SecretReader, now: datetime) -> Order:
    """Raises Waiting when something it needs is not there yet, Refused when it can never be had."""
    body = row["body"]
    environment = load(EnvironmentSpec, body["environment"]) if body["environment"] else None
    handle = handle_of(row)
    return Order(
        handle=handle,
        display=executor_display(row["experiment"], row["attempt"], row["deployment"], row["index"]),
        gateway=_gateway(row["connector_uid"], world),
        token=world.signer.sign(handle.executor, handle.fence, _expires(row, now)),
        image=_image(environment, row, world),
        image_pull_secret=_pull_secret(environment),
        shell_commands=environment.shell.commands if environment and environment.shell else (),
        runtime=await _runtime(environment, handle.namespace, secrets),
        agent=environment.agent if environment else "Native",
        keep_alive=row["keep_alive"],
    )


def _gateway(connector_uid: UUID, world: World) -> Gateway:
    item = world.caches.connectors.by_uid(str(connector_uid))
    spec = load(ConnectorSpec, item["spec"]) if item else None
    if spec is not None and spec.gateway is not None:
        return Gateway(spec.gateway.endpoint.rstrip("/"), spec.gateway.ca_bundle, world.agent_sha256)
    if not world.settings.gateway_endpoint:
        raise Waiting("GatewayNotConfigured", "neither the Connector's spec.gateway nor UNICORN_GATEWAY_ENDPOINT is set")
    return Gateway(world.settings.gateway_endpoint.rstrip("/"), world.gateway_ca, world.agent_sha256)


def _expires(row: Mapping[str, Any], now: datetime) -> datetime:
    deadlines = load(Deadlines, row["deadlines"] or {})
    return now + deadlines.start + deadlines.run + deadlines.cleanup + TOKEN_SLACK


def _image(environment: EnvironmentSpec | None, row: Mapping[str, Any], world: World) -> str:
    """By digest, for the architecture of the node. Raises Refused where there is none."""
    node = world.caches.target_nodes.by_uid(str(row["node_uid"])) or {}
    status = node.get("status") or {}
    if environment is None:
        return world.settings.default_image if "Image" in (status.get("environments") or ()) else ""
    if environment.shell is not None:
        return ""
    images: Mapping[str, str] = (row.get("compiled") or {}).get("images") or {}
    if not images:  # taken as written
        return environment.image.ref if environment.image else ""
    return image_for(same_platform(status.get("architecture") or "unknown"), images)


def image_for(architecture: str, images: Mapping[str, str]) -> str:
    """Of images by platform; `*` is an index of all, for a node that does not tell its architecture."""
    if architecture in images:
        return images[architecture]
    if architecture == "unknown":
        return images.get("*") or next(iter(images.values()))
    there = ", ".join(sorted(images.keys() - {"*"}))
    problem = Problem(
        "environment", f"has no image for {architecture}", f"it has {there}; add the platform, or choose other nodes"
    )
    raise Refused(problem, ExecutorReason.ARCHITECTURE_NOT_SUPPORTED)


def _pull_secret(environment: EnvironmentSpec | None) -> str:
    """The user's own: a built image may need one as well."""
    source = (environment.image or environment.build) if environment else None
    secret = source.pull_secret_ref if source else None
    return secret.name if secret else ""


async def _runtime(environment: EnvironmentSpec | None, namespace: str, secrets: SecretReader) -> Runtime:
    if environment is None:
        return Runtime()
    spec = environment.runtime
    values: dict[str, str] = {}
    for variable in spec.env:
        if variable.value_from is not None:
            source = variable.value_from.secret_key_ref
            values[variable.name] = await secrets.value(namespace, source.name, source.key)
        else:
            values[variable.name] = variable.value or ""
    return Runtime(
        environment=values,
        ports=tuple(port.model_dump(by_alias=True, exclude_none=True, mode="json") for port in spec.ports),
        network=spec.network,
        resources=spec.resources.model_dump(by_alias=True, exclude_none=True, mode="json"),
        additional_arguments=spec.additional_arguments,
    )

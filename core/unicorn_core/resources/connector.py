"""Connector: one deployment system."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from unicorn_core.durations import parse_duration
from unicorn_core.resources.base import Model, StatusModel
from unicorn_core.resources.common import Conditions, Reference
from unicorn_core.resources.types import ATOMIC, Duration, FreeObject, Moment, cel


class NamespacesFrom(StrEnum):
    SAME = "Same"
    ALL = "All"
    SELECTOR = "Selector"


class LabelOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Model):
    """A requirement on labels."""

    key: Annotated[str, Field(min_length=1, max_length=317)] = Field(description="The label.")
    operator: LabelOperator = Field(description="In and NotIn compare with values.")
    values: Annotated[tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        (), description="For In and NotIn."
    )


class LabelSelector(Model):
    """Labels that a namespace must have; all requirements together. Empty: every namespace."""

    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=dict, description="Labels with their values."
    )
    match_expressions: Annotated[tuple[LabelRequirement, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = Field(
        (), description="Requirements."
    )


class SharingNamespaces(Model):
    """Which namespaces may use the connector."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "(has(self.from) && self.from == 'Selector') == has(self.selector)",
                "selector belongs to from: Selector, and only there",
            )
        )
    )

    from_: NamespacesFrom = Field(NamespacesFrom.SAME, alias="from", description="Same, All, or those that selector chooses.")
    selector: LabelSelector | None = Field(None, description="With from: Selector.")


class SharingSpec(Model):
    """Who may use the connector's nodes."""

    namespaces: SharingNamespaces = Field(
        default_factory=SharingNamespaces, description="Namespaces whose experiments may use it."
    )


class GatewaySpec(Model):
    """The executor gateway as the connector's nodes see it."""

    endpoint: Annotated[str, Field(pattern="^https?://[^/?#]+[^?#]*$", max_length=512)] = Field(
        description="http:// or https:// address."
    )
    ca_bundle: Annotated[str, Field(max_length=65536)] = Field("", description="PEM certificates to trust for https.")


class ConnectorSpec(Model):
    """One deployment system and how to reach it."""

    type: Annotated[str, Field(pattern="^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$", max_length=63)] = Field(
        description="A name from the registry of connectors, such as kubernetes, local or ssh.",
        json_schema_extra=cel(("self == oldSelf", "the type of a connector cannot change; make another connector")),
    )
    config: FreeObject = Field(default_factory=dict, description="Settings of that type, checked by its own model.")
    credentials_secret_ref: Reference | None = Field(None, description="A Secret of the same namespace.")
    gateway: GatewaySpec | None = Field(None, description="The gateway as its nodes see it; absent: the operator's setting.")
    discovery_interval: Duration = Field(parse_duration("1m"), description="How often nodes are looked for.")
    sharing: SharingSpec = Field(default_factory=SharingSpec, description="Who may use its nodes.")


class NodeCounts(StatusModel):
    """How many nodes the system offers."""

    total: int = Field(0, description="Known.")
    ready: int = Field(0, description="Of these, ready.")
    leased: int = Field(0, description="Of these, leased by experiments.")


class ConnectorStatus(StatusModel):
    """How the system is."""

    observed_generation: int | None = Field(None, description="The metadata.generation that this status describes.")
    conditions: Conditions = Field((), description="Healthy, InventorySynced.")
    nodes: NodeCounts | None = Field(None, description="How many nodes it offers.")
    last_contact_time: Moment | None = Field(None, description="When it answered last.")

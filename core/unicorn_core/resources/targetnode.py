"""TargetNode: one device, or an elastic pool of them."""

from typing import Annotated

from pydantic import ConfigDict, Field

from unicorn_core.connector import EnvironmentType
from unicorn_core.resources.base import Model, StatusModel
from unicorn_core.resources.common import Conditions, Reference
from unicorn_core.resources.types import ATOMIC, SET, FreeObject, Moment, cel


class ElasticSpec(Model):
    """A pool that makes nodes on demand."""

    max: Annotated[int, Field(ge=1, le=100000)] = Field(description="Executors at the same time.")


class TargetNodeSpec(Model):
    """A node that experiments can lease: made by discovery, or written by hand."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!(has(self.capacity) && has(self.elastic))", "write capacity for a device or elastic for a pool"))
    )

    connector_ref: Reference = Field(
        description="The Connector, of the same namespace, that reaches it.",
        json_schema_extra=cel(("self.name == oldSelf.name", "a node cannot change its connector; make another TargetNode")),
    )
    node_name: Annotated[str, Field(min_length=1, max_length=253)] = Field(
        description="Its name in the deployment system; experiments name it so.",
        json_schema_extra=cel(("self == oldSelf", "the nodeName of a node cannot change; make another TargetNode")),
    )
    capacity: Annotated[int, Field(ge=1, le=10000)] | None = Field(None, description="Executors at the same time; absent: 1.")
    elastic: ElasticSpec | None = Field(None, description="A pool, in place of capacity.")
    unschedulable: bool = Field(False, description="No new leases; what runs goes on.")
    access_tags: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(max_length=64, json_schema_extra=SET)
    ] = Field(
        (),
        description="Users who have access tags lease it only with one of these; empty: everybody. Who has none may lease all.",
    )
    property_overrides: FreeObject = Field(default_factory=dict, description="Properties that win over the discovered ones.")
    address: Annotated[str, Field(max_length=512)] = Field(
        "", description="How the connector reaches it, where it needs to know."
    )

    @property
    def slots(self) -> int:
        """Executors that fit at the same time."""
        return self.elastic.max if self.elastic else self.capacity or 1


class LeaseSummary(StatusModel):
    """Who uses the node."""

    used: int = Field(0, description="Leases in use.")
    first_holders: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=5, json_schema_extra=ATOMIC)] = (
        Field((), description="Some of the experiments that hold them, as namespace/name.")
    )


class TargetNodeStatus(StatusModel):
    """What is known of the node; written at most once in 10 s."""

    observed_generation: int | None = Field(None, description="The metadata.generation that this status describes.")
    conditions: Conditions = Field((), description="Ready.")
    architecture: Annotated[str, Field(max_length=64)] = Field("", description="linux/arm64 and the like.")
    environments: Annotated[tuple[EnvironmentType, ...], Field(max_length=8, json_schema_extra=SET)] = Field(
        (), description="Kinds of environments that it can run."
    )
    properties: FreeObject = Field(default_factory=dict, description="Discovered properties with the overrides.")
    last_contact_time: Moment | None = Field(None, description="When it was seen last.")
    leases: LeaseSummary | None = Field(None, description="Who uses it.")

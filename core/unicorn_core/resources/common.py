"""Parts of models that several kinds share: references, conditions."""

from typing import Annotated

from pydantic import ConfigDict, Field

from unicorn_core.resources.base import Model, StatusModel
from unicorn_core.resources.types import BY_TYPE, Moment, ResourceName, Text


class Reference(Model):
    """An object of the same namespace."""

    name: ResourceName = Field(description="Its metadata.name.")


class ConnectorReference(Model):
    """A Connector."""

    name: ResourceName = Field(description="Its metadata.name.")
    namespace: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        None, description="Where another namespace shares its connector; absent: this object's own namespace."
    )


class KeyReference(Model):
    """A key of a Secret or ConfigMap of the same namespace."""

    name: ResourceName = Field(description="The object's metadata.name.")
    key: Annotated[str, Field(min_length=1, max_length=253)] = Field(description="The key in its data.")


class Condition(StatusModel):
    """What is true of an object, in the form that `kubectl wait` knows."""

    model_config = ConfigDict(frozen=True)

    type: Annotated[str, Field(max_length=316)] = Field(description="What is said.")
    # No enum: YAML 1.1 would read its values as booleans.
    status: Annotated[str, Field(pattern="^(True|False|Unknown)$", max_length=7)] = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(max_length=128)] = Field("", description="Why, as one CamelCase word.")
    message: Text = Field("", description="Why, for people.")
    last_transition_time: Moment | None = Field(None, description="When the status changed last.")
    observed_generation: int | None = Field(None, description="The metadata.generation that this was said of.")


Conditions = Annotated[tuple[Condition, ...], Field(max_length=32, json_schema_extra=BY_TYPE)]

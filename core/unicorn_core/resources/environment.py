"""Environment: what an executor runs in."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from unicorn_core.resources.base import Model, StatusModel
from unicorn_core.resources.common import Conditions, KeyReference, Reference
from unicorn_core.resources.types import ATOMIC, BY_NAME, SET, Moment, Quantity, cel, count_of

Command = Annotated[str, Field(min_length=1, max_length=32768)]
PackageName = Annotated[str, Field(min_length=1, max_length=512)]


class Agent(StrEnum):
    NATIVE = "Native"
    NETUNICORN = "Netunicorn"


class Platform(StrEnum):
    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"
    ARM_V7 = "linux/arm/v7"


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class ImageSpec(Model):
    """A container image that exists."""

    ref: Annotated[str, Field(min_length=1, max_length=512)] = Field(description="Repository with tag or digest.")
    pull_secret_ref: Reference | None = Field(None, description="A Secret (dockerconfigjson) of the same namespace.")


class FileSpec(Model):
    """A file that is put into the image."""

    path: Annotated[str, Field(pattern="^/", max_length=1024)] = Field(description="Where, absolute.")
    config_map_key_ref: KeyReference = Field(description="What: a key of a ConfigMap of the same namespace.")


class BuildSpec(Model):
    """A container image that the operator builds, once for all who ask for the same."""

    base: Annotated[str, Field(min_length=1, max_length=512)] | None = Field(
        None, description="The image to start from; absent: the operator's UNICORN_DEFAULT_BASE."
    )
    pull_secret_ref: Reference | None = Field(
        None, description="A Secret (dockerconfigjson) of the same namespace, with which the base is pulled."
    )
    platforms: Annotated[tuple[Platform, ...], Field(min_length=1, max_length=8, json_schema_extra=SET)] = Field(
        (Platform.AMD64,), description="What to build for."
    )
    apt: Annotated[tuple[PackageName, ...], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        (), description="Debian packages."
    )
    pip: Annotated[tuple[PackageName, ...], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        (), description="Python packages, as pip takes them."
    )
    commands: Annotated[tuple[Command, ...], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        (), description="Shell commands, each a layer."
    )
    files: Annotated[
        tuple[FileSpec, ...],
        Field(max_length=64, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["path"]}),
    ] = Field((), description="Files from ConfigMaps.")
    rebuild: Annotated[str, Field(pattern="^[A-Za-z0-9._:-]*$", max_length=63)] = Field(
        "", description="Any word, such as a date. One that the namespace has not used yet builds once more, without any cache."
    )


class ShellSpec(Model):
    """The node itself, made ready by commands."""

    commands: Annotated[tuple[Command, ...], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        (), description="Run on the node in prepare, in order; the first that fails fails the executor."
    )


class ValueSource(Model):
    """Where a variable's value comes from."""

    secret_key_ref: KeyReference = Field(description="A key of a Secret of the same namespace.")


class VariableSpec(Model):
    """An environment variable of the executor: value or valueFrom."""

    model_config = ConfigDict(json_schema_extra=cel(("has(self.value) != has(self.valueFrom)", "write one of value, valueFrom")))

    name: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)] = Field(description="The variable's name.")
    value: Annotated[str, Field(max_length=32768)] | None = Field(None, description="Its value.")
    value_from: ValueSource | None = Field(None, description="Where its value comes from.")


class PortSpec(Model):
    """A port of the executor's container."""

    container_port: Annotated[int, Field(ge=1, le=65535)] = Field(description="Inside.")
    host_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(None, description="On the node; absent: not published.")
    protocol: Protocol = Field(Protocol.TCP, description="TCP, UDP or SCTP.")


class ResourcesSpec(Model):
    """What a container asks for and may use at most, as in a pod."""

    requests: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict, description="Asked for.")
    limits: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict, description="At most.")


class RuntimeSpec(Model):
    """How the executor is run. Connectors use what their system knows."""

    env: Annotated[tuple[VariableSpec, ...], Field(max_length=256, json_schema_extra=BY_NAME)] = Field(
        (), description="Environment variables."
    )
    ports: Annotated[tuple[PortSpec, ...], Field(max_length=64, json_schema_extra=ATOMIC)] = Field((), description="Ports.")
    network: Annotated[str, Field(max_length=256)] = Field("", description="The container network to join; empty: the default.")
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec, description="Requests and limits.")
    additional_arguments: Annotated[
        tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64, json_schema_extra=ATOMIC)
    ] = Field(
        (),
        description="Further arguments for the container runtime, where the connector takes any. Needs the right to use them.",
    )


class EnvironmentSpec(Model):
    """What an executor runs in: exactly one of image, build, shell."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                count_of("image", "build", "shell") + " == 1",
                "write exactly one of image, build, shell",
            )
        )
    )

    image: ImageSpec | None = Field(None, description="A container image that exists.")
    build: BuildSpec | None = Field(None, description="A container image to be built.")
    shell: ShellSpec | None = Field(None, description="The node itself.")
    agent: Agent = Field(
        Agent.NATIVE,
        description="Native: this project's executor. Netunicorn: the node's or image's own; serialized pipelines only.",
    )
    runtime: RuntimeSpec = Field(default_factory=RuntimeSpec, description="How the executor is run.")


class BuiltImage(StatusModel):
    """An image for one platform."""

    platform: Annotated[str, Field(max_length=64)] = Field(description="linux/amd64 and the like.")
    ref: Annotated[str, Field(max_length=768)] = Field(description="Repository with digest.")


class FailedStep(StatusModel):
    """The step at which a build failed."""

    number: Annotated[int, Field(ge=1)] | None = Field(None, description="From 1.")
    title: Annotated[str, Field(max_length=256)] = Field("", description="Where it comes from, as commands[0].")
    command: Annotated[str, Field(max_length=4096)] = Field("", description="What was run, shortened if it must.")
    exit_code: int | None = Field(None, description="With what it ended.")


class BuildStatus(StatusModel):
    """The last build, of the platform that tells most: one that failed, one under way, or the last that ended."""

    hash: Annotated[str, Field(max_length=128)] = Field("", description="Of all that decides its image.")
    platform: Annotated[str, Field(max_length=64)] = Field("", description="What it is for.")
    job: Annotated[str, Field(max_length=253)] = Field("", description="Its Job in the operator's namespace.")
    step: Annotated[str, Field(max_length=256)] = Field("", description="How far it is.")
    start_time: Moment | None = Field(None, description="When it started.")
    seconds: Annotated[int, Field(ge=0)] | None = Field(None, description="How long it took.")
    failed_step: FailedStep | None = Field(None, description="The step at which it failed.")
    log: Annotated[str, Field(max_length=8192)] = Field("", description="The last 50 lines of its log, if it failed.")


class EnvironmentStatus(StatusModel):
    """What became of the environment."""

    observed_generation: int | None = Field(None, description="The metadata.generation that this status describes.")
    conditions: Conditions = Field((), description="Ready.")
    content_hash: Annotated[str, Field(max_length=128)] = Field(
        "", description="Equal content has an equal hash, and is built once."
    )
    images: Annotated[
        tuple[BuiltImage, ...],
        Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["platform"]}),
    ] = Field((), description="What executors start from.")
    index: Annotated[str, Field(max_length=768)] = Field(
        "", description="Repository with digest of the index that names the images of all platforms."
    )
    build: BuildStatus | None = Field(None, description="The last build.")

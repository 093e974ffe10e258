"""What netunicorn's client sends, as its JSON encodings have it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Context = Annotated[dict[str, dict[str, Any]], Field(max_length=256)]
Architecture = Literal["linux/amd64", "linux/arm64", "win/amd64", "win/arm64", "unknown"]
ARCHITECTURES: tuple[Architecture, ...] = ("linux/amd64", "linux/arm64", "win/amd64", "win/arm64", "unknown")
DOCKER, SHELL = "DockerImage", "ShellExecution"
EnvironmentKind = Literal["DockerImage", "ShellExecution"]
INT64 = 2**63 - 1


class Message(BaseModel):
    """Members that netunicorn does not have are left aside, as its own services do."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Node(Message):
    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    properties: dict[str, Any] = Field(default_factory=dict)
    additional_properties: dict[str, Any] = Field(default_factory=dict)
    architecture: Architecture = "unknown"


class RuntimeContext(Message):
    ports_mapping: dict[str, Any] = Field(default_factory=dict)
    environment_variables: dict[str, str] = Field(default_factory=dict)
    additional_arguments: list[str] = Field(default_factory=list)
    network: str | None = None


class BuildContext(Message):
    python_version: str
    cloudpickle_version: str | None = None


class Environment(Message):
    """A DockerImage, which may have an image and has a build_context, or a ShellExecution."""

    commands: list[str]
    runtime_context: RuntimeContext
    image: str | None = None
    build_context: BuildContext | None = None


class Deployment(Message):
    node: Node
    executor_id: str = ""
    execution_graph: Annotated[str, StringConstraints(min_length=4)]  # base64 of a pickle
    keep_alive_timeout_minutes: Annotated[float, Field(gt=0, le=60 * 24 * 366)] = 10
    cleanup: bool = True
    environment_definition: Environment
    environment_definition_type: EnvironmentKind


class Experiment(Message):
    deployment_map: Annotated[list[Deployment], Field(max_length=10_000)]
    deployment_context: Context | None = None


class ExecutorsCancellation(Message):
    executors: Annotated[list[Annotated[str, StringConstraints(max_length=128)]], Field(max_length=100_000)]
    cancellation_context: Context | None = None


class FlagValues(Message):
    text_value: Annotated[str, StringConstraints(max_length=65536)] | None = None
    int_value: Annotated[int, Field(ge=-INT64 - 1, le=INT64)] = 0

"""Pipeline: a reusable execution graph, as stages, as a graph, or as what netunicorn's client serialized."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from unicorn_core.resources.base import Model
from unicorn_core.resources.types import ATOMIC, BY_NAME, AnyValue, Duration, FreeObject, Name, cel, count_of

FlagName = Annotated[str, Field(min_length=1, max_length=128)]
Integer64 = Annotated[int, Field(ge=-(2**63), lt=2**63, json_schema_extra={"format": "int64"})]
ParamName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,62}$", max_length=63)]
ParamValue = Annotated[str, Field(max_length=32768)]


class TraverseOn(StrEnum):
    SUCCESS = "Success"
    FAILURE = "Failure"
    ANY = "Any"


class ParamSpec(Model):
    """A parameter that deployments set and the graph uses as $(params.NAME)."""

    name: ParamName = Field(description="Letters, digits, '-' and '_'.")
    default: ParamValue | None = Field(None, description="The value where a deployment sets none; absent: every deployment must.")


class PythonSpec(Model):
    """A Python class or function. It is imported and run by the executor, never by the server."""

    object: Annotated[str, Field(min_length=3, max_length=512)] = Field(
        description="module:qualname. A class is instantiated with args and kwargs, then its run() called; a function is called."
    )
    args: Annotated[tuple[AnyValue, ...], Field(max_length=256, json_schema_extra=ATOMIC)] = Field(
        (), description="Positional arguments, any JSON."
    )
    kwargs: FreeObject = Field(default_factory=dict, description="Named arguments, any JSON.")


class FlagSpec(Model):
    """One step with a flag of the experiment: exactly one of set, get, add, wait, barrier, each holding the flag's name."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                count_of("set", "get", "add", "wait", "barrier") + " == 1",
                "write exactly one of set, get, add, wait, barrier",
            )
        )
    )

    set: FlagName | None = Field(None, description="Write text and integer; an absent one keeps its value.")
    get: FlagName | None = Field(None, description="Read the flag; it is the task's value.")
    add: FlagName | None = Field(None, description="Add amount to the integer.")
    wait: FlagName | None = Field(None, description="Wait until the flag has this text, this integer, or at least atLeast.")
    barrier: FlagName | None = Field(None, description="Wait until all executors of the experiment are here.")
    text: Annotated[str, Field(max_length=65536)] | None = Field(None, description="For set and wait.")
    integer: Integer64 | None = Field(None, description="For set and wait.")
    amount: Integer64 | None = Field(None, description="For add; absent: 1.")
    at_least: Integer64 | None = Field(None, description="For wait.")
    timeout: Duration | None = Field(None, description="When to give up: the task's timeout, written here.")


class RetrySpec(Model):
    """Runs a failed task again."""

    limit: Annotated[int, Field(ge=1, le=1000)] = Field(description="How often it is tried again.")
    backoff: Duration | None = Field(None, description="The pause before each try; absent: none.")


class TaskSpec(Model):
    """One task: at most one of run, python, script, flag. None of them: a synchronisation point (in a graph only)."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                count_of("run", "python", "script", "flag") + " <= 1",
                "a task is of one kind; write only one of run, python, script, flag",
            )
        )
    )

    name: Name = Field(description="Unique in the pipeline; under it previous and the results list the task.")
    run: Annotated[str, Field(min_length=1, max_length=65536)] | None = Field(
        None, description="A shell command. Its value is {exitCode, stdout, stderr}; exit code 0 is success."
    )
    python: PythonSpec | None = Field(None, description="A Python class or function.")
    script: Annotated[str, Field(min_length=1, max_length=65536)] | None = Field(
        None, description="Python source; it finds previous and executor, and sets result."
    )
    flag: FlagSpec | None = Field(None, description="A step with a flag of the experiment.")
    timeout: Duration | None = Field(None, description="The task fails and its processes end after this; absent: no limit.")
    retry: RetrySpec | None = Field(None, description="Runs the task again when it fails.")
    requirements: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=32768)], ...], Field(max_length=64, json_schema_extra=ATOMIC)
    ] = Field((), description="Shell commands that the environment needs for it; added to those of a build or shell environment.")


class StageSpec(Model):
    """Tasks that start together, when all of the stage before have ended."""

    name: Name = Field(description="Unique in the pipeline.")
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=1000, json_schema_extra=BY_NAME)] = Field(
        description="Run side by side."
    )


class EdgeSpec(Model):
    """Says that a task may follow another."""

    from_: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        alias="from", description="A task, or root, where every graph starts."
    )
    to: Annotated[str, Field(min_length=1, max_length=63)] = Field(description="A task, or root (by a weak edge).")
    traverse_on: TraverseOn | None = Field(
        None, description="Which outcome of from it follows; absent: Success with earlyStopping, else Any. Only from tasks."
    )
    weak: bool = Field(False, description="Followed, but no prerequisite: the only way to close a cycle.")
    limit: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        None, description="How often it may be followed; absent: no limit."
    )


class GraphSpec(Model):
    """An execution graph in full."""

    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=2000, json_schema_extra=BY_NAME)] = Field(
        description="The graph's nodes; one without run, python, script and flag is a synchronisation point."
    )
    edges: Annotated[tuple[EdgeSpec, ...], Field(min_length=1, max_length=10000, json_schema_extra=ATOMIC)] = Field(
        description="Every task must be reachable from root."
    )


class SerializedSpec(Model):
    """A graph as netunicorn's client sent it; opaque to the server."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", max_length=64)] = Field(
        description="Of the bytes, which lie in PostgreSQL under this namespace."
    )


class PipelineSpec(Model):
    """What an executor does: exactly one of stages, graph, serialized."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                count_of("stages", "graph", "serialized") + " == 1",
                "write exactly one of stages, graph, serialized",
            )
        )
    )

    params: Annotated[tuple[ParamSpec, ...], Field(max_length=256, json_schema_extra=BY_NAME)] = Field(
        (), description="Parameters that deployments set."
    )
    early_stopping: bool = Field(True, description="Stop when a task has failed and none of its edges could be followed.")
    report_results: bool = Field(True, description="Send the tasks' values at the end.")
    stages: Annotated[tuple[StageSpec, ...], Field(min_length=1, max_length=200, json_schema_extra=BY_NAME)] | None = Field(
        None, description="Stages in order; each starts when the one before has ended."
    )
    graph: GraphSpec | None = Field(None, description="Tasks and edges.")
    serialized: SerializedSpec | None = Field(None, description="A graph of netunicorn's client.")


def kinds_of(task: TaskSpec) -> list[tuple[str, Any]]:
    """Which of run, python, script, flag a task has; at most one when it is valid."""
    kinds = (("run", task.run), ("python", task.python), ("script", task.script), ("flag", task.flag))
    return [(name, value) for name, value in kinds if value is not None]

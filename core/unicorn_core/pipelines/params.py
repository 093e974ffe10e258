"""Parameters: what a pipeline declares against what a deployment sets."""

from collections.abc import Sequence

from unicorn_core.errors import Problem
from unicorn_core.resources.experiment import ParamAssignment
from unicorn_core.resources.pipeline import PipelineSpec


def check_params(params: Sequence[ParamAssignment], pipeline: PipelineSpec, at: str = "spec.params") -> list[Problem]:
    """`at`: the path of the deployment's params. Serialized pipelines have none."""
    declared = {param.name: param for param in pipeline.params}
    known = ", ".join(sorted(declared)) or "none"
    problems = [
        Problem(f"{at}[{index}].name", "the pipeline declares no such parameter", f"its parameters are: {known}", given.name)
        for index, given in enumerate(params)
        if given.name not in declared
    ]
    given_names = {given.name for given in params}
    return problems + [
        Problem(at, f"parameter {param.name} has neither a value nor a default", f"add {{name: {param.name}, value: ...}}")
        for param in pipeline.params
        if param.default is None and param.name not in given_names
    ]


def param_values(params: Sequence[ParamAssignment], pipeline: PipelineSpec) -> dict[str, str]:
    """Name -> value for `RenderContext`; of parameters that pass `check_params`."""
    defaults = {param.name: param.default for param in pipeline.params if param.default is not None}
    return {**defaults, **{given.name: given.value for given in params}}

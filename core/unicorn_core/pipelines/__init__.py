"""From a Pipeline to what one executor runs: compile, then render once per executor. Nothing here runs what a user wrote.

`compile_pipeline` makes the graph document (docs/executor-protocol.md) with its placeholders inside; `render` fills them in.
"""

from unicorn_core.pipelines.compile import compile_pipeline, task_document
from unicorn_core.pipelines.params import check_params, param_values
from unicorn_core.pipelines.placeholders import Placeholder, Style, placeholders
from unicorn_core.pipelines.render import RenderContext, render

__all__ = [
    "Placeholder",
    "RenderContext",
    "Style",
    "check_params",
    "compile_pipeline",
    "param_values",
    "placeholders",
    "render",
    "task_document",
]

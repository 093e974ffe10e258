"""What an image is made of: its steps, the hashes that name it and its layers; what a builder is given, what it says at its end.

No I/O and no builder here: `unicorn_builder` carries out the steps, the operator decides when.
"""

from unicorn_core.images.archives import agent_archive
from unicorn_core.images.context import context
from unicorn_core.images.inputs import AGENT_FILE, BuildInputs, FileContent
from unicorn_core.images.report import BuildReport, BuildResult
from unicorn_core.images.steps import Step, build_hash, content_hash, steps

__all__ = [
    "AGENT_FILE",
    "BuildInputs",
    "BuildReport",
    "BuildResult",
    "FileContent",
    "Step",
    "agent_archive",
    "build_hash",
    "content_hash",
    "context",
    "steps",
]

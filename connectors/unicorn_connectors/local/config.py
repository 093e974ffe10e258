"""What a Connector of type `local` says."""

import shutil
import sys
from typing import Annotated, Any

from pydantic import Field
from unicorn_core.resources.base import Model

NodeLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]


class LocalConfig(Model):
    """`nodes`: names, or how many (local-0, local-1, …). All of them are this machine."""

    nodes: Annotated[int, Field(ge=0, le=1000)] | list[NodeLabel] = 1
    capacity: int = Field(default=1, ge=1)
    python: str = Field(default="", description="An absolute path; default: the system's python3.")
    properties: dict[str, Any] = Field(default_factory=dict)

    def names(self) -> list[str]:
        return [f"local-{index}" for index in range(self.nodes)] if isinstance(self.nodes, int) else self.nodes

    def interpreter(self) -> str:
        return self.python or shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable

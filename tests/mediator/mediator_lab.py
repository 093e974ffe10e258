"""The users and nodes of the mediator's tests."""

from dataclasses import dataclass
from typing import Any

from unicorn_devcluster.stack import Stack

NODES = [f"c-{index}" for index in range(6)]
TAGGED = "c-tagged"


@dataclass(frozen=True)
class Lab:
    """`infra`: where the Connectors are. ada is at home in `ada`, bob in `bob`; root (sudo) and tess (tag `team`) with ada."""

    stack: Stack
    infra: str
    ada: str
    bob: str

    @property
    def url(self) -> str:
        return self.stack.user_url

    def run(self, *arguments: str, **more: Any) -> str:
        """kubectl."""
        return self.stack.cluster.run(*arguments, **more)

"""What is to be built, as the context's `build.json` says it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPE = 3


@dataclass(frozen=True)
class Step:
    number: int
    title: str
    summary: str
    text: str
    layer: str  # the hash of the image as this step leaves it
    run: tuple[str, ...]
    add: str


@dataclass(frozen=True)
class Order:
    context: Path
    base: str
    platform: str
    repository: str
    plain_http: tuple[str, ...]
    cache: bool
    entrypoint: tuple[str, ...]
    steps: tuple[Step, ...]

    @classmethod
    def read(cls, context: Path) -> "Order":
        """Raises ValueError on what no operator of this version wrote."""
        said = json.loads((context / "build.json").read_text())
        if said["recipe"] != RECIPE:
            raise ValueError(f"the order is for recipe {said['recipe']}, this builder knows {RECIPE}: use its operator's version")
        steps = tuple(_step(number, step) for number, step in enumerate(said["steps"], 1))
        plain, entrypoint = tuple(said["plainHttp"]), tuple(said["entrypoint"])
        places = said["base"], said["platform"], said["repository"]
        return cls(context, *places, plain, said["cache"], entrypoint, steps)

    def image(self, step: Step) -> str:
        """The name of the image that this step leaves: the last one's is the result, the others are for builds to come."""
        return f"{self.repository}:{step.layer if step is self.steps[-1] else f'layer-{step.layer}'}"


def _step(number: int, said: Mapping[str, Any]) -> Step:
    run, add = tuple(said.get("run", ())), said.get("add", "")
    return Step(number, said["title"], said["summary"], said["text"], said["layer"], run, add)

"""What is to be built, as the context's `build.json` says it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECIPE = 4


@dataclass(frozen=True)
class Step:
    number: int
    title: str
    summary: str
    text: str
    image: str  # the name of what this step leaves; the last one's is the result
    run: tuple[str, ...]
    add: str


@dataclass(frozen=True)
class Order:
    context: Path
    base: str
    platform: str
    plain_http: tuple[str, ...]
    cache: bool
    steps: tuple[Step, ...]

    @classmethod
    def read(cls, context: Path) -> "Order":
        """Raises ValueError on what no operator of this version wrote."""
        said = json.loads((context / "build.json").read_text())
        if said["recipe"] != RECIPE:
            raise ValueError(f"the order is for recipe {said['recipe']}, this builder knows {RECIPE}: use its operator's version")
        steps = tuple(_step(number, step) for number, step in enumerate(said["steps"], 1))
        return cls(context, said["base"], said["platform"], tuple(said["plainHttp"]), said["cache"], steps)


def _step(number: int, said: Mapping[str, Any]) -> Step:
    run, add = tuple(said.get("run", ())), said.get("add", "")
    return Step(number, said["title"], said["summary"], said["text"], said["image"], run, add)

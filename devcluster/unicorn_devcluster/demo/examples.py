"""The folders of examples/: manifests, and annotations that say how they are meant to go."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from unicorn_core.resources.experiment import Phase

ROOT = Path(__file__).parents[3] / "examples"
_PREFIX = "examples.netunicorn.io/"


class ExampleError(Exception):
    """There is no such example, or it is not as an example must be; one readable line."""


@dataclass(frozen=True)
class Example:
    """One Experiment and what it needs beside it. `expect`: the phase it ends in. `needs_pods`: a cluster that runs pods.
    `needs_builds`: also an operator that builds images. `needs_local`: nodes of the connector `local`.

    `when_ready`: what to set desiredState to when it is Ready; None: nothing. `objects`: all, in order.
    """

    name: str
    objects: tuple[Mapping[str, Any], ...]
    experiment: str
    expect: Phase
    when_ready: str | None
    needs_pods: bool
    needs_builds: bool
    needs_local: bool

    @property
    def manifest(self) -> str:
        return yaml.safe_dump_all(self.objects, sort_keys=False)


def names() -> list[str]:
    """Those that are manifests."""
    return sorted({path.parent.name for path in ROOT.glob("*/*.yaml")})


def load(name: str) -> Example:
    """Raises ExampleError."""
    folder = ROOT / name
    if name not in names():
        raise ExampleError(f"there is no example {name!r}; there are: {', '.join(names())}")
    objects = [body for file in sorted(folder.glob("*.yaml")) for body in yaml.safe_load_all(file.read_text()) if body]
    experiments = [body["metadata"] for body in objects if body["kind"] == "Experiment"]
    if len(experiments) != 1:
        raise ExampleError(f"examples/{name} has {len(experiments)} Experiments; an example has one")
    annotations = experiments[0].get("annotations") or {}
    said = {key.removeprefix(_PREFIX): value for key, value in annotations.items() if key.startswith(_PREFIX)}
    return Example(
        name=name,
        objects=tuple(objects),
        experiment=experiments[0]["name"],
        expect=Phase(said.get("expect", Phase.SUCCEEDED)),
        when_ready=said.get("when-ready"),
        needs_pods=said.get("needs") in ("pods", "builds"),
        needs_builds=said.get("needs") == "builds",
        needs_local=said.get("needs") == "local",
    )

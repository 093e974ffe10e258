"""Where a manifest asks for `additionalArguments`: they go to the container engine of a node, so that not everybody may."""

from collections.abc import Mapping
from typing import Any

Manifest = Mapping[str, Any]
VERB, RESOURCE = "use", "additionalarguments"  # what RBAC must allow in the namespace


def asks_for_arguments(new: Manifest, old: Manifest | None) -> list[str]:
    """The paths that need the right. For an edit only if it changes an environment that has some: who cancels an experiment,
    or takes a finalizer off, needs none."""
    if old is not None and old.get("spec") == new.get("spec"):
        return []
    before = _environments(old) if old is not None else {}
    wanting = {path: environment for path, environment in _environments(new).items() if _arguments(environment)}
    return [f"{path}.runtime.additionalArguments" for path, environment in wanting.items() if environment not in before.values()]


def _environments(manifest: Manifest) -> dict[str, Any]:
    """By path, as written."""
    spec = manifest.get("spec")
    if not isinstance(spec, Mapping):
        return {}
    if manifest.get("kind") == "Environment":
        return {"spec": spec}
    if manifest.get("kind") != "Experiment":
        return {}
    deployments = spec.get("deployments")
    return {
        f"spec.deployments[{index}].environment": one["environment"]
        for index, one in enumerate(deployments if isinstance(deployments, list) else ())
        if isinstance(one, Mapping) and isinstance(one.get("environment"), Mapping)
    }


def _arguments(environment: Mapping[str, Any]) -> bool:
    runtime = environment.get("runtime")
    return isinstance(runtime, Mapping) and bool(runtime.get("additionalArguments"))

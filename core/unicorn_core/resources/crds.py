"""The CustomResourceDefinitions, generated from the models: `python -m unicorn_core.resources.crds [--check] crds/`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from unicorn_core.naming import GROUP, VERSION
from unicorn_core.resources.kinds import KINDS, Kind
from unicorn_core.resources.schema import structural_schema

HEADER = "# Generated from the models in core/unicorn_core/resources by `python -m unicorn_core.resources.crds crds/`.\n"


def custom_resource_definition(kind: Kind) -> dict[str, Any]:
    """The manifest of one kind."""
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": with_defaults(structural_schema(kind.spec), kind.spec),
    }
    version: dict[str, Any] = {"name": VERSION, "served": True, "storage": True}
    if kind.status is not None:
        properties["status"] = without_defaults(structural_schema(kind.status))
        version["subresources"] = {"status": {}}
    if kind.name == "Experiment":
        pipeline = properties["spec"]["properties"]["deployments"]["items"]["properties"]["pipeline"]
        properties["spec"]["properties"]["deployments"]["items"]["properties"]["pipeline"] = without_inner_rules(pipeline)
    version["additionalPrinterColumns"] = [
        {"name": c.name, "jsonPath": c.path, "type": c.type, "priority": int(c.wide)} for c in kind.columns
    ] + [{"name": "Age", "jsonPath": ".metadata.creationTimestamp", "type": "date"}]
    version["schema"] = {
        "openAPIV3Schema": {"type": "object", "description": kind.description, "required": ["spec"], "properties": properties}
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
                "categories": ["unicorn"],
            },
            "versions": [version],
        },
    }


def with_defaults(schema: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The defaults that the API server writes into objects: those that say something. An object of which every field may be
    absent gets {} where there are defaults inside, so that these are reached."""
    for name, field in model.model_fields.items():
        part = schema["properties"][field.alias or name]
        part.pop("default", None)
        inner_model = _inner_model(field.annotation)
        if inner_model is not None:
            with_defaults(part.get("items", part), inner_model)
        if field.default_factory is inner_model and inner_model is not None:
            if any("default" in inner for inner in part["properties"].values()):
                part["default"] = {}
        elif field.default_factory is None and not field.is_required() and field.default:
            part["default"] = _default_as_written(model, name)
    return schema


def _default_as_written(model: type[BaseModel], name: str) -> Any:
    default = model.model_fields[name].default
    written = model.model_construct(**{name: default}).model_dump(mode="json", include={name})
    return written[name]


def without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """A status says what the operator wrote; the API server adds nothing."""
    return _walk(schema, {"default"})


def without_inner_rules(schema: dict[str, Any]) -> dict[str, Any]:
    """A pipeline inside of a deployment keeps its first rule only: the API server multiplies the cost of a rule by the length
    of every list around it. Admission and the reconciler check the rest."""
    rules = schema.get("x-kubernetes-validations", [])
    return {**_walk(schema, {"x-kubernetes-validations"}), "x-kubernetes-validations": rules}


def _walk(schema: dict[str, Any], dropped: set[str]) -> dict[str, Any]:
    result = {key: value for key, value in schema.items() if key not in dropped}
    if "properties" in result:
        result["properties"] = {name: _walk(part, dropped) for name, part in result["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = _walk(result[key], dropped)
    return result


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _inner_model(part))), None)


class _Dumper(yaml.SafeDumper):
    """Long strings on one line, no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def rendered() -> dict[str, str]:
    """File name -> content."""
    return {
        f"{GROUP}_{kind.plural}.yaml": HEADER
        + yaml.dump(custom_resource_definition(kind), Dumper=_Dumper, sort_keys=False, width=200, allow_unicode=True)
        for kind in KINDS
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m unicorn_core.resources.crds", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    options = parser.parse_args(arguments)
    files = rendered()
    stale = [name for name, text in files.items() if _read(options.directory / name) != text]
    if options.check:
        for name in stale:
            sys.stderr.write(
                f"{options.directory / name} is stale; run python -m unicorn_core.resources.crds {options.directory}\n"
            )
        return 1 if stale else 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for name in stale:
        (options.directory / name).write_text(files[name], encoding="utf-8")
    return 0


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())

"""The generated CRDs: fresh, structural, bounded, described, and safe in any YAML."""

from pathlib import Path

import pytest
import yaml
from unicorn_core.resources import crds

DIRECTORY = Path(__file__).parents[2] / "crds"
FILES = {path.name: yaml.safe_load(path.read_text()) for path in sorted(DIRECTORY.glob("*.yaml"))}
# What YAML 1.1 reads as a boolean or null; `y` and `n` too, which PyYAML forgives.
YAML_WORDS = {"y", "yes", "n", "no", "true", "false", "on", "off", "null", "~", ""}
PLATFORMS = {"linux/amd64", "linux/arm64", "linux/arm/v7"}


def nodes(schema, path):
    """(path, schema) of a schema and all below it."""
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from nodes(part, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[]")


def written_by_users(file):
    schema = FILES[file]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for part in ("spec", "status"):
        if part in schema:
            yield from nodes(schema[part], part)


ALL = [(file, path, node) for file in FILES for path, node in written_by_users(file)]


def test_they_are_what_the_models_say(tmp_path, capsys):
    assert crds.main(["--check", str(DIRECTORY)]) == 0, (
        capsys.readouterr().err + "run: python -m unicorn_core.resources.crds crds/"
    )
    assert set(FILES) == set(crds.rendered()), "a file of a kind that is gone"


def test_check_names_what_is_stale(tmp_path, capsys):
    assert crds.main([str(tmp_path)]) == 0
    stale = tmp_path / "netunicorn.io_pipelines.yaml"
    stale.write_text("kind: Pipeline")
    assert crds.main(["--check", str(tmp_path)]) == 1
    assert str(stale) in capsys.readouterr().err
    assert stale.read_text() == "kind: Pipeline", "--check writes nothing"


def test_no_field_or_value_is_a_boolean_in_yaml():
    names = {(file, path, name) for file, path, node in ALL for name in node.get("properties", {})}
    values = {(file, path, value) for file, path, node in ALL for value in node.get("enum", ())}
    assert [entry for entry in names | values if str(entry[2]).lower() in YAML_WORDS] == []


def test_values_of_enumerations_are_camel_case():
    odd = {value for _, _, node in ALL for value in node.get("enum", ()) if not (value[0].isupper() and value.isalnum())}
    assert odd <= PLATFORMS


@pytest.mark.parametrize("word", ["anyOf", "oneOf", "allOf", "not", "$ref", "nullable", "title", "const"])
def test_what_a_structural_schema_does_not_hold(word):
    assert [(file, path) for file, path, node in ALL if word in node] == []


def test_nothing_is_null():
    assert [(file, path) for file, path, node in ALL for value in node.values() if value is None or value == "null"] == []


def test_every_node_has_a_type():
    def typed(node):
        return "type" in node or node.get("x-kubernetes-int-or-string") or node.get("x-kubernetes-preserve-unknown-fields")

    assert [(file, path) for file, path, node in ALL if not typed(node)] == []


def test_every_field_is_described():
    assert [
        (file, f"{path}.{name}")
        for file, path, node in ALL
        for name, field in node.get("properties", {}).items()
        if not field.get("description", "").endswith((".", ")"))
    ] == []


def test_lists_maps_and_texts_that_users_write_are_bounded():
    """The API server estimates the cost of rules from these bounds."""
    unbounded = []
    for file, path, node in ALL:
        if path.startswith("status"):
            continue
        if node.get("type") == "array" and not ("maxItems" in node and "x-kubernetes-list-type" in node):
            unbounded.append((file, path))
        if "additionalProperties" in node and "maxProperties" not in node:
            unbounded.append((file, path))
        if node.get("type") == "string" and not ("maxLength" in node or "enum" in node):
            unbounded.append((file, path))
    assert unbounded == []


@pytest.mark.parametrize("file", FILES)
def test_names(file):
    spec = FILES[file]["spec"]
    assert spec["names"]["categories"] == ["unicorn"]
    assert spec["names"]["shortNames"]
    assert spec["scope"] == "Namespaced"
    assert [version["name"] for version in spec["versions"]] == ["v1alpha1"]

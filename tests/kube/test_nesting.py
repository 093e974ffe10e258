"""Documents nested as deeply as an API server takes them. That a real one does: test_cluster.py."""

import json

import pytest
from unicorn_core.errors import Refused
from unicorn_core.resources import PipelineSpec, load
from unicorn_kube.nesting import READ_LEVELS, parse

DEEP = 5000


def nested(levels, opening, closing):
    return opening * levels + closing * levels


def depth(value):
    levels = 0
    while isinstance(value, (dict, list)):
        levels += 1
        value = next(iter(value.values() if isinstance(value, dict) else value), None)
    return levels


@pytest.mark.parametrize(
    ("inner", "why"),
    [
        (nested(DEEP, "[", "]"), "lists"),
        (nested(DEEP, '{"a":', "}").replace(":}", ":1}"), "objects"),
        (nested(DEEP, "[", "]").replace("[]", r'["]]}}\"\\"]'), "brackets in a text are none"),
    ],
)
def test_what_is_too_deep_reads_as_null_and_all_else_is_there(inner, why):
    raw = f'{{"before": [1, {{"x": "]"}}], "deep": {inner}, "after": {{"y": [2]}}}}'.encode()
    with pytest.raises(RecursionError):
        json.loads(raw)
    read = parse(raw)
    assert (read["before"], read["after"]) == ([1, {"x": "]"}], {"y": [2]}), why
    assert depth(read["deep"]) == READ_LEVELS - 1, why


def test_what_is_no_json_stays_none():
    with pytest.raises(ValueError, match="Expecting"):
        parse(b'{"a": ')


@pytest.mark.parametrize("levels", [32, 33, 200])
def test_the_models_take_32_levels(levels):
    value = json.loads(nested(levels, "[", "]"))
    document = {"stages": [{"name": "s", "tasks": [{"name": "t", "python": {"object": "m:f", "args": [value]}}]}]}
    if levels <= 32:
        load(PipelineSpec, document)
        return
    with pytest.raises(Refused, match=r"spec.stages\[0\].tasks\[0\].python.args\[0\].*is nested too deeply"):
        load(PipelineSpec, document)

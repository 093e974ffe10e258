"""Who may use a connector."""

import pytest
from unicorn_core.planning.sharing import may_use
from unicorn_core.resources import ConnectorSpec, load

SELECTED = {"matchLabels": {"team": "a"}, "matchExpressions": [{"key": "stage", "operator": "NotIn", "values": ["test"]}]}


@pytest.mark.parametrize(
    ("namespaces", "namespace", "labels", "allowed", "because"),
    [
        (None, "home", {}, True, "its own namespace"),
        (None, "other", {}, False, "shared with nobody by default"),
        ({"from": "Same"}, "other", {}, False, "shared with nobody"),
        ({"from": "All"}, "other", {}, True, "shared with all"),
        ({"from": "Selector", "selector": SELECTED}, "other", {"team": "a"}, True, "chosen"),
        ({"from": "Selector", "selector": SELECTED}, "other", {"team": "b"}, False, "another label"),
        ({"from": "Selector", "selector": SELECTED}, "other", {"team": "a", "stage": "test"}, False, "all requirements count"),
        ({"from": "Selector", "selector": SELECTED}, "home", {}, True, "its own namespace needs no label"),
        ({"from": "Selector", "selector": {}}, "other", {}, True, "an empty selector chooses every namespace"),
        ({"from": "Selector"}, "other", {}, False, "no selector chooses none"),
    ],
)
def test_may_use(namespaces, namespace, labels, allowed, because):
    sharing = {"sharing": {"namespaces": namespaces}} if namespaces is not None else {}
    spec = load(ConnectorSpec, {"type": "fake", **sharing})
    assert may_use(spec, "home", namespace, labels) is allowed, because


@pytest.mark.parametrize(
    ("operator", "values", "labels", "allowed"),
    [
        ("In", ["a", "b"], {"k": "b"}, True),
        ("In", ["a", "b"], {"k": "c"}, False),
        ("In", ["a"], {}, False),
        ("NotIn", ["a"], {}, True),
        ("NotIn", ["a"], {"k": "a"}, False),
        ("Exists", [], {"k": ""}, True),
        ("Exists", [], {}, False),
        ("DoesNotExist", [], {}, True),
        ("DoesNotExist", [], {"k": "x"}, False),
    ],
)
def test_label_requirements(operator, values, labels, allowed):
    selector = {"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}
    spec = load(ConnectorSpec, {"type": "fake", "sharing": {"namespaces": {"from": "Selector", "selector": selector}}})
    assert may_use(spec, "home", "other", labels) is allowed

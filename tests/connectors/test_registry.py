from importlib.metadata import EntryPoint

import pytest
from unicorn_connectors import registry
from unicorn_core.errors import Refused


def test_our_types_are_declared():
    assert {"fake", "kubernetes", "local"} <= set(registry.type_names())


def test_an_unknown_type_is_refused_with_what_there_is():
    with pytest.raises(Refused, match=r"spec\.type.*local"):
        registry.connector_type("carrier-pigeon")


def test_a_type_that_cannot_be_imported_is_refused_and_leaves_the_others_alone(monkeypatch):
    broken = EntryPoint("broken", "no_such_module:TYPE", registry.GROUP)
    everything = {**registry._entry_points(), "broken": broken}
    monkeypatch.setattr(registry, "_entry_points", lambda: everything)
    with pytest.raises(Refused, match="no_such_module"):
        registry.connector_type("broken")
    assert registry.connector_type("fake").name == "fake"


def test_each_wrong_field_of_a_config_is_named():
    with pytest.raises(Refused) as refused:
        registry.check_config("fake", {"nodes": -1, "colour": "red"})
    assert [problem.path for problem in refused.value.problems] == ["spec.config.nodes", "spec.config.colour"]


def test_a_good_config_is_the_types_own_model():
    assert registry.check_config("fake", {"nodes": 3}).nodes == 3

"""Any name becomes a legal resource name; who is shown under which name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unicorn_core.naming import is_dns_label
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator.names import LONGEST, check_name, name_in, new_suffix, resource_name, shown_names

SLUGS = [
    ("speedtest", "speedtest"),
    ("My Experiment", "my-experiment"),
    ("my+experiment", "my-experiment"),
    ("Übung_1", "ubung-1"),
    ("  --x--  ", "x"),
    ("実験", "experiment"),
    ("'; DROP TABLE experiments; --", "drop-table-experiments"),
    ("$(reboot)", "reboot"),
    ("a" * 300, "a" * 54),
    ("..", "experiment"),
]


@pytest.mark.parametrize(("name", "slug"), SLUGS)
def test_a_resource_name_tells_what_it_can(name: str, slug: str) -> None:
    assert resource_name(name, "12345678") == f"{slug}-12345678"


@given(st.text(min_size=1, max_size=200))
def test_every_name_has_a_legal_resource_name(name: str) -> None:
    assert is_dns_label(resource_name(name, new_suffix()))


SEGMENTS = [
    ("plain", "plain"),
    ("a+b", "a+b"),
    ("a%20b", "a b"),
    ("a%2Bb", "a+b"),
    ("%C3%BC", "ü"),
    ("a%252Fb", "a%2Fb"),
    ("a%2Fb", None),
    ("a%2fb", None),
    ("%7Bname%7D", "{name}"),
]


@pytest.mark.parametrize(("raw", "name"), SEGMENTS)
def test_names_in_paths(raw: str, name: str | None) -> None:
    assert name_in(raw) == name


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x00b", "\ud800", "x" * (LONGEST + 1)])
def test_no_names(name: str) -> None:
    with pytest.raises(ProblemError, match="1 to 1024 characters"):
        check_name(name)


def _object(name: str, annotated: str | None = None, created: str = "1", deleted: bool = False) -> dict:
    annotations = {"netunicorn.io/name": annotated} if annotated else {}
    gone = {"deletionTimestamp": "now"} if deleted else {}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "annotations": annotations, "creationTimestamp": created, **gone}}


SHOWN = [
    ([_object("a")], {}, {"a": "a"}, "kubectl's by its own name"),
    ([_object("x-1", "my name")], {"my name": "uid-x-1"}, {"my name": "x-1"}, "the client's by the client's"),
    ([_object("x-1", "my name")], {}, {"my name": "x-1"}, "also when the record was lost"),
    ([_object("x-1", "n", "2"), _object("x-0", "n", "1")], {}, {"n": "x-0", "x-1": "x-1"}, "the oldest has the name"),
    ([_object("x-1", "n", "1"), _object("x-2", "n", "2")], {"n": "uid-x-2"}, {"n": "x-2", "x-1": "x-1"}, "the record decides"),
    ([_object("n"), _object("x-1", "n")], {"n": "uid-x-1"}, {"n": "x-1", "n (uid-n)": "n"}, "none is hidden"),
    ([_object("a", deleted=True), _object("b", "a")], {}, {"a": "b"}, "one that is being deleted has left its name"),
    ([_object("a", "a")], {"a": ""}, {"a (uid-a)": "a"}, "the name of one without an Experiment is taken"),
]


@pytest.mark.parametrize(("objects", "taken", "expected", "because"), SHOWN, ids=[row[-1] for row in SHOWN])
def test_who_is_shown_under_which_name(objects, taken, expected, because) -> None:
    found = {name: one["metadata"]["name"] for name, one in shown_names(objects, taken).items()}
    assert found == expected, because

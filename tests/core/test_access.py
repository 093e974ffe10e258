"""Access tags: who may have which nodes."""

import pytest
from unicorn_core.access import check_tag, joined, may_have, parsed, tags_of_groups


@pytest.mark.parametrize(
    ("user", "node", "allowed", "because"),
    [
        ({"red"}, set(), True, "a node without tags is everybody's"),
        ({"red"}, {"red", "blue"}, True, "a tag in common"),
        ({"red"}, {"blue"}, False, "none in common"),
        (set(), {"blue"}, True, "a user without tags may have all, as in netunicorn"),
        (None, {"blue"}, False, "nobody knows who it is"),
        (None, set(), True, "which does not matter here"),
    ],
)
def test_who_may_have_a_node(user, node, allowed, because):
    assert may_have(user, node) is allowed, because


def test_tags_of_groups():
    assert tags_of_groups(["system:masters", "netunicorn:tag:red", "netunicorn:tag:", "tag:blue"]) == {"red"}


def test_the_annotation_says_them_all():
    assert parsed(joined({"b", "a"})) == {"a", "b"}
    assert joined({"b", "a"}) == "a,b"
    assert parsed("") == parsed(" , ") == frozenset()


@pytest.mark.parametrize("tag", ["", "a,b", " a", "a\n", "x" * 129])
def test_what_is_no_tag(tag):
    assert check_tag(tag, "tag")
    assert not check_tag("team-a", "tag")

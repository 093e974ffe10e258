"""Which node and slot each executor gets, and what is said when there are too few."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planning.builders import node_uid
from unicorn_core.connector import EnvironmentType
from unicorn_core.planning.allocation import Allocation, Demand, Offer, allocate, candidates, selected
from unicorn_core.resources import NodesSpec, load

ME, OTHER, USER = "experiment:me", "experiment:other", "user:lab/ada"
SHELL, IMAGE = EnvironmentType.SHELL, EnvironmentType.IMAGE
CONNECTOR = node_uid("connector")


def offer(name: str, **more) -> Offer:
    return Offer(node_uid(name), name, CONNECTOR, "lab/campus", **more)


def demand(offers: list[Offer], deployment: str = "clients", environment: EnvironmentType | None = None, **nodes) -> Demand:
    return Demand(deployment, load(NodesSpec, nodes), environment, tuple(offers))


def placed(found: Allocation) -> list[tuple[str | None, int]]:
    return [(one.offer.name if one.offer else None, one.slot) for one in found.placements]


A, B, C = offer("a"), offer("b"), offer("c")
BIG = offer("big", slots=3)
POOL = offer("pool", slots=9, elastic=True)
PICKS = [
    ({"names": ["b", "a"]}, [A, B], {}, ME, [("b", 0), ("a", 0)], "names keep their order: index 0 is the first"),
    ({"names": ["a"]}, [A], {A.uid: {0: OTHER}}, ME, [(None, 0)], "another experiment holds it"),
    (
        {"names": ["a", "a"]},
        [A],
        {},
        ME,
        [("a", 0), ("a", 0)],
        "a node that is named twice shares its slot if need be",
    ),
    ({"names": ["big", "big"]}, [BIG], {}, ME, [("big", 0), ("big", 1)], "on two slots where there are two"),
    ({"names": ["x"]}, [A], {}, ME, [(None, 0)], "no such node"),
    ({"count": 2}, [A, B, C], {}, ME, [("a", 0), ("b", 0)], "as many as asked for"),
    ({"count": 2}, [A, B], {A.uid: {0: OTHER}}, ME, [("b", 0), (None, 0)], "one is missing"),
    ({"count": 4}, [A, BIG], {}, ME, [("a", 0), ("big", 0), ("big", 1), ("big", 2)], "a round over all nodes at a time"),
    ({"count": 2}, [offer("big", slots=3), offer("small")], {}, ME, [("big", 0), ("small", 0)], "filled evenly"),
    ({"count": 2}, [POOL, A], {}, ME, [("a", 0), ("pool", 0)], "devices before pools"),
    ({"count": 2, "names": ["b", "a", "c"]}, [A, B, C], {}, ME, [("b", 0), ("a", 0)], "count of names: the first that are free"),
    ({"all": {}}, [A, B], {}, ME, [("a", 0), ("b", 0)], "an executor on every node that fits"),
    ({"count": 1}, [A], {A.uid: {0: USER}}, USER, [("a", 0)], "one user's experiments share a node"),
    ({"count": 1}, [A], {A.uid: {0: USER}}, ME, [(None, 0)], "but with nobody else"),
    ({"count": 1}, [offer("a", ready=False), B], {}, ME, [("b", 0)], "a node that is not ready is passed over"),
    ({"count": 1}, [A], {A.uid: {0: "orphan:x"}}, ME, [(None, 0)], "an orphan keeps its slot"),
]


@pytest.mark.parametrize(("nodes", "offers", "claims", "holder", "expected", "because"), PICKS, ids=[row[-1] for row in PICKS])
def test_who_gets_which_slot(nodes, offers, claims, holder, expected, because):
    found = allocate([demand(offers, **nodes)], claims, holder)
    assert placed(found) == expected, because
    assert [one.index for one in found.placements] == list(range(len(expected))), "indexes count up, missing or not"
    assert bool(found.shortages) is any(name is None for name, _ in expected)
    assert all(one.reason and one.message for one in found.placements if one.offer is None), "who gets none is told why"


def test_two_deployments_do_not_get_the_same_slot():
    found = allocate([demand([A, B], "x", count=1), demand([A, B], "y", count=1)], {}, ME)
    assert placed(found) == [("a", 0), ("b", 0)]


SHORTAGES = [
    ({"names": ["x"]}, [A], {}, None, "NodeNotFound", "no node is named x"),
    ({"count": 1}, [], {}, None, "NodeNotFound", "no node fits spec.deployments[].nodes"),
    ({"all": {}}, [], {}, None, "NodeNotFound", "no node fits spec.deployments[].nodes"),
    ({"count": 2}, [A, B], {A.uid: {0: OTHER}}, None, "NodesBusy", "1 of 2 nodes are free"),
    ({"count": 1}, [offer("a", ready=False, why_not="OrphanedExecutor")], {}, None, "NodesNotReady", "is not ready: Orphaned"),
    ({"count": 1}, [A], {}, IMAGE, "EnvironmentNotSupported", "node a takes Shell, the environment is Image"),
    ({"count": 2}, [A], {}, None, "NodesBusy", "1 of 2 nodes exist"),
]


@pytest.mark.parametrize(
    ("nodes", "offers", "claims", "environment", "reason", "message"), SHORTAGES, ids=[row[-1] for row in SHORTAGES]
)
def test_what_is_said_of_a_shortage(nodes, offers, claims, environment, reason, message):
    (shortage,) = allocate([demand(offers, environment=environment, **nodes)], claims, ME).shortages
    assert (shortage.deployment, shortage.reason) == ("clients", reason)
    assert message in shortage.message


def test_a_shortage_names_a_node_and_who_holds_it():
    (shortage,) = allocate([demand([A], names=["a"])], {A.uid: {0: OTHER}}, ME).shortages
    assert (shortage.node, shortage.holder) == ("a", OTHER)


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        ("user:netunicorn:bob", "Node a is already locked by netunicorn:bob"),
        (OTHER, "Node a is already locked by another experiment"),
        ("orphan:x", "Node a is already locked by another experiment"),
    ],
)
def test_an_executor_without_its_node_is_told_who_has_it(holder, said):
    (got, lost) = allocate([demand([A, B], names=["a", "b"])], {A.uid: {0: holder}}, USER).placements
    assert (lost.offer, lost.message, got.offer) == (None, said, B)


LAB = offer("lab", properties={"location": "lab", "cores": 4, "gpu": True, "none": None})
FIELD = offer("field", properties={"location": "field", "cores": "16"})
MATCHES = [
    ("location", "In", ["lab", "roof"], ["lab"], "one of the values"),
    ("location", "NotIn", ["lab"], ["field"], "none of the values"),
    ("gpu", "NotIn", ["false"], ["field", "lab"], "what has no such property is not in"),
    ("gpu", "Exists", [], ["lab"], "has it"),
    ("gpu", "DoesNotExist", [], ["field"], "has it not"),
    ("gpu", "In", ["true"], ["lab"], "a boolean as YAML writes it"),
    ("cores", "In", ["4"], ["lab"], "a number as text"),
    ("cores", "Gt", ["4"], ["field"], "compares numbers, not text: 16 > 4"),
    ("cores", "Lt", ["16"], ["lab"], "strictly"),
    ("location", "Gt", ["1"], [], "what is no number compares with none"),
    ("none", "Gt", ["1"], [], "nor does nothing"),
    ("rack", "Lt", ["1"], [], "nor does what is not there"),
]


@pytest.mark.parametrize(("key", "operator", "values", "names", "because"), MATCHES, ids=[row[-1] for row in MATCHES])
def test_requirements(key, operator, values, names, because):
    nodes = load(NodesSpec, {"matchExpressions": [{"key": key, "operator": operator, "values": values}], "all": {}})
    assert [one.name for one in selected(nodes, [LAB, FIELD])] == names, because


def test_candidates_are_all_that_are_competed_for_ready_or_not():
    away = offer("away", ready=False)
    assert candidates([demand([A, away], "x", count=1), demand([A, B], "y", names=["b"])]) == {A.uid, away.uid, B.uid}


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[Demand], dict[UUID, dict[int, str]], str]:
    offers = [
        offer(f"n{index}", slots=draw(st.integers(1, 3)), ready=draw(st.integers(0, 4)) > 0)
        for index in range(draw(st.integers(0, 4)))
    ]
    claims = {
        one.uid: draw(st.dictionaries(st.integers(0, one.slots - 1), st.sampled_from([OTHER, USER]), max_size=one.slots))
        for one in offers
    }
    kinds = [st.fixed_dictionaries({"count": st.integers(1, 5)}), st.just({"all": {}})]
    if offers:
        names = st.lists(st.sampled_from([one.name for one in offers]), min_size=1, max_size=4)
        kinds.append(st.fixed_dictionaries({"names": names}))
    wanted = [demand(offers, f"d{index}", **draw(st.one_of(kinds))) for index in range(draw(st.integers(1, 3)))]
    return wanted, claims, draw(st.sampled_from([ME, USER]))


@settings(settings.get_profile("planning"))
@given(markets())
def test_whatever_is_asked_for_nobody_loses_a_slot(market):
    wanted, claims, holder = market
    before = {uid: dict(slots) for uid, slots in claims.items()}
    found = allocate(wanted, claims, holder)
    assert claims == before, "what was given is not changed"
    used: dict[tuple[UUID, int], int] = {}
    for one in found.placements:
        if one.offer is None:
            continue
        assert one.offer.ready
        assert 0 <= one.slot < one.offer.slots
        assert claims[one.offer.uid].get(one.slot, holder) == holder, "somebody else's slot"
        used[one.offer.uid, one.slot] = used.get((one.offer.uid, one.slot), 0) + 1
    named = any(one.nodes.names is not None for one in wanted)
    assert holder == USER or named or all(number == 1 for number in used.values()), "an exclusive slot was given twice"
    for one in wanted:
        short = any(shortage.deployment == one.deployment for shortage in found.shortages)
        mine = [place for place in found.placements if place.deployment == one.deployment]
        assert short is (not mine or any(place.offer is None for place in mine)), "a shortage says that somebody got none"


ARM, STRANGE = (
    offer("arm", architecture="linux/arm64", environments=frozenset({IMAGE, SHELL})),
    offer("strange", environments=frozenset({IMAGE})),
)
AMD, AMD2 = (offer(name, architecture="linux/amd64", environments=frozenset({IMAGE, SHELL})) for name in ("amd", "amd2"))
AMD64, BOTH = frozenset({"linux/amd64"}), frozenset({"linux/amd64", "linux/arm64"})
ARCHITECTURES = [
    ({"count": 1}, [ARM, AMD], AMD64, IMAGE, ["amd"], "", "the node that fits is taken"),
    ({"count": 2}, [ARM, AMD], BOTH, IMAGE, ["amd", "arm"], "", "there is an image for each"),
    ({"count": 2}, [ARM, AMD], None, IMAGE, ["amd", "arm"], "", "it is not known yet which there are"),
    ({"count": 2}, [ARM, AMD], AMD64, SHELL, ["amd", "arm"], "", "a shell needs no image"),
    ({"count": 1}, [STRANGE], AMD64, IMAGE, ["strange"], "", "a node that does not tell is believed to fit"),
    ({"names": ["arm"]}, [ARM, AMD], AMD64, IMAGE, [None], "ArchitectureNotSupported", "it was named, and cannot run it"),
    ({"count": 2}, [ARM, AMD], AMD64, IMAGE, ["amd", None], "ArchitectureNotSupported", "there are never enough"),
    ({"all": {}}, [ARM, AMD], AMD64, IMAGE, ["amd", None], "ArchitectureNotSupported", "all were asked for"),
]


@pytest.mark.parametrize(
    ("nodes", "offers", "platforms", "environment", "names", "reason", "because"),
    ARCHITECTURES,
    ids=[one[-1] for one in ARCHITECTURES],
)
def test_architectures(nodes, offers, platforms, environment, names, reason, because):
    found = allocate([replace(demand(offers, environment=environment, **nodes), platforms=platforms)], {}, ME)
    assert [name for name, _ in placed(found)] == names, because
    assert [one.reason for one in found.shortages] == ([reason] if reason else [])
    assert all(one.hopeless for one in found.shortages), "waiting does not help"


def test_a_node_that_fits_and_is_taken_is_waited_for():
    wanted = replace(demand([ARM, AMD, AMD2], environment=IMAGE, count=2), platforms=AMD64)
    (shortage,) = allocate([wanted], {AMD.uid: {0: OTHER}}, ME).shortages
    assert (shortage.reason, shortage.hopeless, shortage.holder) == ("NodesBusy", False, OTHER)


def test_what_is_said_of_a_node_that_does_not_fit():
    wanted = replace(demand([ARM], environment=IMAGE, names=["arm"]), platforms=AMD64)
    found = allocate([wanted], {}, ME)
    assert found.shortages[0].message == "node arm is linux/arm64, the environment has images for linux/amd64"
    assert found.placements[0].message == found.shortages[0].message

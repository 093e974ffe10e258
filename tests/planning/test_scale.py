"""Ten thousand executors: each is looked at a few times, none is compared with all others."""

import pytest
from planning.builders import NOON, SECOND, executor, gone, observed, operations
from planning.test_allocation import ME, OTHER, POOL, demand, offer
from unicorn_core.planning.allocation import allocate
from unicorn_core.planning.experiment import plan_experiment
from unicorn_core.planning.views import ConnectorState, ExecutorView, FreeLeases, Observed, RecordOrphans

MANY = 10_000


@pytest.fixture(autouse=True)
def _no_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    """What compares executors does so with all of them, sooner or later; ids are there for that."""

    def refuse(*_: object) -> bool:
        raise AssertionError("two executors were compared")

    monkeypatch.setattr(ExecutorView, "__eq__", refuse)


def crowd(state: str, phase: str = "Running", **more: object) -> Observed:
    return observed(phase, *(executor(state, index, **more) for index in range(MANY)))


@pytest.mark.parametrize(
    ("more", "after", "effect", "because"),
    [
        ({"operations": operations(start="Done", stop="Done"), "cleanup": False}, SECOND, FreeLeases, "all are stopped"),
        ({"operations": operations(start="Done", stop="Pending")}, 400 * SECOND, RecordOrphans, "none is"),
        ({"connector": ConnectorState.GONE}, SECOND, RecordOrphans, "their connector is gone"),
    ],
)
def test_the_end_of_many(more: dict[str, object], after: object, effect: type, because: str) -> None:
    plan = plan_experiment(crowd("Running", "Finishing", **more), NOON + after)  # type: ignore[operator]
    (found,) = (one for one in plan.effects if isinstance(one, effect))
    assert len(found.executors) == MANY, because  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("state", "more", "because"),
    [
        ("Running", {"heard": NOON - 3600 * SECOND, "released": NOON - 3600 * SECOND, "keep_alive": SECOND}, "all fell silent"),
        ("Starting", gone(1), "none came up"),
        ("Running", {"cancel_requested": NOON - 3600 * SECOND, "operations": operations(stop="Done")}, "all were cancelled"),
        ("Failed", {"connector": ConnectorState.DELETING, "connector_deleting_since": NOON}, "their connector goes"),
    ],
)
def test_many_that_end_for_one_reason_are_few_effects(state: str, more: dict[str, object], because: str) -> None:
    plan = plan_experiment(crowd(state, **more), NOON + 60 * SECOND)
    assert 0 < len(plan.effects) <= 4, because


def test_nodes_for_many() -> None:
    nodes = [offer(f"n{index:05}") for index in range(MANY)]
    claims = {one.uid: {0: OTHER} for one in nodes[::2]}
    names = [one.name for one in nodes]
    found = allocate([demand(nodes, names=names)], claims, ME)
    assert sum(one.offer is None for one in found.placements) == MANY // 2, "half of them are somebody else's"
    assert sum(one.offer is None for one in allocate([demand(nodes, count=MANY)], claims, ME).placements) == MANY // 2
    strangers = allocate([demand(nodes, names=[f"x{index}" for index in range(MANY)])], {}, ME)
    assert len(strangers.placements) == MANY


@pytest.mark.parametrize("nodes", [{"count": MANY}, {"names": ["pool"] * MANY}], ids=["counted", "named"])
def test_a_pool_for_many(nodes: dict[str, object]) -> None:
    pool = offer("pool", slots=2 * MANY, elastic=True)
    found = allocate([demand([pool], **nodes)], {pool.uid: dict.fromkeys(range(0, MANY, 2), OTHER)}, ME)
    assert len({one.slot for one in found.placements}) == MANY
    assert not found.shortages


def test_a_pool_that_many_share() -> None:
    found = allocate([demand([POOL], names=["pool"] * MANY)], {}, ME)
    assert [one.slot for one in found.placements[:10]] == [*range(9), 0], "what is named more often than it has slots is shared"
    assert not found.shortages

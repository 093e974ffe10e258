"""From what is ordered to what is made of it."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from orders_kit import SHELL, body, deployment, graph, on, with_runtime
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.mediator import orders, preparing
from unicorn_gateway.user_api.mediator.nodes import ConnectorName, Device, Inventory

LAB = ConnectorName("home", "lab")
ADA = Caller("ada", "netunicorn:ada", (), "home")
POOL = Device(uuid4(), LAB, "pool", slots=10_000, elastic=True, kinds=frozenset({"ShellExecution"}))


class Counted(tuple):
    """Counts how often somebody goes through all of it."""

    passes = 0

    def __iter__(self):
        Counted.passes += 1
        return super().__iter__()


def made(*sent: dict[str, Any]) -> Any:
    ordered = orders.read(body(*sent))
    digests = [order.graph.hex().zfill(64)[-64:] for order in ordered.orders]
    return preparing._new("x", ADA, ordered, digests, Inventory("home", (LAB,), (POOL,)), "python:{version}")


def test_many_environments_cost_no_look_at_all_orders_each() -> None:
    sent = [
        deployment(node=on(f"pool-{index}"), environment_definition={**SHELL, "commands": [str(index)]}) for index in range(60)
    ]
    ordered = orders.read(body(*sent))
    counted = replace(ordered, orders=Counted(ordered.orders))
    inventory = Inventory("home", (LAB,), (POOL,))
    Counted.passes = 0
    resolved = preparing.resolve(counted, inventory, frozenset())
    grouped = preparing._grouped(counted, resolved, ["0" * 64] * 60, "home", "x-12345678", "")
    assert len(grouped.spec["deployments"]) == 60
    assert Counted.passes == 3, "to place them, to know their architectures, to group them"


def test_what_was_read_back_and_is_prepared_again_is_grouped_as_before() -> None:
    """Each environment that is read back holds the id of its own executor."""
    ours = [{"NETUNICORN_EXECUTOR_ID": str(uuid4()), "NETUNICORN_EXPERIMENT_ID": "e", "A": "1"} for _ in range(50)]
    again = made(
        *(
            deployment(node=on(f"pool-{index}"), environment_definition=with_runtime(environment_variables=one))
            for index, one in enumerate(ours)
        )
    )
    (one,) = again.manifest["experiment"]["spec"]["deployments"]
    assert len(one["nodes"]["names"]) == 50
    assert one["environment"]["runtime"]["env"] == [{"name": "A", "value": "1"}]


SIZES = [
    ("small", {"spec": "x"}, {"e": {"x": "y"}}, ""),
    ("as large as may be", {"spec": "x" * (preparing.LARGEST - 11)}, {}, ""),
    ("one byte more", {"spec": "x" * (preparing.LARGEST - 10)}, {}, "The experiment, with 7 different deployments, would"),
    ("in bytes, not characters", {"spec": "ä" * (preparing.LARGEST // 2)}, {}, "The experiment, with 7"),
    ("an environment", {}, {"small": {}, "large": {"x": "x" * preparing.LARGEST}}, "An environment would have"),
]  # fmt: skip


@pytest.mark.parametrize(("experiment", "environments", "said"), [row[1:] for row in SIZES], ids=[row[0] for row in SIZES])
def test_what_is_too_large_for_kubernetes(experiment: Any, environments: Any, said: str) -> None:
    manifest = {"experiment": experiment, "environments": environments}
    if not said:
        preparing.check_sizes(manifest, 7)
        return
    with pytest.raises(ProblemError) as problem:
        preparing.check_sizes(manifest, 7)
    assert problem.value.status == 400
    assert problem.value.detail.startswith(said)
    assert "which may have 1048576: " in problem.value.detail


def test_a_thousand_different_graphs_are_not_too_large() -> None:
    sent = [deployment(node=on(f"pool-{index}"), execution_graph=graph(str(index).encode())) for index in range(1000)]
    assert len(made(*sent).manifest["experiment"]["spec"]["deployments"]) == 1000

"""A pass that is refused, which nobody expects: the experiment says so."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
from unicorn_core.errors import Broken, Problem, Refused
from unicorn_operator.key import Key
from unicorn_operator.status import condition_of

reconcile: Any = import_module("unicorn_operator.experiments.reconcile")
REFUSED = Refused(Problem("spec.deployments[0].environment", "is no environment of this version"))


@pytest.mark.parametrize(
    ("status", "error", "shown"),
    [
        ({}, REFUSED, "Invalid"),
        ({"phase": "Preparing", "message": "m"}, REFUSED, "Invalid"),
        ({"phase": "Preparing"}, Broken("away"), "Broken"),
        ({}, Broken("away"), "Broken"),
    ],
    ids=["a new one", "one under way", "what will pass", "what will pass before there is a status"],
)
async def test_a_pass_that_raises_is_shown(monkeypatch, status, error, shown):
    written: list[dict[str, Any]] = []

    async def write(_world: object, _kind: str, _item: object, status: dict[str, Any], *, judged: bool) -> bool:
        assert not judged, "nobody looked at the spec"
        written.append(status)
        return True

    async def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(reconcile, "write_status", write)
    monkeypatch.setattr(reconcile, "guarded", fail)
    metadata = {"namespace": "lab", "name": "e", "uid": "7f0c1d1e-0000-4000-8000-000000000000"}
    item = {"metadata": metadata, "spec": {"deployments": []}, "status": status}
    experiments = SimpleNamespace(get=lambda *_: item, by_uid=lambda _: item)
    world = SimpleNamespace(caches=SimpleNamespace(experiments=experiments), settings=SimpleNamespace(webhook=False))
    with pytest.raises(type(error)):
        await reconcile.reconcile(Key("Experiment", "lab", "e"), world, None)  # type: ignore[arg-type]
    assert [condition_of({"status": one}, "Reconciled")["reason"] for one in written] == [shown]
    assert all(one.get("message") == status.get("message") for one in written)

"""What leaves a pass over an experiment, for the worker to decide upon."""

import importlib
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from unicorn_core.errors import Conflict, NotFound
from unicorn_operator.cache import Caches
from unicorn_operator.experiments import reconcile
from unicorn_operator.key import Key

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("error", [Conflict("changed meanwhile"), NotFound("gone meanwhile")])
async def test_an_object_that_changed_meanwhile_is_left_to_the_back_off(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not tried again each tenth of a second for ever."""
    metadata = {"namespace": "lab", "name": "e", "uid": "00000000-0000-0000-0000-00000000e4e4", "resourceVersion": "1"}
    caches = Caches()
    caches.experiments.put({"kind": "Experiment", "metadata": metadata, "spec": {}})

    async def raising(*_: Any) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("unicorn_operator.experiments.reconcile"), "guarded", raising)
    world = SimpleNamespace(caches=caches, settings=SimpleNamespace(webhook=False))
    with pytest.raises(Conflict):
        await reconcile(Key("Experiment", "lab", "e"), world, NOON)  # type: ignore[arg-type]

"""The record of an experiment: whatever its resource holds, it can be written, and so the resource can go."""

import uuid
from datetime import UTC, datetime

import pytest
from unicorn_core.resources.characters import check_characters, storable
from unicorn_store import Store, records
from unicorn_store.experiments import mirror_status

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("document", "paths", "because"),
    [
        ({"a": "b", "c": [1, None, True, 0.5]}, [], "an ordinary one"),
        ({"a": [{"b": "x\0"}]}, ["spec.a[0].b"], "however deep"),
        ({"a\0": "\0"}, ["spec['a\\x00']"], "a key; what it names is named by nothing"),
        ({"a": ["\0"] * 99}, [f"spec.a[{index}]" for index in range(10)], "the first ten are enough"),
    ],
)
def test_nul_is_found_and_replaced(document: object, paths: list[str], because: str) -> None:
    assert [problem.path for problem in check_characters(document)] == paths, because
    assert check_characters(storable(document)) == []
    assert storable({"a": ("b", 1)}) == {"a": ["b", 1]}, "all else stays"


async def test_an_experiment_that_nobody_should_have_taken_can_be_recorded(store: Store) -> None:
    uid = uuid.uuid4()
    await mirror_status(
        store,
        uid=uid,
        namespace="lab",
        name="e",
        user="ann",
        spec={"deployments": [{"na\0me": "d\0"}]},
        created=NOON,
        status={"phase": "Failed", "attempt": 1, "reason": "Invalid", "message": "found \0"},
        started=None,
        ended=NOON,
    )
    record = await records.experiment(store, uid)
    assert record is not None
    assert (record.phase, record.message) == ("Failed", "found \ufffd")

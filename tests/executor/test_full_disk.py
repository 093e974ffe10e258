"""A disk that is full: a small one of memory, which a task fills."""

import subprocess

import pytest
from conftest import reaches
from executor_graphs import chain
from unicorn_executor.room import FULL, Room
from unicorn_executor.spool import Journal

FILL = "dd if=/dev/zero of={}/fill bs=4k 2>/dev/null; echo full > {}/fill2 2>/dev/null; "


@pytest.fixture
def disk(tmp_path):
    """8 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs takes root")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


async def test_the_next_task_may_clear_up(start, faults, disk):
    graph = chain(
        fill={"run": FILL.format(disk, disk)}, clear={"run": f"rm {disk}/fill"}, on={"script": "result = 'x' * 100_000"}
    )
    agent = await start({**graph, "earlyStopping": False}, spool=disk / "spool")
    result = await agent.result(60)
    assert result["results"]["clear"][0]["outcome"] == "Success"
    assert result["results"]["on"][0]["value"] == "x" * 100_000
    ends = [event["task"] for event in await agent.events("TaskFinished")]
    assert ends == ["fill", "clear", "on"]


async def test_without_room_it_waits_and_is_heard(start, faults, disk, workdir):
    """A value that no reserve holds."""
    value = "open('ready', 'w').close()\nresult = 'x' * 1_000_000"
    graph = chain(fill={"run": FILL.format(disk, disk)}, large={"script": value}, on={"run": "echo on"})
    agent = await start({**graph, "earlyStopping": False}, spool=disk / "spool", keep_alive=4.0)
    await reaches(lambda: agent.said("the disk is full: waiting for room"))
    before = len(faults.heard)

    async def is_heard():
        return len(faults.heard) >= before + 2

    await reaches(is_heard)
    (disk / "fill").unlink()
    result = await agent.result(60)
    assert result["results"]["large"][0]["value"] == "x" * 1_000_000
    assert await agent.printed("on") == "on\n"


def test_a_record_that_does_not_fit_leaves_no_part_of_itself(disk):
    journal = Journal(disk / "journal.jsonl")
    journal.add({"kind": "TaskStarted"})
    with pytest.raises(OSError, match="No space left"):
        journal.add({"value": "x" * 9_000_000})
    journal.add({"kind": "TaskFinished"})
    assert journal.records() == [{"kind": "TaskStarted"}, {"kind": "TaskFinished"}]
    journal.close()


def test_the_reserve_is_given_away_and_set_aside_again(disk):
    room = Room(disk / "reserve")
    assert (disk / "reserve").exists()
    subprocess.run(["dd", "if=/dev/zero", f"of={disk / 'fill'}", "bs=4k"], stderr=subprocess.DEVNULL, check=False)
    room.patiently(lambda: (disk / "small").write_bytes(bytes(10_000)))
    assert not (disk / "reserve").exists()
    (disk / "fill").unlink()
    room.patiently(lambda: None)
    assert (disk / "reserve").exists()


def test_other_errors_are_not_waited_out(tmp_path):
    def broken():
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        Room(tmp_path / "reserve").patiently(broken)
    assert 5 not in FULL

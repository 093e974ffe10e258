"""The queue on disk: order, numbers, restarts, and what is dropped when it is full."""

import json

import pytest
from unicorn_executor import event_queue
from unicorn_executor.event_queue import EventQueue, without_logs


@pytest.fixture
def make(tmp_path):
    made = []

    def make(limit=10**9, boot="boot-1"):
        queue = EventQueue(tmp_path, boot, limit=lambda _held: limit)
        made.append(queue)
        return queue

    yield make
    for queue in made:
        queue.close()


def log(text):
    return {"kind": "Log", "stream": "agent", "wall": 1.5, "mono": 2.5, "text": text}


def started(run):
    return {"kind": "TaskStarted", "task": "a", "run": run, "try": 1, "wall": 1.5, "mono": 2.5}


def sent(batch):
    return [json.loads(line).get("run") or json.loads(line)["text"] for line in batch.lines]


def everything(queue):
    events = []
    while (batch := queue.seal()) is not None:
        events += [json.loads(line) for line in batch.lines]
        queue.stored(batch.last)
    return events


def test_events_are_numbered_in_order(make):
    queue = make()
    assert queue.seal() is None
    for run in (1, 2, 3):
        queue.add(started(run))
    batch = queue.seal()
    assert (batch.first, batch.last, batch.boot, sent(batch)) == (1, 3, "boot-1", [1, 2, 3])
    queue.add(started(4))
    assert queue.seal() == batch, "the same until it is stored"
    queue.stored(2)
    assert (queue.seal().first, sent(queue.seal())) == (3, [3]), "stored in part"
    queue.stored(3)
    assert (queue.seal().first, sent(queue.seal())) == (4, [4])
    queue.stored(4)
    assert queue.is_empty
    assert queue.next_number == 5


def test_a_batch_has_at_most_256_events_and_a_megabyte(make):
    queue = make()
    for run in range(1, 301):
        queue.add(started(run))
    for _ in range(100):
        queue.add(log("x" * 15_000))
    sizes = []
    while (batch := queue.seal()) is not None:
        sizes.append((len(batch.lines), sum(map(len, batch.lines))))
        queue.stored(batch.last)
    assert sum(count for count, _ in sizes) == 400
    assert max(count for count, _ in sizes) == 256
    assert max(size for _, size in sizes) <= 1_000_000


def test_after_a_restart_the_same_numbers_carry_the_same_events(make):
    queue = make()
    for run in (1, 2, 3):
        queue.add(started(run))
    queue.seal()
    queue.add(started(4))
    again = make(boot="boot-2")
    again.add(started(5))
    assert [event["run"] for event in again.unsent()] == [1, 2, 3, 4, 5]
    assert again.continue_at(2), "the gateway has stored the first one"
    batch = again.seal()
    assert (batch.first, batch.boot, sent(batch)) == (2, "boot-1", [2, 3])
    again.stored(3)
    assert (again.seal().boot, sent(again.seal())) == ("boot-1", [4]), "events of two boots don't travel together"
    again.stored(4)
    assert (again.seal().boot, sent(again.seal())) == ("boot-2", [5])


def test_an_acknowledged_batch_is_not_sent_again_after_a_restart(make):
    queue = make()
    queue.add(started(1))
    queue.stored(queue.seal().last)
    again = make()
    assert again.continue_at(2)
    assert again.seal() is None
    assert again.next_number == 2


def test_a_line_that_was_torn_is_left_out(make, tmp_path):
    make().add(started(1))
    with (tmp_path / "events" / "0000000001.jsonl").open("ab") as file:
        file.write(b'{"kind":"TaskSt')
    again = make()
    again.add(started(2))
    assert [event["run"] for event in everything(again)] == [1, 2]


def test_a_gap(make):
    queue = make()
    for run in (1, 2, 3):
        queue.add(started(run))
    queue.seal()
    queue.stored(1)
    assert queue.continue_at(3), "it has more than it said"
    assert sent(queue.seal()) == [3]
    assert not queue.continue_at(1), "it has lost some: the numbers go on from what it has"
    assert (queue.seal().first, sent(queue.seal())) == (1, [3])
    assert queue.continue_at(9), "it has even more than is here: all of this batch is there"
    assert queue.seal() is None
    queue.add(started(4))
    assert queue.seal().first == 9


def test_a_refused_event_is_found_and_replaced(make):
    queue = make()
    for run in (1, 2, 3, 4):
        queue.add(started(run))
    queue.seal()
    assert queue.shorten()
    assert sent(queue.seal()) == [1, 2]
    assert queue.shorten()
    assert sent(queue.seal()) == [1]
    assert not queue.shorten(), "it is this one"
    queue.give_up(log("refused"))
    assert sent(queue.seal())[:1] == ["refused"]
    queue.stored(1)
    assert (queue.seal().first, sent(queue.seal())[:1]) == (2, [2])


def test_a_full_queue_drops_the_oldest_log_chunks_and_nothing_else(make, monkeypatch, tmp_path):
    monkeypatch.setattr(event_queue, "SEGMENT_BYTES", 10_000)
    queue = make(limit=50_000)
    for run in range(1, 51):
        queue.add(started(run))
        for part in range(20):
            queue.add(log(f"{run}-{part} " + "x" * 400))
        assert sum(path.stat().st_size for path in (tmp_path / "events").iterdir()) < 80_000
    events = everything(queue)
    assert [event["run"] for event in events if event["kind"] == "TaskStarted"] == list(range(1, 51))
    kept = [event["text"].split()[0] for event in events if event["kind"] == "Log"]
    dropped = [event for event in events if event["kind"] == "LogDropped"]
    assert len(kept) + sum(event["chunks"] for event in dropped) == 1000
    assert kept[-60:] == [f"{run}-{part}" for run in (48, 49, 50) for part in range(20)], "the newest are there"
    assert sum(event["bytes"] for event in dropped) > 300_000
    assert list((tmp_path / "events").iterdir()) == [
        tmp_path / "events" / f"{max(int(p.stem) for p in (tmp_path / 'events').iterdir()):010}.jsonl"
    ]


def test_counts_are_merged_and_keep_their_place():
    lines = [
        json.dumps(event, separators=(",", ":")).encode() for event in (log("ab"), log("é"), started(1), log("x"), started(2))
    ]
    once = without_logs(lines)
    assert [json.loads(line)["kind"] for line in once] == ["LogDropped", "TaskStarted", "LogDropped", "TaskStarted"]
    assert json.loads(once[0]) == {"kind": "LogDropped", "wall": 1.5, "mono": 2.5, "chunks": 2, "bytes": 4}
    twice = without_logs([once[0], *once[:1], *once[1:]])
    assert json.loads(twice[0])["chunks"] == 4


def test_a_full_disk_costs_log_chunks_and_tears_no_line(make, monkeypatch):
    queue = make()
    queue.add(started(1))
    write = event_queue.write_all

    def full(fd, data):
        write(fd, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(event_queue, "write_all", full)
    queue.add(log("lost"))
    queue.add(log("lost, too"))
    with pytest.raises(OSError, match="No space left"):
        queue.add(started(2))
    monkeypatch.setattr(event_queue, "write_all", write)
    queue.add(log("kept"))
    events = everything(queue)
    assert [event["kind"] for event in events] == ["TaskStarted", "LogDropped", "Log"]
    assert (events[1]["chunks"], events[1]["bytes"]) == (2, 13)


def test_a_full_disk_leaves_the_batch_and_its_place_as_they_were(make, monkeypatch):
    queue = make()
    for run in (1, 2):
        queue.add(started(run))

    def full(path, content):
        raise OSError(28, "No space left on device")

    replace = event_queue.replace
    monkeypatch.setattr(event_queue, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        queue.seal()
    monkeypatch.setattr(event_queue, "replace", replace)
    assert sent(queue.seal()) == [1, 2]
    monkeypatch.setattr(event_queue, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        queue.stored(1)
    monkeypatch.setattr(event_queue, "replace", replace)
    assert (queue.seal().first, sent(queue.seal())) == (1, [1, 2]), "it is sent again, and acknowledged again"


def test_where_no_next_segment_can_be_opened_the_present_one_grows(make, monkeypatch):
    monkeypatch.setattr(event_queue, "SEGMENT_BYTES", 500)
    queue = make()

    def full(number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(queue, "_open", full)
    for run in range(1, 21):
        queue.add(started(run))
    monkeypatch.undo()
    queue.add(started(21))
    assert [event["run"] for event in everything(queue)] == list(range(1, 22))


def test_a_batch_holds_what_it_is_asked_for(make):
    queue = make()
    for run in range(1, 11):
        queue.add(started(run))
    length = len(json.dumps(started(1), separators=(",", ":"))) + 1
    assert sent(queue.seal(3 * length)) == [1, 2, 3]
    assert sent(queue.seal(1)) == [1], "one at least"
    queue.stored(3)
    assert sent(queue.seal(length * 2)) == [4, 5]


TORN = [
    ("empty", b""),
    ("no JSON", b'{"first": 1, "seg\n'),
    ("JSON, and no header", b'{"kind": "Log"}\n'),
    ("zeros", bytes(100)),
]


@pytest.mark.parametrize(("name", "content"), TORN, ids=[row[0] for row in TORN])
def test_an_outbox_that_was_torn_loses_nothing(make, tmp_path, monkeypatch, name, content):
    """The machine died: what was sealed is sealed anew, under the numbers that the gateway expects."""
    queue = make()
    for run in (1, 2):
        queue.add(started(run))
    queue.seal()
    (tmp_path / "outbox.jsonl").write_bytes(content)
    again = make()
    assert again.continue_at(1), name
    again.add(started(3))
    batch = again.seal()
    assert (batch.first, sent(batch)) == (1, [1, 2])
    again.stored(2)
    assert sent(again.seal()) == [3]

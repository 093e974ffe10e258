"""The log of netunicorn's executor: each report has all of it, and only what is new is stored."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from unicorn_store import Connection
from unicorn_store import executor_gateway as rows
from unicorn_store.executor_gateway import Batch, ExecutorRow

from unicorn_gateway.bodies import storable_text
from unicorn_gateway.executor_api import limits
from unicorn_gateway.executor_api.authentication import Caller

_AT_ONCE = 64  # chunks a statement


def new_lines(log: Sequence[str], stored: int, final: bool) -> Sequence[str]:
    """What of this log comes after its first `stored` lines; before the end its last line may not be whole yet."""
    whole = len(log) if final or not log or log[-1].endswith("\n") else len(log) - 1
    return log[stored:whole]


def chunks(lines: Sequence[str]) -> Iterator[str]:
    """Lines together, at most V1_LOG_CHUNK characters; a longer line in parts."""
    gathered, size = list[str](), 0
    for line in lines:
        for start in range(0, len(line), limits.V1_LOG_CHUNK):
            part = line[start : start + limits.V1_LOG_CHUNK]
            if size + len(part) > limits.V1_LOG_CHUNK:
                yield "".join(gathered)
                gathered, size = [], 0
            gathered.append(part)
            size += len(part)
    if gathered:
        yield "".join(gathered)


async def store(connection: Connection, caller: Caller, row: ExecutorRow, texts: Sequence[str]) -> int:
    """As events that continue the stored ones; the row is locked. Returns the last number. What exceeds the quota is counted."""
    last, wall = row.last_seq, time.time()
    for start in range(0, len(texts), _AT_ONCE):
        logs, size = list[dict[str, Any]](), 0
        for number, text in enumerate(texts[start : start + _AT_ONCE], last + 1):
            text = storable_text(text)
            size += len(text.encode())
            logs.append({"seq": number, "stream": "agent", "wall": wall, "content": text, "upto": size})
        batch = Batch(
            executor=row.id,
            instance=caller.instance,
            fence=caller.fence,
            before=last,
            last=last + len(logs),
            boot_id=None,
            events=[],
            logs=logs,
            log_bytes=size,
            log_quota=limits.LOG_QUOTA,
        )
        await rows.store_batch(connection, batch)
        last = batch.last
    return last

"""The events, as the protocol has them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Optional

from unicorn_executor.compact import encode
from unicorn_executor.spool import replace

EVENT_BYTES = 16 * 1024


def stamps() -> dict[str, float]:
    """Now: seconds since the epoch, and of this boot's monotonic clock."""
    return {"wall": round(time.time(), 6), "mono": round(time.monotonic(), 6)}


def boot_id() -> str:
    """Names this boot of the machine; made up where the system doesn't say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return f"boot-{round(time.time() - time.monotonic())}"


def log(text: str, stream: str, task: Optional[str] = None, run: Optional[int] = None) -> dict[str, Any]:
    event: dict[str, Any] = {"kind": "Log"}
    if task is not None:
        event.update(task=task, run=run)
    event.update(stream=stream, **stamps(), text=text)
    return event


def fitted(event: dict[str, Any], blobs: Path) -> dict[str, Any]:
    """The event, its value put into a blob where it is too large."""
    if "value" not in event or len(encode(event)) <= EVENT_BYTES:
        return event
    rest = {key: value for key, value in event.items() if key != "value"}
    return {**rest, "blob": store_blob(encode(event["value"]), blobs)}


def sha256(content: bytes) -> str:
    """A blob's name."""
    import hashlib  # here: it brings OpenSSL, and few executors have blobs

    return hashlib.sha256(content).hexdigest()


def store_blob(content: bytes, blobs: Path) -> str:
    """Its SHA-256, which is its name."""
    digest = sha256(content)
    replace(blobs / digest, content)
    return digest

"""Uploading a blob, resumable: what the gateway has of it already is not sent again."""

from __future__ import annotations

from collections.abc import Callable

from unicorn_executor.gateway import Gateway, Reply, TooMuch


class BlobRefused(Exception):
    """The gateway does not take it: too large, or the executor has too many."""


def upload(gateway: Gateway, digest: str, read: Callable[[], bytes], between: Callable[[], None]) -> None:
    """`read` gives the bytes, `between` is called before each part. Raises BlobRefused, and what `Gateway.call` raises. A file
    that is gone was uploaded before."""
    route = f"/v2/executor/blobs/{digest}"
    head = gateway.call("HEAD", route)
    if head.status == 200 and head.headers.get("unicorn-complete") == "true":
        return
    try:
        content = read()
    except FileNotFoundError:
        return
    offset = int(head.headers.get("unicorn-offset") or 0) if head.status == 200 else 0
    mismatches = 0
    while True:
        between()
        part = content[offset : offset + gateway.pace.size]
        try:
            reply = gateway.call("PUT", f"{route}?offset={offset}&size={len(content)}", part, divisible=True)
        except TooMuch:
            continue
        if reply.status in (200, 201) and isinstance(reply.document, dict):
            if reply.document.get("complete"):
                return
            offset = int(reply.document["offset"])
            continue
        mismatches += 1
        if mismatches > 3:
            raise BlobRefused(reply.describe())
        offset = _next_offset(reply)


def _next_offset(reply: Reply) -> int:
    if reply.status == 409 and isinstance(reply.document, dict):
        return int(reply.document.get("expected", 0))
    if reply.status == 422:
        return 0  # the gateway has discarded what it had
    raise BlobRefused(reply.describe())

"""The final report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional

from unicorn_graph import Outcome

from unicorn_executor.blobs import BlobRefused, upload
from unicorn_executor.compact import encode
from unicorn_executor.gateway import Gateway, Refused, TooMuch
from unicorn_executor.spool import Journal
from unicorn_executor.wire import sha256

RESULT = "/v2/executor/result"
INLINE_BYTES = 1000 * 1000  # larger results travel as a blob; the request stays below 1 MiB
BLOB_BYTES = 64 * 1024 * 1024
LONGEST_MESSAGE = 1024

_OPTIONAL = ("results", "blob", "report")
_RESULT_FIELDS = ("outcome", "value", "notJson", "error", "reason")


def build(outcome: Outcome, first_error: str, journal: Optional[Journal]) -> dict[str, Any]:
    """The result's document, without `lastSequence`. `journal`: where the results are, None when none are to be reported."""
    document: dict[str, Any] = {"outcome": outcome.outcome}
    if outcome.reason:
        message = first_error if outcome.reason == "TaskFailed" else outcome.message
        document.update(reason=outcome.reason, message=message[:LONGEST_MESSAGE])
    if journal is not None:
        try:
            document["results"] = _results(journal)
        except (OSError, ValueError, KeyError) as error:  # better an outcome without results than none
            document.setdefault("message", f"the results cannot be read: {type(error).__name__}: {error}")
    return document


def send(gateway: Gateway, document: dict[str, Any], last: int, between: Callable[[], None]) -> None:
    """Until the gateway has it; `between` is called before each part of a large one. Raises Refused, Superseded."""
    results = document.get("results")
    if results is not None:
        _shorten(results)
        content = encode(results)
        if len(content) > min(INLINE_BYTES, gateway.pace.size):
            document = _with_blob(gateway, document, content, between)
    while True:
        between()
        try:
            reply = gateway.call("PUT", RESULT, {**document, "lastSequence": last}, divisible="results" in document)
        except TooMuch:
            document = _with_blob(gateway, document, encode(document["results"]), between)
            continue
        if reply.status == 404:
            raise Refused(reply.describe())
        if reply.status == 409 and isinstance(reply.document, dict) and "expected" in reply.document:
            last = int(reply.document["expected"]) - 1  # the gateway has lost events that nobody has any more
        elif reply.status >= 400 and any(key in document for key in _OPTIONAL):
            # Better an outcome without results than none.
            document = {key: value for key, value in document.items() if key not in _OPTIONAL}
            document.setdefault("message", f"the results were refused: {reply.status} {reply.reason}")
        elif reply.status >= 400:
            raise Refused(reply.describe())
        else:
            return


def with_report(gateway: Gateway, document: dict[str, Any], report: bytes, between: Callable[[], None]) -> dict[str, Any]:
    """The document, with what netunicorn's client gets. Raises Refused, Superseded."""
    digest = sha256(report)
    try:
        upload(gateway, digest, lambda: report, between)
    except BlobRefused as error:
        return {**document, "message": f"the report was refused: {error}"}
    return {**document, "report": digest}


def _with_blob(gateway: Gateway, document: dict[str, Any], content: bytes, between: Callable[[], None]) -> dict[str, Any]:
    rest = {key: value for key, value in document.items() if key != "results"}
    digest = sha256(content)
    try:
        upload(gateway, digest, lambda: content, between)
    except BlobRefused as error:
        return {**rest, "message": f"the results were refused: {error}"}
    return {**rest, "blob": digest}


def _results(journal: Journal) -> dict[str, list[dict[str, Any]]]:
    results: dict[str, list[dict[str, Any]]] = {}
    for record in journal.records():
        if record.get("final"):
            entry: dict[str, Any] = {
                key: record[key] for key in ("outcome", "value", "notJson", "error", "reason") if key in record
            }
            results.setdefault(record["task"], []).append(entry)
    return results


def _shorten(results: dict[str, list[dict[str, Any]]]) -> None:
    """Replaces the largest values until the whole fits into a blob: each is in its event's blob as well."""
    sizes = [(len(encode(entry.get("value"))), entry) for entries in results.values() for entry in entries]
    total = sum(size + 200 for size, _ in sizes)
    for size, entry in sorted(sizes, key=lambda item: item[0], reverse=True):
        if total <= BLOB_BYTES:
            return
        entry.update(value={"repr": f"<{size} bytes, in the event of this run>"}, notJson=True)
        total -= size

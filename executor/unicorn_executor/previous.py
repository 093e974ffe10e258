"""What earlier task runs of the graph gave, read from the agent's journal as it grows."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

FINISHED = "TaskFinished"


class Previous:
    """Keeps up with a journal. Values that are not JSON stay pickled until a task's process asks for them."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self.records: list[dict[str, Any]] = []  # of the last tries of runs that have ended

    def refresh(self) -> None:
        """Reads what was added since the last time."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:
            return
        complete = added[: added.rfind(b"\n") + 1]
        self._offset += len(complete)
        self.records.extend(
            record for record in map(json.loads, complete.splitlines()) if record["kind"] == FINISHED and record.get("final")
        )

    def results(self) -> dict[str, list[dict[str, Any]]]:
        """Task -> its runs in order, each `{"outcome", "value", "error"}`. To be called in a task's process: it unpickles."""
        found: dict[str, list[dict[str, Any]]] = {}
        for record in self.records:
            entry = {"outcome": record["outcome"], "value": _value(record), "error": record.get("error")}
            found.setdefault(record["task"], []).append(entry)
        return found


def _value(record: dict[str, Any]) -> Any:
    if "pickle" in record:
        try:
            return pickle.loads(base64.b64decode(record["pickle"]))  # noqa: S301 - made by a task of this same executor
        except Exception:  # noqa: S110 - a class that this process cannot import: what can be shown of it has to do
            pass
    value: Any = record.get("value")
    return value["repr"] if record.get("notJson") else value

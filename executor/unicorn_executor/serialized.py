"""The agent's part in running a graph that netunicorn's client pickled: it never loads one, its worker's children do.

Below the spool:
```
serialized/graph.pickle   as the gateway gave it, named by its SHA-256 in the assignment
serialized/graph.json     its structure, once it was loaded: a restart does not load it again
serialized/names.json, serialized/tasks/   by the process that loaded it
serialized/log            what netunicorn's client gets as the log
serialized/report.pickle  [Result, [log line]]
```
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Optional

from unicorn_graph import Outcome

from unicorn_executor import client_graph, wire
from unicorn_executor.aside import Aside
from unicorn_executor.gateway import Gateway, GatewayError, Refused
from unicorn_executor.launcher import Launcher
from unicorn_executor.loop import Loop
from unicorn_executor.settings import Settings
from unicorn_executor.spool import Spool, replace

GRAPH, REPORT = "/v2/executor/graph", "/v2/executor/report"
LOG_BYTES = 16 * 1024 * 1024  # of the log in the report; all of it is in the executor's log
REPORT_BYTES = 4 * 1024 * 1024  # of one that is not final
REPORT_SECONDS = 10.0  # between two of them
REPORT_GRACE = 15.0  # seconds that the final one may take after a cancel

Show = Callable[[dict[str, Any]], None]


class SerializedGraph:
    """A companion of the engine. Its calls that wait run a loop of their own, and end with `cancel`."""

    def __init__(self, assignment: Mapping[str, Any], settings: Settings, spool: Spool, gateway: Gateway) -> None:
        self._digest = str(assignment["graph"]["serialized"]["sha256"])
        self._executor = assignment["executor"]
        self._token = settings.token
        self._gateway, self._journal = gateway, spool.journal.path
        self._room, self._directory = spool.room, spool.directory / "serialized"
        self._directory.mkdir(exist_ok=True)
        self._log_path = self._directory / "log"
        self._log = open(self._log_path, "ab")  # noqa: SIM115 - open as long as the agent is
        self._cancelled, self._abandoned = threading.Event(), threading.Event()
        self._loop: Optional[Loop] = None
        self._launcher: Optional[Launcher] = None
        self._sender: Optional[threading.Thread] = None
        self._reported = 0  # bytes of the journal and the log that the last report told of
        self.environment: Mapping[str, str] = library_environment(settings, self._executor)

    @property
    def is_loaded(self) -> bool:
        return self._kept.exists()

    @property
    def _kept(self) -> Path:
        return self._directory / "graph.json"

    def structure(self) -> dict[str, Any]:
        """`{"graph": document, "unchecked": bool}`; it is loaded."""
        kept: dict[str, Any] = json.loads(self._kept.read_bytes())
        return kept

    def fetch(self) -> Path:
        """Raises Refused, Superseded."""
        path = self._directory / "graph.pickle"
        if path.exists() and wire.sha256(path.read_bytes()) == self._digest:
            return path
        reply = self._gateway.another().call("GET", GRAPH, opaque=True)
        if reply.status != 200 or wire.sha256(reply.content) != self._digest:
            raise Refused(f"the serialized graph {self._digest} was not given: {reply.describe()}")
        self._room.patiently(lambda: replace(path, reply.content))
        return path

    def attach(self, launcher: Launcher) -> None:
        """Its workers know what all tasks of such a graph need."""
        self._launcher = launcher
        launcher.modules = client_graph.MODULES
        launcher.start()

    def load(self, show: Show) -> Optional[Outcome]:
        """None: it is loaded. Else why it cannot be run."""
        job = {"load": str(self.fetch()), "into": str(self._directory / "tasks")}
        answer = self._ask(job, show)
        if answer is None:
            return Outcome("Failure", "Cancelled", "the run was cancelled")
        if answer["outcome"] == "Success":
            self._room.patiently(lambda: replace(self._kept, json.dumps(answer["value"]).encode()))
            return None
        reason = answer["reason"] if answer["reason"] in ("GraphUnloadable", "GraphInvalid") else "GraphUnloadable"
        return Outcome("Failure", reason, answer["error"])

    def cancel(self) -> None:
        """From any thread: loading ends, a report has a few seconds more."""
        self._cancelled.set()
        self._wake()

    def abandon(self) -> None:
        """From any thread: nobody takes anything of it any more."""
        self._abandoned.set()
        self._wake()

    def _wake(self) -> None:
        loop = self._loop
        if loop is not None:
            loop.post(lambda: None)

    # -- as the engine's companion

    def begin(self, loop: Loop) -> None:
        loop.after(REPORT_SECONDS, lambda: self._report_so_far(loop))

    def note(self, event: dict[str, Any]) -> None:
        event["text"] = event["text"].replace(self._token, "x" * len(self._token))
        with contextlib.suppress(OSError):  # the disk is full; the executor's log has it
            self._write_log(event["text"].encode("utf-8", "replace"))

    def report(self, outcome: Outcome, show: Show) -> tuple[bytes, Outcome]:
        """The final one, and the outcome: another one where no report can be made."""
        answer = self._ask(self._report_job(outcome), show, REPORT_GRACE)
        if answer is None:
            return b"", Outcome("Failure", "Cancelled", "the run was cancelled")
        content = self._made(answer, show)
        if content is None and outcome.reason == "Cancelled":
            return b"", outcome
        if content is None:
            reason = "ResultTooLarge" if answer["reason"] == "ResultTooLarge" else "AgentError"
            return b"", Outcome("Failure", reason, f"netunicorn's report cannot be made: {answer['error']}")
        return content, outcome

    # -- within

    def _write_log(self, text: bytes) -> None:
        if self._log.tell() < LOG_BYTES:
            self._log.write(text)
            self._log.flush()
            if self._log.tell() >= LOG_BYTES:
                self._log.write(b"\n[the rest is in the executor's log only]\n")
                self._log.flush()

    def _report_so_far(self, loop: Loop) -> None:
        told = self._journal.stat().st_size + self._log.tell()
        is_sending = self._sender is not None and self._sender.is_alive()  # an older one, while the gateway is away
        if told == self._reported or is_sending or self._launcher is None:
            loop.after(REPORT_SECONDS, lambda: self._report_so_far(loop))
            return
        self._reported = told

        def done(answer: dict[str, Any]) -> None:
            content = self._made(answer, self.note)
            if content is not None and len(content) <= REPORT_BYTES:
                self._sender = threading.Thread(target=self._send, args=(content,), name="report", daemon=True)
                self._sender.start()
            loop.after(REPORT_SECONDS, lambda: self._report_so_far(loop))

        Aside(loop, self._launcher, self._order(self._report_job(Outcome("Success"))), self.note, done)

    def _send(self, content: bytes) -> None:
        gateway = self._gateway.another()
        try:
            gateway.call("PUT", REPORT, content)
        except GatewayError:
            pass  # who sends events hears of it too
        finally:
            gateway.close()

    def _report_job(self, outcome: Outcome) -> dict[str, Any]:
        job = {"report": str(self._directory / "report.pickle"), "log": str(self._log_path)}
        if outcome.reason != "GraphUnloadable":
            job["outcome"] = outcome.outcome
        if self.is_loaded:
            job["tasks"] = str(self._directory / "tasks")
        return job

    def _made(self, answer: Mapping[str, Any], show: Show) -> Optional[bytes]:
        if answer["outcome"] != "Success":
            show(wire.log(f"netunicorn's report cannot be made: {answer['error']}\n", "agent"))
            return None
        content = (self._directory / "report.pickle").read_bytes()
        return content.replace(self._token.encode(), b"x" * len(self._token))  # of equal length: it stays a pickle

    def _ask(self, job: Mapping[str, Any], show: Show, grace: float = 0.0) -> Optional[dict[str, Any]]:
        """None when it was cancelled, and not answered within `grace` seconds from then on."""
        assert self._launcher is not None
        answers: list[dict[str, Any]] = []
        loop = self._loop = Loop({})
        until = float("inf")

        def goes_on() -> bool:
            nonlocal until
            if self._cancelled.is_set() and until == float("inf"):
                until = time.monotonic() + grace
                loop.after(grace, lambda: None)
            return not answers and not self._abandoned.is_set() and time.monotonic() < until

        try:
            Aside(loop, self._launcher, self._order(job), show, answers.append)
            loop.run_while(goes_on)
        finally:
            self._loop = None
        return answers[0] if answers else None

    def _order(self, job: Mapping[str, Any]) -> dict[str, Any]:
        environment = {"UNICORN_EXECUTOR_ID": str(self._executor["id"]), **self.environment}
        return {"name": "", "task": {"serialized": dict(job)}, "executor": self._executor, "environment": environment}


def library_environment(settings: Settings, executor: Mapping[str, Any]) -> dict[str, str]:
    """What netunicorn's own executor has: tasks of its library talk to the gateway themselves. It holds the token."""
    environment = {
        client_graph.ENDPOINT: f"{settings.gateway}/x/{settings.token}",
        "NETUNICORN_EXECUTOR_ID": str(executor["id"]),
        "NETUNICORN_EXPERIMENT_ID": str(executor.get("experimentUid", "")),
    }
    if settings.ca_file and "REQUESTS_CA_BUNDLE" not in os.environ:
        environment["REQUESTS_CA_BUNDLE"] = settings.ca_file
    return environment

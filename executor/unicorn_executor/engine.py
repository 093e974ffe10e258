"""Runs the graph: starts what the scheduler says, watches the processes, writes down what happens."""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional, Protocol

from unicorn_graph import Graph, Outcome, Scheduler, TaskRun

from unicorn_executor import wire
from unicorn_executor.attempt import Attempt, failure, result_of_exit, run_value
from unicorn_executor.channel import PROCESS, RESULT
from unicorn_executor.ending import LOOK, end, find_all, find_task
from unicorn_executor.event_queue import EventQueue
from unicorn_executor.flags import FlagTask
from unicorn_executor.gateway import Gateway, GatewayError
from unicorn_executor.launcher import Launcher
from unicorn_executor.loop import Loop
from unicorn_executor.output import Output
from unicorn_executor.spool import Spool
from unicorn_executor.upkeep import Upkeep

LINGER = 0.2  # seconds that a half-full log chunk waits for more
DRAIN_BYTES = 4 * 1024 * 1024  # read at most this much from a finished task's pipe at once: something may still write


class Companion(Protocol):
    """Who goes along with a run of the graph."""

    environment: Mapping[str, str]  # of every task, beside what all tasks have

    def begin(self, loop: Loop) -> None:
        """The run begins; the loop is its own."""

    def note(self, event: dict[str, Any]) -> None:
        """A log chunk, before it is sent; its text may be changed."""


class Engine:
    """`run` returns the outcome; None when it was interrupted by a signal or by an error from the gateway (`error`).

    To be made before anything of `queue` is sent: it looks there for what a killed agent's journal lacks.
    """

    def __init__(
        self,
        graph: Graph,
        executor: Mapping[str, Any],
        spool: Spool,
        queue: EventQueue,
        launcher: Launcher,
        gateway: Gateway,
        notify: Callable[[], None],
        companion: Optional[Companion] = None,
    ) -> None:
        self._graph, self._executor, self._companion = graph, executor, companion
        self._spool, self._queue, self._launcher, self._gateway = spool, queue, launcher, gateway
        self._notify = notify
        self._loop = Loop(
            {
                signal.SIGCHLD: lambda: self._upkeep.reap(),
                signal.SIGTERM: lambda: self._stop("Interrupted", "the agent was told to stop"),
                signal.SIGINT: lambda: self._stop("Interrupted", "the agent was told to stop"),
            }
        )
        self._scheduler = Scheduler(graph)
        self._upkeep = Upkeep(self._loop, launcher, self)
        self.attempts: dict[int, Attempt] = {}  # those under way, by run number
        self._pausing: dict[int, dict[str, Any]] = {}  # run number -> the record of its last try, while it waits for the next
        self._readers: dict[int, Callable[[], int]] = {}  # of open pipes, also of those that finished tasks left to others
        self._outputs: set[Output] = set()  # that hold something back
        self._stopping: Optional[str] = None  # the reason
        self._swept = False
        self._records = self._recover()
        self.library_environment: Mapping[str, str] = {}  # of tasks from netunicorn's library
        self.token: Optional[str] = None  # that stands in it
        self.error: Optional[GatewayError] = None
        self.first_error = ""  # of the first task run that failed

    def run(self) -> Optional[Outcome]:
        self._upkeep.watch()
        if self._companion is not None:
            self._companion.begin(self._loop)
        self._resume()
        self._loop.run_while(lambda: not self._is_done())
        # What tasks left in the background ends with the graph.
        end(self._loop, find_all(lambda: self._launcher.pid, os.getpid()), self._sweep_done)
        self._loop.run_while(lambda: not self._swept)
        for read in list(self._readers.values()):  # what was written between the last look at a pipe and its writer's end
            _drain(read)
        self._flush_outputs()
        return None if self.error or self._stopping == "Interrupted" else self._scheduler.outcome

    # -- from other threads

    def command(self, name: str) -> None:
        if name == "Cancel":
            self._loop.post(lambda: self._stop("Cancelled", "the experiment was cancelled"))

    def fail(self, error: GatewayError) -> None:
        """The gateway will not have us: everything ends without a word."""
        self._loop.post(lambda: self._give_up(error))

    # -- the graph

    def _resume(self) -> None:
        """Replays the journal; on an empty one this is a plain start."""
        records = self._records
        begun = {run.number: run for run in self._scheduler.start()}
        last: dict[int, dict[str, Any]] = {}
        for record in records:
            last[record["run"]] = record
            if record.get("final"):
                self._note_failure(record)
                begun.update((run.number, run) for run in self._scheduler.finished(record["run"], record["outcome"]))
        for number in list(self._scheduler.running):
            record = last.get(number, {})
            if not record:
                self._start(begun[number].number, begun[number].task, 1)
            elif record["kind"] == "TaskStarted":
                interrupted = Attempt(number, record["try"], record["task"], {})
                self._finish(interrupted, failure("the agent was restarted while it ran", "Interrupted"))
            else:
                self._start(number, record["task"], record["try"] + 1)

    def _recover(self) -> list[dict[str, Any]]:
        """The journal, and what the agent wrote into the queue just before it was killed but not yet into the journal."""
        records = self._spool.journal.records()
        known = {(record["kind"], record["run"], record["try"]) for record in records}
        for event in self._queue.unsent():
            if event["kind"] in ("TaskStarted", "TaskFinished") and (event["kind"], event["run"], event["try"]) not in known:
                if "blob" in event:
                    event["value"] = json.loads((self._spool.blobs / event["blob"]).read_bytes())
                record = {**event, "final": event["kind"] == "TaskFinished"}
                self._spool.journal.add(record)
                records.append(record)
        return records

    def _begin(self, runs: Iterable[TaskRun]) -> None:
        for run in runs:
            self._start(run.number, run.task, 1)

    def _start(self, run: int, task: str, number: int) -> None:
        spec = self._graph.tasks[task]
        attempt = self.attempts[run] = Attempt(run, number, task, spec)
        event = {"kind": "TaskStarted", "task": task, "run": run, "try": number, **wire.stamps()}
        self._queue.add(event)
        self._spool.room.patiently(lambda: self._spool.journal.add(event))
        if "flag" in spec:
            attempt.flag = FlagTask(self._gateway.another(), spec["flag"], run, lambda result: self._post_flag(attempt, result))
        else:
            self._launch(attempt)
        if attempt.timeout is not None:
            attempt.timer = self._loop.after(attempt.timeout, lambda: self._time_out(attempt))
        self._notify()

    def _launch(self, attempt: Attempt) -> None:
        add = self._add_log
        environment = {
            "UNICORN_TASK": attempt.task,
            "UNICORN_RUN": str(attempt.run),
            "UNICORN_EXECUTOR_ID": str(self._executor["id"]),
            "UNICORN_EXECUTOR_INDEX": str(self._executor["index"]),
        }
        if self._companion is not None:
            environment.update(self._companion.environment)
        elif str(attempt.spec.get("python", {}).get("object", "")).startswith("netunicorn."):
            environment.update(self.library_environment)
            add = self._add_redacted
        order = {"name": attempt.task, "task": attempt.spec, "executor": self._executor, "environment": environment}
        pipes = self._launcher.order(attempt.run, attempt.number, order)
        if pipes is None:
            # The worker was killed and the loop has not heard of it yet.
            self._upkeep.restart()
            pipes = self._launcher.order(attempt.run, attempt.number, order)
        if pipes is None:
            self._finish(attempt, failure("no worker can be kept alive", "Crashed"))
            return
        attempt.worker = self._launcher.pid
        attempt.report = pipes.report
        attempt.stdout = Output(attempt.task, attempt.run, "stdout", add)
        attempt.stderr = Output(attempt.task, attempt.run, "stderr", add)
        attempt.sources = [(pipes.stdout, attempt.stdout), (pipes.stderr, attempt.stderr)]
        for fd, output in attempt.sources:
            self._readers[fd] = functools.partial(self._read, attempt, fd, output)
            self._loop.watch(fd, self._readers[fd])
        self._loop.watch(pipes.report, lambda: self.read_report(attempt))

    def relaunch(self, attempt: Attempt) -> None:
        """In another worker, when nothing of it has run."""
        self._drain_all(attempt)
        self._launch(attempt)

    def _finish(self, attempt: Attempt, result: Mapping[str, Any], pickled: bytes = b"") -> None:
        """The end of a try: written down, then the next try or what the graph says."""
        self.attempts.pop(attempt.run, None)
        if attempt.timer is not None:
            self._loop.cancel(attempt.timer)
        self._close_report(attempt)
        self._drain_all(attempt)
        event = {
            "kind": "TaskFinished",
            "task": attempt.task,
            "run": attempt.run,
            "try": attempt.number,
            **wire.stamps(),
            **result,
        }
        again = result["outcome"] == "Failure" and attempt.tries_left and not self._stopping
        record = {**event, "final": not again}
        if pickled:
            record["pickle"] = pickled.decode("ascii")
        patiently = self._spool.room.patiently
        self._queue.add(patiently(lambda: wire.fitted(event, self._spool.blobs)))
        patiently(lambda: self._spool.journal.add(record))
        self._notify()
        if again:
            self._pausing[attempt.run] = record
            self._loop.after(attempt.backoff, lambda: self._try_again(attempt))
            return
        self._note_failure(record)
        self._begin(self._scheduler.finished(attempt.run, str(result["outcome"])))

    def _try_again(self, attempt: Attempt) -> None:
        if self._pausing.pop(attempt.run, None) is not None:
            self._start(attempt.run, attempt.task, attempt.number + 1)

    def _note_failure(self, record: Mapping[str, Any]) -> None:
        if record["outcome"] == "Failure" and not self.first_error:
            self.first_error = f"task {record['task']} failed: {record.get('error', '')}"

    def _is_done(self) -> bool:
        return self._scheduler.is_done

    # -- the ends that we make

    def _time_out(self, attempt: Attempt) -> None:
        if self.is_current(attempt) and attempt.ending is None:
            self._end_attempt(attempt, failure(f"timed out after {attempt.timeout:g} s", "Timeout"))

    def _end_attempt(self, attempt: Attempt, result: dict[str, Any]) -> None:
        if attempt.flag is not None:
            attempt.flag.stop()
            self._finish(attempt, result)
            return
        self.read_report(attempt)
        if not attempt.pid and attempt.report >= 0:  # so young that its pid is not known yet
            self._loop.after(LOOK, lambda: self._time_out(attempt))
            return
        attempt.ending = result
        find = find_task(attempt.pid, attempt.run, str(self._executor["id"]), os.getpid())
        end(self._loop, find, lambda: self._ended(attempt))

    def _stop(self, reason: str, message: str) -> None:
        """Cancel, or a signal: ends everything that runs; nothing starts any more."""
        if self._stopping is not None or self._is_done():
            return
        self._stopping = reason
        self._scheduler.cancel()
        for run, record in list(self._pausing.items()):
            del self._pausing[run]
            self._spool.room.patiently(functools.partial(self._spool.journal.add, {**record, "final": True}))
            self._note_failure(record)
            self._scheduler.finished(run, "Failure")
        doomed = list(self.attempts.values())
        for attempt in doomed:
            if attempt.flag is not None:
                self._end_attempt(attempt, failure(message, reason))
            else:
                attempt.ending = attempt.ending or failure(message, reason)

        def ended() -> None:
            for attempt in doomed:
                self._ended(attempt)

        end(self._loop, find_all(lambda: self._launcher.pid, os.getpid()), ended)

    def _ended(self, attempt: Attempt) -> None:
        if not self.is_current(attempt) or attempt.ending is None:
            return
        self._drain_all(attempt)
        value = {"value": run_value(attempt, None)} if "run" in attempt.spec else {}
        self._finish(attempt, {**attempt.ending, **value})

    def _give_up(self, error: GatewayError) -> None:
        self.error = self.error or error
        self._stop("Interrupted", str(error))

    def _sweep_done(self) -> None:
        self._swept = True

    # -- what processes say

    def _read(self, attempt: Attempt, fd: int, output: Output) -> int:
        """Takes what a pipe gives now; bytes read, 0 when it gives nothing (any more)."""
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return 0
        if not data:
            self._loop.forget(fd)
            del self._readers[fd]
            os.close(fd)
            attempt.sources.remove((fd, output))
            output.flush()
            self._outputs.discard(output)
            return 0
        output.feed(data)
        if output.has_waiting:
            if not self._outputs:
                self._loop.after(LINGER, self._flush_outputs)
            self._outputs.add(output)
        return len(data)

    def _drain_all(self, attempt: Attempt) -> None:
        """Everything that a finished task has written. Its pipes stay open for what it left in the background."""
        for fd, output in list(attempt.sources):
            _drain(self._readers[fd])
            output.flush()

    def _flush_outputs(self) -> None:
        for output in self._outputs:
            output.flush()
        self._outputs.clear()

    def _add_redacted(self, event: dict[str, Any]) -> None:
        """Of a task whose environment holds the token."""
        token = self.token or ""
        self._add_log({**event, "text": event["text"].replace(token, "x" * len(token))})

    def _add_log(self, event: dict[str, Any]) -> None:
        if self._companion is not None:
            self._companion.note(event)
        self._queue.add(event)
        self._notify()

    def read_report(self, attempt: Attempt) -> bool:
        """Takes what the task's own report gives now; whether there may be more."""
        if attempt.report < 0:
            return False
        try:
            data = os.read(attempt.report, 1024 * 1024)
        except BlockingIOError:
            return False
        if not data:
            self._close_report(attempt)
            return False
        for kind, document, pickled in attempt.frames.feed(data):
            if kind == PROCESS:
                attempt.pid = int(document)
            elif kind == RESULT and attempt.ending is None and self.is_current(attempt):
                self._finish(attempt, json.loads(document), pickled)
                return False
        return True

    def _close_report(self, attempt: Attempt) -> None:
        if attempt.report >= 0:
            self._loop.forget(attempt.report)
            os.close(attempt.report)
            attempt.report = -1

    def exited(self, run: int, number: int, status: Optional[int]) -> None:
        attempt = self.attempts.get(run)
        if attempt is None or attempt.number != number:
            return  # its report was here before
        while self.read_report(attempt):
            pass
        if self.is_current(attempt) and attempt.ending is None:
            self._drain_all(attempt)
            self._finish(attempt, result_of_exit(attempt, status))

    def is_current(self, attempt: Attempt) -> bool:
        return self.attempts.get(attempt.run) is attempt

    def _post_flag(self, attempt: Attempt, result: Any) -> None:
        self._loop.post(lambda: self._flag_done(attempt, result))

    def _flag_done(self, attempt: Attempt, result: Any) -> None:
        if isinstance(result, GatewayError):
            self._give_up(result)
        elif self.is_current(attempt):
            self._finish(attempt, result)


def _drain(read: Callable[[], int]) -> None:
    total = 0
    while total < DRAIN_BYTES:
        count = read()
        if not count:
            return
        total += count

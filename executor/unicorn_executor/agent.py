"""The agent from its start to its exit code: check in, run the graph, report."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Mapping
from typing import Any, Optional

from unicorn_graph import Graph, GraphError, Outcome, parse, problems

from unicorn_executor import processes, wire
from unicorn_executor.engine import Engine
from unicorn_executor.event_queue import EventQueue, disk_limit
from unicorn_executor.gateway import Faulty, Gateway, GatewayError, Refused, Superseded
from unicorn_executor.launcher import Launcher
from unicorn_executor.report import build, send, with_report
from unicorn_executor.say import say
from unicorn_executor.seed import Seed
from unicorn_executor.serialized import SerializedGraph, library_environment
from unicorn_executor.settings import Settings, SettingsError, forget, read
from unicorn_executor.spool import Spool, SpoolLocked
from unicorn_executor.uplink import Uplink

DONE, FAULT, REFUSED, SUPERSEDED, LOCKED, TOLD_TO_STOP = 0, 1, 3, 4, 5, 6

WAIT = 25  # seconds that the gateway holds a check-in
LAST_WORDS = 5.0  # seconds to send what there is after a signal


_Parsed = tuple[Optional[Graph], Optional[Outcome]]


class _Terminated(BaseException):
    """SIGTERM or SIGINT while nothing of the graph runs."""


def main(seed: Optional[Seed]) -> int:
    """The exit codes are the protocol's. `seed`: the first worker, if it was forked."""
    signal.signal(signal.SIGTERM, _terminate)
    signal.signal(signal.SIGINT, _terminate)
    try:
        processes.hide()
        sys.setswitchinterval(0.001)  # the engine need not wait for the uplink
        settings = read(os.environ)
        forget(os.environ)
        os.makedirs(settings.workdir, exist_ok=True)
        return Agent(settings, seed).run()
    except SettingsError as error:
        say(str(error))
        return FAULT
    except SpoolLocked:
        say("another agent lives on this spool")
        return LOCKED
    except Refused as error:
        say(f"refused: {error}")
        return REFUSED
    except Superseded:
        return SUPERSEDED  # without a word
    except _Terminated:
        return TOLD_TO_STOP
    except (OSError, Faulty) as error:
        say(f"{type(error).__name__}: {error}")
        return FAULT


class Agent:
    def __init__(self, settings: Settings, seed: Optional[Seed]) -> None:
        self._settings = settings
        self._spool = Spool(settings.spool)
        directory, patiently = self._spool.directory, self._spool.room.patiently
        self._queue = EventQueue(directory, wire.boot_id(), limit=disk_limit(directory), patiently=patiently)
        self._gateway = Gateway(settings, self._spool.instance)
        processes.adopt_orphans()
        self._serialized: Optional[SerializedGraph] = None
        self._launcher = Launcher(settings.workdir, self._spool.journal.path, self._spool.worker_lock, seed)

    def run(self) -> int:
        """Raises Refused, Superseded, OSError."""
        try:
            assignment = self._check_in()
            return DONE if assignment is None else self._run(assignment)
        finally:
            self._launcher.close()
            self._gateway.close()

    def _check_in(self) -> Optional[dict[str, Any]]:
        """The assignment once it is released; None when there is nothing to do (any more)."""
        self._log(f"asking {self._settings.gateway} what to do")
        while True:
            reply = self._gateway.call("GET", f"/v2/executor/assignment?wait={WAIT}", wait=WAIT)
            if reply.status != 200:
                raise Refused(reply.describe())
            state = reply.document["state"]
            if state == "Released":
                return dict(reply.document)
            if state != "Waiting":
                self._log(f"the executor is {state.lower()}: nothing to do")
                return None

    def _run(self, assignment: dict[str, Any]) -> int:
        executor = assignment["executor"]
        kept = self._spool.assignment()
        if kept is not None and kept["executor"]["id"] != executor["id"]:
            raise OSError(
                f"the spool {self._spool.directory} belongs to executor {kept['executor']['id']}: give this one its own"
            )
        self._spool.keep_assignment(assignment)
        self._queue.continue_at(int(assignment["nextSequence"]))
        heartbeat = float(assignment.get("heartbeatSeconds", 10.0))
        self._gateway.longest_pause = heartbeat  # after an outage of the gateway it hears of us within keepAlive
        serialized = self._serialized = self._serialized_graph(assignment)
        engine: Optional[Engine] = None
        ends: list[GatewayError] = []

        def on_command(name: str) -> None:
            if engine is not None:
                engine.command(name)
            if serialized is not None and name == "Cancel":
                serialized.cancel()

        def on_end(error: GatewayError) -> None:
            ends.append(error)
            if engine is not None:
                engine.fail(error)
            if serialized is not None:
                serialized.abandon()

        uplink = Uplink(
            self._gateway,
            self._queue,
            self._spool.journal,
            self._spool.blobs,
            self._spool.room,
            heartbeat,
            on_command,
            on_end,
        )
        loads = serialized is not None and not serialized.is_loaded
        if loads:  # nothing of the graph has run, so there is nothing for an engine to recover before anything is sent
            uplink.start()
        graph, outcome = self._graph(assignment["graph"], serialized)
        message = outcome.message if outcome is not None else ""
        if ends:
            raise ends[0]
        if graph is not None:
            engine = Engine(graph, executor, self._spool, self._queue, self._launcher, self._gateway, uplink.notify, serialized)
            engine.library_environment, engine.token = library_environment(self._settings, executor), self._settings.token
            if not loads:
                uplink.start()
            elif ends:  # between the look above and the engine
                engine.fail(ends[0])
            try:
                outcome = engine.run()
            except Exception as error:
                traceback.print_exc()
                outcome = Outcome("Failure", "AgentError", f"{type(error).__name__}: {error}")
            message = engine.first_error
        else:
            self._log(f"the graph cannot be run: {message}")
            if not loads:
                uplink.start()
        if engine is not None and engine.error is not None:
            raise engine.error
        if outcome is None:
            self._launcher.close()
            self._log("told to stop before the graph ended")
            uplink.drain(LAST_WORDS)
            return TOLD_TO_STOP
        self._log(f"the graph ended: {outcome.outcome}{f' ({outcome.reason})' if outcome.reason else ''}")
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, _terminate)
        reports = bool(assignment["graph"].get("reportResults", True)) if graph is None else graph.report_results
        report = b""
        if serialized is not None and reports:
            report, outcome = serialized.report(outcome, self._add_log)
        self._launcher.close()
        is_all_sent = uplink.drain()
        if ends:
            raise ends[0]
        if not is_all_sent:
            raise Faulty("not all events could be sent")
        document = build(outcome, message, self._spool.journal if reports else None)
        if report:
            document = with_report(self._gateway, document, report, uplink.beat)
        send(self._gateway, document, self._queue.next_number - 1, uplink.beat)
        return DONE

    def _serialized_graph(self, assignment: Mapping[str, Any]) -> Optional[SerializedGraph]:
        if "serialized" not in assignment["graph"]:
            return None
        serialized = SerializedGraph(assignment, self._settings, self._spool, self._gateway)
        serialized.attach(self._launcher)
        return serialized

    def _graph(self, document: Mapping[str, Any], serialized: Optional[SerializedGraph]) -> _Parsed:
        """The graph, or what comes of it as it cannot be run. Raises Refused, Superseded."""
        if serialized is None:
            return _parsed(document)
        if not serialized.is_loaded:
            failed = serialized.load(self._add_log)
            if failed is not None:
                return None, failed
        loaded = serialized.structure()
        structure = loaded["graph"]
        reports = bool(structure["reportResults"] and document.get("reportResults", True))
        self._log(f"the serialized graph is loaded: {sum(map(bool, structure['tasks'].values()))} tasks")
        return _parsed({**structure, "reportResults": reports}, unchecked=loaded["unchecked"])

    def _log(self, text: str) -> None:
        say(text)
        self._add_log(wire.log(text + "\n", "agent"))

    def _add_log(self, event: dict[str, Any]) -> None:
        if self._serialized is not None:
            self._serialized.note(event)
        self._queue.add(event)


def _parsed(document: Any, *, unchecked: bool = False) -> _Parsed:
    """The graph, or what is wrong with it."""
    try:
        graph = parse(document)
    except GraphError as error:
        return None, Outcome("Failure", "GraphInvalid", str(error))
    faults = problems(graph, unchecked=unchecked)
    if not faults:
        return graph, None
    return None, Outcome("Failure", "GraphInvalid", "; ".join(f"{fault.path}: {fault.message}" for fault in faults))


def _terminate(_number: int, _frame: Any) -> None:
    raise _Terminated

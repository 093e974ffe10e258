"""POST /x/{token}/api/v1/executor/result: heartbeats with what there is so far, and the final report."""

import asyncio
import hashlib
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from unicorn_core.pickles import read_report
from unicorn_core.reasons import ExecutorReason
from unicorn_store import executor_gateway as rows
from unicorn_store import reports
from unicorn_store.executor_gateway import Result

from unicorn_gateway.bodies import parse
from unicorn_gateway.executor_api import limits, results
from unicorn_gateway.executor_api.authentication import check
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.route import AT_ONCE
from unicorn_gateway.executor_api.sessions import Session
from unicorn_gateway.executor_api.v1 import bodies, logs
from unicorn_gateway.executor_api.v1.access import Visitor, admit, require_own, visitor
from unicorn_gateway.executor_api.v1.bodies import TooLarge
from unicorn_gateway.executor_api.v1.messages import V1Report
from unicorn_gateway.problems import ProblemError, unavailable

_EXECUTING = 1
_INLINE = 64 * limits.KIB  # larger ones are read in a thread


@dataclass(frozen=True, slots=True)
class Report:
    """What an executor reports, read and not loaded."""

    final: bool
    outcome: str
    reason: str
    message: str
    content: bytes | None = None  # the pickle, the token in it overwritten; None: there is none that could be kept
    log: Sequence[str] = ()
    digest: bytes = b""

    @property
    def turned_away(self) -> bool:
        """It got an empty body in place of a graph, which it tried to load."""
        return self.reason == ExecutorReason.GRAPH_UNLOADABLE and any("EOFError" in line for line in self.log[-5:])


async def post(request: web.Request, gateway: Gateway) -> None:
    """Taken, too late, or nobody's any more: null, for any other answer is sent again for ever."""
    request[AT_ONCE] = is_heartbeat = request.path.endswith("/")  # as long as the body is not read
    visiting = visitor(request, gateway)
    try:
        session = await admit(gateway, visiting.caller)
    except ProblemError as problem:
        if problem.status not in (404, 410):
            raise
        await bodies.read(request, 0, gateway.settings.body_timeout.total_seconds())
        return
    if not session.final:
        gateway.pulse.beat(session, visiting.caller.instance)
    async with _room(request, gateway, is_heartbeat) as limit:
        body = await bodies.read(request, limit, gateway.settings.body_timeout.total_seconds())
        if not limit:
            raise unavailable("too many large reports at once")
        if isinstance(body, bytes) and len(body) > _INLINE:
            report = await asyncio.to_thread(read, body, visiting)
        else:
            report = read(body, visiting, is_heartbeat)
        del body
        request[AT_ONCE] = not report.final
        gateway.metrics.heartbeats.inc(not report.final)
        if report.final or report.digest != session.reported:
            await _store(gateway, visiting, session, report)


@asynccontextmanager
async def _room(request: web.Request, gateway: Gateway, is_heartbeat: bool) -> AsyncIterator[int]:
    """How many bytes may be taken. Large ones one after the other; a heartbeat does not wait: its executor stands still."""
    length = request.content_length
    if length is not None and length <= limits.V1_LARGE:
        yield limits.V1_LARGE
        return
    if is_heartbeat and gateway.large_reports.locked():
        yield 0
        return
    try:
        async with asyncio.timeout(gateway.settings.netunicorn_hold.total_seconds()):
            await gateway.large_reports.acquire()
    except TimeoutError:
        yield 0
        return
    try:
        yield limits.V1_REPORT
    finally:
        gateway.large_reports.release()


def read(body: bytes | TooLarge, visiting: Visitor, is_heartbeat: bool = False) -> Report:
    """Raises ProblemError 422, 403."""
    if isinstance(body, TooLarge):
        final = not is_heartbeat if body.state is None else body.state != _EXECUTING
        message = f"its report has more than {limits.V1_REPORT} bytes"
        return Report(final, "Failure", str(ExecutorReason.RESULT_TOO_LARGE), message)
    try:
        sent = parse(body, V1Report)
    except ProblemError as problem:
        raise ProblemError(422, problem.reason, problem.detail) from problem
    require_own("executor_id", sent.executor_id, visiting.caller.executor)
    final = sent.state not in (0, _EXECUTING)
    try:
        content = b64decode(sent.results, validate=True)
    except (NotBase64, ValueError):
        return Report(final, "Failure", str(ExecutorReason.UNREADABLE_REPORT), "its report is not in base64")
    token = visiting.token.encode()
    content = content.replace(token, b"x" * len(token))  # it logs its endpoint
    report = read_report(content)
    message = _MESSAGES.get(report.reason, "")
    return Report(final, report.outcome, report.reason, message, content, report.log or (), hashlib.sha256(content).digest())


_MESSAGES: dict[str, str] = {
    ExecutorReason.TASK_FAILED: "netunicorn's executor reports a failure",
    ExecutorReason.GRAPH_UNLOADABLE: "netunicorn's executor could not load or run its graph; its log says why",
    ExecutorReason.UNREADABLE_REPORT: "its report is no report of netunicorn's executor",
}


async def _store(gateway: Gateway, visiting: Visitor, session: Session, report: Report) -> None:
    """Log, report, and the end of the executor, all or nothing. A final report stays; what comes after it changes nothing."""
    caller = visiting.caller
    async with gateway.store.transaction() as connection:
        row = await rows.lock(connection, caller.executor)
        if row is None:
            return
        try:
            check(caller, row)
        except ProblemError:  # superseded meanwhile
            return
        standing = await reports.standing(connection, row.id)
        if standing is not None and (standing.final or report.turned_away):
            return  # turned away: it was started twice, and the other one runs
        stored = standing.log_lines if standing else 0
        lines = logs.new_lines(report.log, stored, report.final)
        last_seq = await logs.store(connection, caller, row, list(logs.chunks(lines)))
        if report.content is not None:
            await reports.put_report(connection, row.id, report.content, final=report.final, log_lines=stored + len(lines))
        if report.final:
            result = Result(report.outcome, report.reason, report.message, None, None, late=row.final)
            session.state = await results.conclude(connection, row, result)
    session.last_seq = max(session.last_seq, last_seq)
    session.reported = report.digest

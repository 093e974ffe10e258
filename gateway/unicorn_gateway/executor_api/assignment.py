"""GET /v2/executor/assignment: check-in, and waiting for the release."""

import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from aiohttp import web
from unicorn_core.errors import Refused
from unicorn_core.pipelines.render import RenderContext, render
from unicorn_core.planning.liveness import heartbeat_seconds
from unicorn_core.text import plain
from unicorn_store import executor_gateway as rows
from unicorn_store.executor_gateway import ExecutorRow

from unicorn_gateway.executor_api import queries
from unicorn_gateway.executor_api.authentication import Caller, check_fence, check_instance
from unicorn_gateway.executor_api.gateway import Gateway
from unicorn_gateway.executor_api.sessions import Session
from unicorn_gateway.problems import ProblemError


class Step(Enum):
    WAIT = auto()  # nothing to do yet: the operator has the next move
    CLAIM = auto()
    REVIVE = auto()
    RUN = auto()
    CANCELLED = auto()
    FINISHED = auto()


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides about the answer, from a row or from the memory of one."""

    state: str
    started: bool
    claimed: bool
    cancel: bool
    released: bool
    over: bool


def decide(at: Situation) -> Step:
    """The next step of an executor that asks for its assignment."""
    if at.state == "Cancelled":
        return Step.CANCELLED
    if at.over or at.state in ("Succeeded", "Failed"):
        return Step.FINISHED
    if at.state == "Lost":
        return Step.REVIVE
    if at.cancel and not at.released:
        return Step.CANCELLED
    if (at.state == "Starting" and at.started) or (at.state in ("CheckedIn", "Running") and not at.claimed):
        return Step.CLAIM
    if at.state == "Running":
        return Step.RUN
    return Step.WAIT  # CheckedIn: not released yet. Before Starting: nobody can have been started


async def get(request: web.Request, gateway: Gateway) -> Any:
    """The answer's members."""
    seconds = queries.wait_seconds(request, 25)
    caller, session = await gateway.session(request, check_in=True)
    step = await arrive(gateway, caller, session, seconds)
    if step is Step.CANCELLED:
        return {"state": "Cancelled"}
    if step is Step.FINISHED:
        return {"state": "Finished"}
    if step is Step.RUN:
        return await _assignment(gateway, session)
    return {"state": "Waiting"}


async def arrive(gateway: Gateway, caller: Caller, session: Session, seconds: float) -> Step:
    """Check in, and wait until there is more to say than WAIT, or the time is over. Raises ProblemError 404, 410."""
    deadline = time.monotonic() + seconds
    while True:
        step = decide(_situation(session))
        if step in (Step.CLAIM, Step.REVIVE):
            await claim(gateway, caller)
            reloaded = await gateway.sessions.load(caller.executor)
            if reloaded is None:
                raise ProblemError(404, "NotFound", "there is no such executor")
            session, step = reloaded, decide(_situation(reloaded))
        check_fence(caller, session)
        check_instance(caller, session)
        if step in (Step.CANCELLED, Step.FINISHED):
            return step
        if session.instance == caller.instance and not session.final:
            gateway.pulse.beat(session, caller.instance)
        left = deadline - time.monotonic()
        if step is Step.RUN or left <= 0 or gateway.draining:
            return step
        await gateway.sessions.changed(session, min(left, heartbeat_seconds(session.keep_alive)))  # heard while it waits
        known = gateway.sessions.known(caller.executor) or await gateway.sessions.load(caller.executor)
        if known is None:  # deleted meanwhile
            raise ProblemError(404, "NotFound", "there is no such executor")
        session = known


def _situation(at: Session | ExecutorRow) -> Situation:
    return Situation(at.state, at.started, at.instance is not None, at.cancel, at.released, at.over)


async def claim(gateway: Gateway, caller: Caller) -> None:
    """Decide again with the row locked: the first instance gets it. Raises ProblemError 404, 410."""
    async with gateway.store.transaction() as connection:
        row = await rows.lock(connection, caller.executor)
        if row is None:
            raise ProblemError(404, "NotFound", "there is no such executor")
        check_fence(caller, row)
        check_instance(caller, row)
        step = decide(_situation(row))
        if step is Step.CLAIM:
            await rows.check_in(connection, row.id, caller.instance)
            await rows.tell(connection, "experiment", row.experiment_uid)
        elif step is Step.REVIVE and row.instance == caller.instance:
            await rows.revive(connection, [row.id])
            await rows.tell(connection, "experiment", row.experiment_uid)


async def _assignment(gateway: Gateway, session: Session) -> Any:
    async with gateway.store.connection() as connection:
        found = await rows.assignment(connection, session.id)
    if found is None:
        raise ProblemError(404, "NotFound", "there is no such executor")
    if found.graph is None:
        await fail(gateway, session, "GraphInvalid", "no graph was recorded for this deployment")
        return {"state": "Finished"}
    context = RenderContext(
        params=found.params or {},
        node_name=found.node_name,
        node_properties=found.node_properties,
        executor_index=found.index,
        experiment_name=found.experiment,
    )
    try:
        graph = render(found.graph, context)
    except Refused as error:
        await fail(gateway, session, error.reason, str(error))
        return {"state": "Finished"}
    return {
        "state": "Released",
        "executor": {
            "id": str(found.id),
            "index": found.index,
            "attempt": found.attempt,
            "deployment": found.deployment,
            "node": found.node_name,
            "experiment": found.experiment,
            "experimentUid": str(found.experiment_uid),
            "namespace": found.namespace,
        },
        "graph": {**graph, "reportResults": found.report_results},
        "heartbeatSeconds": heartbeat_seconds(found.keep_alive),
        "keepAliveSeconds": found.keep_alive.total_seconds(),
        "nextSequence": found.last_seq + 1,
    }


async def fail(gateway: Gateway, session: Session, reason: str, message: str) -> None:
    """This executor cannot be run."""
    async with gateway.store.transaction() as connection:
        await rows.fail(connection, session.id, reason, plain(message))
        await rows.tell(connection, "experiment", session.experiment)
        await rows.ring_barriers(connection, session.experiment, session.attempt)
    gateway.sessions.suspect(session.id)

"""Experiments: listed and searched, one in full, all its results, and its cancellation."""

import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from unicorn_core.errors import ApiRefused, Conflict, NotFound
from unicorn_core.resources import DesiredState
from unicorn_kube.resource import EXPERIMENTS as RESOURCE
from unicorn_store import history
from unicorn_store.history import ExecutorResult, Experiment, ExperimentFilter, Place

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.records import parameters as p
from unicorn_gateway.user_api.records.finding import EXPERIMENTS, attempt_of, experiment_of, namespace_of
from unicorn_gateway.user_api.records.messages import Cancelled, ExperimentDetail, ExperimentRecord
from unicorn_gateway.user_api.records.paging import age_key, key_in, page, word_of
from unicorn_gateway.user_api.records.parameters import Query
from unicorn_gateway.user_api.records.streaming import stream
from unicorn_gateway.user_api.routing import Call

LIST = (p.LIMIT, p.CONTINUE, p.NAME, p.USER, p.PHASE, p.SEARCH, p.SINCE, p.UNTIL, p.DELETED)
RESULTS = (p.ATTEMPT,)
_PAGE = 50
_PAGE_BYTES = 8 * 1024 * 1024


async def listing(call: Call) -> Any:
    namespace = namespace_of(call)
    await call.api.authorize(call.caller, "list", EXPERIMENTS, namespace)
    query = Query(call.request, LIST)
    wanted = ExperimentFilter(
        name=query.text(p.NAME),
        user=query.text(p.USER),
        phases=query.listed(p.PHASE, p.PHASES),
        search=query.text(p.SEARCH),
        since=query.moment(p.SINCE),
        until=query.moment(p.UNTIL),
        deleted=query.boolean(p.DELETED),
    )
    limit = query.integer(p.LIMIT)
    after = key_in(query.text(p.CONTINUE), age_key)
    found = await history.experiments(call.api.store, namespace, wanted, after, limit + 1)
    return page(found, limit, lambda one: word_of(one.created_at.isoformat(), one.uid), lambda one: _record(one).told())


async def get(call: Call) -> Any:
    Query(call.request, ())
    found = await experiment_of(call)
    return ExperimentDetail(**_members(found), spec=found.spec, status=found.status).told()


async def results(call: Call) -> web.StreamResponse:
    """One line of JSON for each executor that has reported, while they are read."""
    query = Query(call.request, RESULTS)
    found = await experiment_of(call)
    return await stream(call, "application/x-ndjson", _lines(call, found, attempt_of(query, found)))


async def cancel(call: Call) -> Any:
    """Its Experiment is asked to end, as `kubectl patch` would. Raises ProblemError 409 when that is over, or gone."""
    Query(call.request, ())
    found = await experiment_of(call, "patch")
    if found.deleted_at is not None or found.completed_at is not None:
        raise ProblemError(409, "Conflict", f"the experiment is {'gone' if found.deleted_at else found.phase} already")
    operations = [
        {"op": "test", "path": "/metadata/uid", "value": str(found.uid)},
        {"op": "add", "path": "/spec/desiredState", "value": DesiredState.CANCELLED.value},
    ]
    try:
        await call.api.kube.patch_json(RESOURCE, found.namespace, found.name, operations)
    except NotFound as error:
        raise ProblemError(409, "Conflict", "the experiment is gone already") from error
    except (ApiRefused, Conflict) as error:
        raise ProblemError(409, "Conflict", str(error)) from error
    return Cancelled(uid=found.uid).told()


async def _lines(call: Call, experiment: Experiment, attempt: int) -> AsyncIterator[bytes]:
    place = Place()
    while True:
        found = await history.results(call.api.store, experiment.uid, attempt, place, _PAGE, _PAGE_BYTES)
        if not found:
            return
        for one in found:
            yield _line(one)
        place = found[-1].place


def _line(one: ExecutorResult) -> bytes:
    told = one.result
    document = {
        "executor": str(one.id),
        "deployment": one.deployment,
        "index": one.index,
        "node": one.node_name,
        "state": one.state,
        "outcome": told.outcome,
        "reason": told.reason,
        "message": told.message,
        "late": told.late,
        "receivedAt": told.received_at.isoformat().replace("+00:00", "Z"),
    }
    if told.blob is not None:
        document["blob"] = told.blob
    text = json.dumps(document, separators=(",", ":"))
    if told.results is not None:
        text = f'{text[:-1]},"results":{told.results}}}'
    return text.encode() + b"\n"


def _record(found: Experiment) -> ExperimentRecord:
    return ExperimentRecord(**_members(found))


def _members(found: Experiment) -> dict[str, Any]:
    names = ("uid", "namespace", "name", "attempt", "phase", "reason", "message")
    times = ("created_at", "started_at", "completed_at", "deleted_at")
    return {"user": found.user_name, **{name: getattr(found, name) for name in (*names, *times)}}

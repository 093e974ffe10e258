"""`start`, `cancel` and `delete`: what a client does with an experiment is a change of its Experiment."""

from typing import Any

from unicorn_core.errors import ApiRefused, ApiUnavailable, Conflict, NotFound
from unicorn_core.resources import DesiredState
from unicorn_kube.resource import EXPERIMENTS
from unicorn_store import mediator

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import contexts, texts
from unicorn_gateway.user_api.mediator.answers import Status
from unicorn_gateway.user_api.mediator.experiments import Experiments, Found
from unicorn_gateway.user_api.mediator.messages import Context
from unicorn_gateway.user_api.mediator.owning import Object
from unicorn_gateway.user_api.routing import Call

_CONTEXT_LIMIT = 256 * 1024
_PATH = "/spec/desiredState"


async def start(call: Call, name: str) -> Any:
    """Answers the name; 400 unless it is READY."""
    found = await _to_change(call, name)
    told = await _contexts(call, "execution")
    if found.status is not Status.READY:
        raise texts.not_ready(name, str(found.status))
    if found.item is None:
        await _end(call, found, texts.not_ready(name, str(Status.FINISHED)), started=True)
        return name
    await contexts.keep(call.api.kube, found.item, "execution", told)
    operations = [
        {"op": "test", "path": _PATH, "value": DesiredState.READY.value},
        {"op": "replace", "path": _PATH, "value": DesiredState.RUNNING.value},
    ]
    await _patch(call, found, operations, texts.not_ready(name, str(Status.RUNNING)))
    return name


async def cancel(call: Call, name: str) -> Any:
    """400 after the end; what is PREPARING or READY ends as well."""
    found = await _to_change(call, name)
    told = await _contexts(call, "cancellation")
    if found.status is Status.FINISHED:
        raise texts.ended_before(name)
    if found.item is None:
        await _end(call, found, texts.ended_before(name), started=False)
    else:
        await contexts.keep(call.api.kube, found.item, "cancellation", told)
        operations = [{"op": "add", "path": _PATH, "value": DesiredState.CANCELLED.value}]
        await _patch(call, found, operations, texts.ended_before(name))
    return texts.CANCELLATION_STARTED


async def delete(call: Call, name: str) -> Any:
    """400 while it is PREPARING or RUNNING. The name is free at once; what is left to clean up goes on. What Kubernetes has not
    taken yet is forgotten."""
    await call.api.authorize(call.caller, "delete", "experiments", call.caller.namespace)
    experiments = Experiments(call.api.store, call.api.kube, call.caller.namespace)
    if await experiments.forget_unmade(name):
        return None
    found = await experiments.require(name)
    if found.status in (Status.PREPARING, Status.RUNNING):
        raise texts.not_deletable(str(found.status))
    if found.item is not None:
        metadata = found.item["metadata"]
        try:
            await call.api.kube.delete(EXPERIMENTS, metadata["namespace"], metadata["name"], uid=metadata["uid"])
        except (NotFound, Conflict):
            pass  # somebody else has deleted it
    if found.row is not None:
        await mediator.forget(call.api.store, found.row.id)
    return None


async def _to_change(call: Call, name: str) -> Found:
    await call.api.authorize(call.caller, "patch", "experiments", call.caller.namespace)
    return await Experiments(call.api.store, call.api.kube, call.caller.namespace).require(name)


async def _contexts(call: Call, purpose: str) -> dict[str, Context | None]:
    given = contexts.of_body(await call.body(_CONTEXT_LIMIT))
    return {purpose: given, "authentication": contexts.of_headers(call.request.headers)}


async def _end(call: Call, found: Found, otherwise: ProblemError, *, started: bool) -> None:
    """One without an Experiment, or whose Experiment Kubernetes has not taken yet."""
    assert found.row is not None
    if not await mediator.end(call.api.store, found.row.id, started=started):
        raise otherwise
    if found.row.manifest is not None:
        await Experiments(call.api.store, call.api.kube, call.caller.namespace).unmake(found.row)


async def _patch(call: Call, found: Found, operations: list[Object], otherwise: ProblemError) -> None:
    """Raises `otherwise` when the Experiment has become another meanwhile."""
    assert found.item is not None
    metadata = found.item["metadata"]
    guard = [{"op": "test", "path": "/metadata/uid", "value": metadata["uid"]}]
    try:
        await call.api.kube.patch_json(EXPERIMENTS, metadata["namespace"], metadata["name"], [*guard, *operations])
    except NotFound as error:
        raise texts.not_found(found.name) from error
    except (ApiRefused, Conflict) as error:
        raise otherwise from error
    except ApiUnavailable:  # of a large one the answer may be late: it counts what has become of it
        item = await call.api.kube.get(EXPERIMENTS, metadata["namespace"], metadata["name"])
        if item["spec"].get("desiredState") != operations[-1]["value"]:
            raise

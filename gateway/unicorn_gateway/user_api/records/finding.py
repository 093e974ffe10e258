"""Which experiment or executor a path means, and whether the caller may."""

from dataclasses import dataclass
from uuid import UUID

from unicorn_core.naming import is_dns_label
from unicorn_store import history
from unicorn_store.history import Executor, Experiment

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.records.parameters import ATTEMPT, Query
from unicorn_gateway.user_api.routing import Call

EXPERIMENTS = "experiments"
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Found:
    experiment: Experiment
    executor: Executor


def namespace_of(call: Call) -> str:
    """Raises ProblemError 404 for what can be no namespace."""
    namespace = call.path("namespace")
    if not is_dns_label(namespace):
        raise ProblemError(404, "NotFound", "there is no such namespace")
    return namespace


async def experiment_of(call: Call, verb: str = "get") -> Experiment:
    """By uid, or the newest of that name. Raises ProblemError 403, 404: who may not look does not learn what is there."""
    namespace, given = namespace_of(call), call.path("experiment")
    uid = uuid_of(given)
    if uid is None and not (len(given) <= _LONGEST_NAME and all(is_dns_label(part) for part in given.split("."))):
        await call.api.authorize(call.caller, verb, EXPERIMENTS, namespace)
        raise _no_experiment()
    found = await history.experiment(call.api.store, namespace, uid, given)
    await call.api.authorize(call.caller, verb, EXPERIMENTS, namespace, found.name if found else given)
    if found is None:
        raise _no_experiment()
    return found


async def executor_of(call: Call, verb: str = "get") -> Found:
    """Raises ProblemError 403, 404."""
    experiment = await experiment_of(call, verb)
    id = uuid_of(call.path("executor"))
    executor = await history.executor(call.api.store, experiment.uid, id) if id else None
    if executor is None:
        raise ProblemError(404, "NotFound", "the experiment has no such executor")
    return Found(experiment, executor)


def attempt_of(query: Query, experiment: Experiment) -> int:
    asked: int | None = query.integer(ATTEMPT)
    return experiment.attempt if asked is None else asked


def uuid_of(text: str) -> UUID | None:
    """None for what is not written as a uuid is."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def _no_experiment() -> ProblemError:
    return ProblemError(404, "NotFound", "there is no record of such an experiment in this namespace")

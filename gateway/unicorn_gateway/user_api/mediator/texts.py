"""What netunicorn's mediator says, word for word where clients may look for it."""

from collections.abc import Sequence

from unicorn_core.errors import shorten

from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.authentication.method import USER_PREFIX

CANCELLATION_STARTED = "Executors cancellation started"
STOPPED = "Executor was stopped"
TIMED_OUT = "Executor timed out"
NO_ADDITIONAL_ARGUMENTS = "This user is not allowed to use additional arguments in runtime context"
PORTS = "Ports mapping in runtime context must be a dict of int to int"
SPACES = "Environment variables in runtime context must not contain spaces"
NETWORK = "Network in runtime context must not contain spaces"


def declined(text: str) -> ProblemError:
    """A 400 with this string: all that netunicorn's mediator says of what cannot be."""
    return ProblemError(400, "Declined", text)


def not_found(name: str) -> ProblemError:
    return declined(f"Experiment {name} not found")


def not_made_yet(error: str) -> str:
    return shorten(f"Kubernetes does not take the experiment yet: {error}", 1024)


def too_large(what: str, size: int, limit: int, advice: str) -> ProblemError:
    return declined(f"{what} would have {size} bytes as an object of Kubernetes, which may have {limit}: {advice}")


def not_ready(name: str, status: str) -> ProblemError:
    return declined(f"Experiment {name} is not ready to start. Current status: {status}")


def not_deletable(status: str) -> ProblemError:
    return declined(f"Experiment is in status {status}, cannot delete it")


def ended_before(name: str) -> ProblemError:
    return declined(f"Experiment {name} is already finished")


def executor_given_twice(executor: str) -> ProblemError:
    return declined(f"Experiment has non-unique non-empty executor id: {executor}")


def nothing_to_cancel(user: str, executors: Sequence[str]) -> ProblemError:
    reason = f"All executors already finished or no experiments found belonging to user {user}"
    return declined(f"{reason} with given executors: {_some(executors)}")


def foreign_executors(user: str, executors: Sequence[str]) -> ProblemError:
    return declined(f"Some of executors do not belong to user {user}: {_some(executors)}")


def _some(items: Sequence[str]) -> str:
    return shorten(str(list(items[:100])), 4000)


def without_executors(name: str) -> ProblemError:
    return declined(f"Experiment {name} has no flags yet: it has no executors")


def flag_not_found(flag: str, name: str) -> ProblemError:
    return declined(f"Flag {flag} not found for experiment {name}")


def without_prefix(message: str) -> str:
    """A message of ours, its users as they call themselves: `Node X is already locked by ada`."""
    return message.replace(f" locked by {USER_PREFIX}", " locked by ")


def plain_user(kubernetes_user: str) -> str:
    return kubernetes_user.removeprefix(USER_PREFIX)


def unknown_connector(connector: str) -> str:
    return f"Connector {connector} is not available, cannot proceed"


def without_connector(node: str) -> str:
    return f"Node {node} has no property connector, cannot proceed"


def unknown_node(node: str, connector: str) -> str:
    return f"Node {node} is not available on connector {connector}"


def unsupported(node: str, environment: str) -> str:
    return f"Node {node} does not support environment {environment}"

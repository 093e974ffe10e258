"""The routes of records v2."""

from unicorn_gateway.user_api.records import executors, experiments, flags, logs, messages
from unicorn_gateway.user_api.routing import Route

_EXPERIMENTS = "/v2/namespaces/{namespace}/experiments"
_EXPERIMENT = _EXPERIMENTS + "/{experiment}"
_EXECUTORS = _EXPERIMENT + "/executors"
_EXECUTOR = _EXECUTORS + "/{executor}"
_FLAGS = _EXPERIMENT + "/flags"
_READS = {403: "Forbidden", 404: "NotFound"}
_ENDS = {**_READS, 409: "Conflict"}
_WRITES = {**_READS, 409: "Conflict", 422: "OutOfRange, TooManyFlags"}
_OCTETS = "application/octet-stream"

ROUTES = (
    Route(
        "GET",
        _EXPERIMENTS,
        experiments.listing,
        "Experiments of a namespace, newest first, those whose resource is gone too",
        messages.Experiments,
        parameters=experiments.LIST,
        problems=_READS,
    ),
    Route(
        "GET",
        _EXPERIMENT,
        experiments.get,
        "An experiment by uid, or the newest of that name, with spec and status",
        messages.ExperimentDetail,
        problems=_READS,
    ),
    Route(
        "POST",
        _EXPERIMENT + "/cancel",
        experiments.cancel,
        "Ask an experiment to end",
        messages.Cancelled,
        problems=_ENDS,
    ),
    Route(
        "GET",
        _EXPERIMENT + "/results",
        experiments.results,
        "What all executors of an attempt have reported, a line of JSON each",
        "application/x-ndjson",
        parameters=experiments.RESULTS,
        problems=_READS,
        waits=True,
    ),
    Route("GET", _FLAGS, flags.listing, "The flags of the last attempt", messages.Flags, parameters=flags.LIST, problems=_READS),
    Route("GET", _FLAGS + "/{flag}", flags.get, "A flag", messages.Flag, problems=_READS),
    Route(
        "PUT",
        _FLAGS + "/{flag}",
        flags.put,
        "Set a flag, perhaps only if it has a certain version",
        messages.Flag,
        body=messages.FlagSet,
        problems=_WRITES,
    ),
    Route("POST", _FLAGS + "/{flag}", flags.post, "Add to a flag", messages.Flag, body=messages.FlagAdd, problems=_WRITES),
    Route(
        "GET",
        _EXECUTORS,
        executors.listing,
        "The executors of an attempt, in the deployments' order",
        messages.Executors,
        parameters=executors.LIST,
        problems=_READS,
    ),
    Route("GET", _EXECUTOR, executors.get, "An executor", messages.Executor, problems=_READS),
    Route(
        "POST",
        _EXECUTOR + "/cancel",
        executors.cancel,
        "Ask an executor to end",
        messages.ExecutorCancelled,
        problems=_ENDS,
    ),
    Route(
        "GET",
        _EXECUTOR + "/tasks",
        executors.tasks,
        "The runs of its tasks, each try with its end",
        messages.TaskRuns,
        parameters=executors.TASKS,
        problems=_READS,
    ),
    Route(
        "GET",
        _EXECUTOR + "/events",
        executors.events,
        "Its events, log chunks aside",
        messages.Events,
        parameters=executors.EVENTS,
        problems=_READS,
    ),
    Route(
        "GET",
        _EXECUTOR + "/logs",
        logs.pages,
        "Its log in chunks; with wait, held until there is more",
        messages.Logs,
        parameters=logs.PAGES,
        problems=_READS,
        waits=True,
    ),
    Route(
        "GET",
        _EXECUTOR + "/logs/text",
        logs.text,
        "Its log as text; with follow, until it has ended",
        "text/plain",
        parameters=logs.TEXT,
        problems=_READS,
        waits=True,
    ),
    Route("GET", _EXECUTOR + "/result", executors.result, "What it reported at its end", messages.Result, problems=_READS),
    Route(
        "GET",
        _EXECUTOR + "/report",
        executors.report,
        "Of a serialized graph: the bytes that netunicorn's client gets",
        _OCTETS,
        problems=_READS,
        waits=True,
    ),
    Route(
        "GET",
        _EXECUTOR + "/blobs/{sha256}",
        executors.blob,
        "What was too large for an event, a log chunk or a result",
        _OCTETS,
        problems=_READS,
        waits=True,
    ),
)

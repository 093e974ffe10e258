"""The table of routes: what the application serves, and what the OpenAPI document says."""

from unicorn_gateway.executor_api import assignment, barriers, blobs, events, flags, messages, public, results, serialized
from unicorn_gateway.executor_api.route import Query, Route
from unicorn_gateway.executor_api.v1.routes import ROUTES as V1

_WAIT = Query("wait", "seconds to wait for news at most", 0, 60)
_GAP = "SequenceGap"
_RUN = Query("run", "the task run that arrived", 1, messages.INT32, required=True)
_OPERATION = Query("operation", "its number of the arrival", 1, messages.INT32, required=True)

ROUTES = (
    Route(
        "POST",
        "/v2/executor/events",
        events.post,
        "Numbered events, stored iff they continue the stored ones; an empty list is a heartbeat",
        messages.EventsAnswer,
        messages.EventsRequest,
        problems={409: _GAP, 413: "TooLarge"},
        frequent=True,
    ),
    Route(
        "GET",
        "/v2/executor/assignment",
        assignment.get,
        "Check in and wait for the release: what to run",
        messages.AssignmentAnswer,
        queries=(_WAIT,),
        waits=True,
    ),
    Route(
        "PUT",
        "/v2/executor/result",
        results.put,
        "The final report, after all events; idempotent",
        messages.ResultAnswer,
        messages.ResultRequest,
        problems={409: _GAP, 413: "TooLarge"},
    ),
    Route(
        "GET",
        "/v2/executor/graph",
        serialized.graph,
        "The serialized graph of the assignment, as it was uploaded",
        "application/octet-stream",
    ),
    Route(
        "PUT",
        "/v2/executor/report",
        serialized.report,
        "Of a serialized graph: results and log so far, opaque; replaced by the next, and by the final one",
        messages.ReportAnswer,
        "application/octet-stream",
        problems={413: "TooLarge"},
    ),
    Route(
        "HEAD",
        "/v2/executor/blobs/{sha256}",
        blobs.head,
        "How much of a blob is there: headers Unicorn-Offset, Unicorn-Complete",
        "",
    ),
    Route(
        "PUT",
        "/v2/executor/blobs/{sha256}",
        blobs.put,
        "The next bytes of a blob, at most 4 MiB",
        messages.BlobAnswer,
        "application/octet-stream",
        queries=(Query("offset", "where these bytes begin", 0, 2**26), Query("size", "bytes of the whole", 0, 2**26, True)),
        problems={409: "OffsetMismatch", 413: "TooLarge", 422: "DigestMismatch"},
    ),
    Route(
        "GET",
        "/v2/flags/{name}",
        flags.get,
        "A flag; with wait and version, as soon as it is newer than that",
        messages.FlagAnswer,
        queries=(_WAIT, Query("version", "wait until its version is above", 0, messages.INT64)),
        waits=True,
    ),
    Route(
        "PUT",
        "/v2/flags/{name}",
        flags.put,
        "Set a flag, perhaps only if it has a certain version",
        messages.FlagAnswer,
        messages.FlagSet,
        problems={409: "Conflict", 413: "TooLarge", 422: "OutOfRange, TooManyFlags"},
    ),
    Route(
        "POST",
        "/v2/flags/{name}",
        flags.post,
        "Add to a flag, or arrive at the barrier of that name",
        messages.FlagOrBarrierAnswer,
        messages.FlagPost,
        problems={409: "Conflict", 413: "TooLarge", 422: "OutOfRange, TooManyFlags"},
    ),
    Route(
        "GET",
        "/v2/flags/{name}/barrier",
        barriers.get,
        "Wait until the barrier that a task run has arrived at is open",
        messages.BarrierAnswer,
        queries=(_WAIT, _RUN, _OPERATION),
        waits=True,
    ),
    Route("GET", "/executor.pyz", public.agent, "The agent; its ETag is its SHA-256", "application/zip", token=False),
    Route("GET", "/healthz", public.healthz, "The process lives", messages.Health, token=False, frequent=True),
    Route("GET", "/readyz", public.readyz, "The process serves", messages.Health, token=False, frequent=True),
    Route("GET", "/metrics", public.metrics, "For Prometheus", "text/plain", token=False, frequent=True),
    Route("GET", "/openapi.json", public.openapi, "This document", "application/json", token=False),
    *V1,
)

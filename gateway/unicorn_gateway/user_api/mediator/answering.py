"""The answer about one experiment, or about all: sent piece by piece, since results may be large."""

import asyncio
import base64
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace

from aiohttp import web
from unicorn_store import mediator, reports

from unicorn_gateway.user_api.mediator import orders
from unicorn_gateway.user_api.mediator.answers import A, View, json_text, without_executors
from unicorn_gateway.user_api.mediator.experiments import Experiments, Found
from unicorn_gateway.user_api.mediator.foreign import kept_of
from unicorn_gateway.user_api.mediator.orders import Place
from unicorn_gateway.user_api.mediator.placeholder import EMPTY_GRAPH
from unicorn_gateway.user_api.routing import Call

_BATCH_BYTES = 8 * 1024 * 1024  # of graphs and reports that one answer has in memory at once
_PATIENCE_SECONDS = 60.0  # for a reader to take a piece
_THREAD_EXECUTORS = 500  # of a foreign experiment: more are told beside the loop
_PIECE = 256 * 1024  # what is sent at once


async def view_of(call: Call, found: Found) -> View:
    """Raises StoreUnavailable, ApiUnavailable."""
    api, namespace, experiment = call.api, call.caller.namespace, found.experiment
    executors = await mediator.executors(api.store, experiment.uid, experiment.attempt) if found.item else []
    if found.row is not None:
        kept = orders.kept(found.row.orders)
    else:
        assert found.item is not None
        snapshots = await mediator.snapshots(api.store, experiment.uid, experiment.attempt)
        inventory = await api.catalogue.inventory(namespace)
        inputs = (found.item, executors, snapshots, inventory, await api.catalogue.connector_names())
        kept = await asyncio.to_thread(kept_of, *inputs) if len(executors) > _THREAD_EXECUTORS else kept_of(*inputs)
    if found.item is not None and not executors:
        experiment = replace(experiment, error=without_executors(found.item))
    return View(
        experiment=experiment,
        kept=kept,
        executors={Place(one.deployment, one.index): one for one in executors},
        graphs=await mediator.graph_sizes(api.store, namespace, {order.graph for order in kept.orders}),
    )


async def one(call: Call, found: Found) -> web.StreamResponse:
    return await _send(call, _information(call, await view_of(call, found)))


async def all_of(call: Call, experiments: Experiments) -> web.StreamResponse:
    return await _send(call, _listing(call, experiments.all()))


async def _listing(call: Call, listed: AsyncGenerator[Found, None]) -> AsyncGenerator[str, None]:
    separator = "{"
    async with aclosing(listed):
        async for found in listed:
            yield f"{separator}{json_text(found.name)}:"
            async with aclosing(_information(call, await view_of(call, found))) as pieces:
                async for piece in pieces:
                    yield piece
            separator = ","
    yield "{}" if separator == "{" else "}"


async def _information(call: Call, view: View) -> AsyncGenerator[str, None]:
    """An ExperimentExecutionInformation."""
    experiment = view.experiment
    yield f'{{"status":{experiment.status.value},"experiment":{{"deployment_map":['
    separator = ""
    async with aclosing(_texts(call, view, view.ordered())) as texts:
        async for text in texts:
            yield separator + text
            separator = ","
    yield f'],"deployment_context":{json_text(view.kept.context)}}},"execution_result":'
    if experiment.error is not None:
        yield json_text(experiment.error)
    elif not view.tells():
        yield "null"
    else:
        separator = "["
        async with aclosing(_texts(call, view, view.outcomes())) as texts:
            async for text in texts:
                yield separator + text
                separator = ","
        yield "[]" if separator == "[" else "]"
    yield "}"


async def _texts(call: Call, view: View, answers: Iterable[A]) -> AsyncGenerator[str, None]:
    """Of each, with its graph and its report: a batch is read at a time, when there is room for it, and kept until it is sent."""
    for batch in view.batches(answers, _BATCH_BYTES):
        async with call.api.answers.take(batch.bytes):
            contents = await mediator.graphs(call.api.store, call.caller.namespace, batch.digests)
            graphs = {digest: base64.b64encode(content).decode() for digest, content in contents.items()}
            del contents
            reporters = [answer.reporter for answer in batch.answers if answer.reporter is not None]
            read = await reports.read_reports(call.api.store, reporters) if reporters else {}
            for answer in batch.answers:
                report = read.get(answer.reporter) if answer.reporter is not None else None
                yield answer.text(graphs.get(answer.digest, EMPTY_GRAPH), report.content if report else None)


async def _send(call: Call, pieces: AsyncGenerator[str, None]) -> web.StreamResponse:
    """A small answer as one; a longer one while it is made. What goes wrong then cuts the connection."""
    begun: web.StreamResponse | None = None
    waiting: list[str] = []
    size = 0
    async with aclosing(pieces):
        async for piece in pieces:
            waiting.append(piece)
            size += len(piece)
            if size < _PIECE:
                continue
            if begun is None:
                begun = web.StreamResponse(headers={"Content-Type": "application/json", "X-Request-ID": call.id})
                await begun.prepare(call.request)
            await _write(begun, "".join(waiting))
            waiting, size = [], 0
    if begun is None:
        return web.Response(body="".join(waiting).encode(), content_type="application/json")
    await _write(begun, "".join(waiting))
    await begun.write_eof()
    return begun


async def _write(response: web.StreamResponse, text: str) -> None:
    """Who does not read gives the room for answers to others: the connection is cut."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await response.write(text.encode())
    await asyncio.sleep(0)  # a quick reader would keep the loop from all others

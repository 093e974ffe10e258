"""A small gateway in memory that speaks docs/executor-protocol.md: what the agent is tested against.

The real gateway runs the same suite: the tests use `Gateway` below only, and get it from the `gateway` fixture. What only a fake
can do (to answer wrongly, to lose what it stored) is in `Faults`; tests that need it ask for `faults`.
"""

import asyncio
import hashlib
import json
import math
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY = Ed25519PrivateKey.generate()


class Gateway(Protocol):
    """What the suite needs of a gateway. Tokens name executors."""

    url: str

    async def assign(self, graph: dict, *, released: bool = True, index: int = 0, keep_alive: float = 600.0) -> str:
        """A new executor of one experiment that runs `graph`; its token."""

    async def release(self, *tokens: str) -> None:
        """All at the same moment, when all are there: a barrier's members are the released."""

    async def cancel(self, token: str) -> None: ...
    async def events(self, token: str) -> list[dict]:
        """All stored events in order; values and texts in place of blobs."""

    async def result(self, token: str) -> dict | None:
        """The final report, `results` in place of a blob; None until it is there."""

    async def cut(self) -> None:
        """Nobody reaches the gateway any more; connections break."""

    async def restore(self) -> None: ...


@dataclass
class Executor:
    id: str
    index: int
    graph: dict
    released: bool
    heartbeat: float
    state: str = "Waiting"
    instance: str | None = None
    cancelled: bool = False
    events: list[dict] = field(default_factory=list)
    result: dict | None = None
    pickle: bytes = b""  # of a serialized graph
    blobs: dict[str, bytearray] = field(default_factory=dict)


@dataclass
class Flag:
    text: str | None = None
    integer: int = 0
    version: int = 0


@dataclass
class Request:
    method: str
    path: str
    bytes: int  # request line, headers and body
    body: Any


class FakeGateway:
    """Implements `Gateway` and `Faults`."""

    def __init__(self, tls=None) -> None:
        """`tls`: an SSLContext, for https."""
        self._tls = tls
        self._executors: dict[str, Executor] = {}  # by token
        self._flags: dict[str, Flag] = {}
        self._writes: dict[tuple, dict] = {}
        self._meetings: dict[str, list[set[str]]] = {}
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._prepared: list[tuple[int, dict, dict]] = []
        self._lose_answers = 0
        self._refuses = None
        self._blob_seconds = 0.0
        self._slow_flags: list[float] = []
        self.requests: list[Request] = []
        self.heard: list[float] = []  # when requests for events were there, on the monotonic clock
        self.url = ""

    # -- Gateway

    async def assign(self, graph, *, released=True, index=0, keep_alive=600.0):
        executor = Executor(str(uuid.uuid4()), index, graph, released, max(1.0, min(30.0, keep_alive / 4)))
        claims = {"sub": executor.id, "aud": "unicorn-executor", "exp": 4102444800, "fence": 1}
        token = jwt.encode(claims, KEY, algorithm="EdDSA", headers={"kid": "0123456789abcdef"})
        self._executors[token] = executor
        return token

    async def assign_serialized(self, content, **assignment):
        graph = {"serialized": {"sha256": hashlib.sha256(content).hexdigest()}, "reportResults": True}
        token = await self.assign(graph, **assignment)
        self._executors[token].pickle = content
        return token

    async def release(self, *tokens):
        for token in tokens:
            self._executors[token].released = True
        self._wake()

    async def cancel(self, token):
        self._executors[token].cancelled = True
        self._wake()

    async def events(self, token):
        executor = self._executors[token]
        return [_with_blob(event, executor) for event in executor.events]

    async def result(self, token):
        executor = self._executors[token]
        if executor.result is None or "blob" not in executor.result:
            return executor.result
        return {**executor.result, "results": json.loads(executor.blobs[executor.result["blob"]])}

    async def cut(self):
        await self.stop()

    async def restore(self):
        await self.start()

    # -- Faults

    def answer(self, status, reason="", *, times=1, headers=None, **fields):
        """The next `times` requests for events get this problem; nothing of them is stored."""
        problem = {"type": "about:blank", "title": reason, "status": status, "reason": reason, **fields}
        self._prepared += [(status, headers or {}, problem)] * times

    def refuse(self, condition):
        """Requests for events of which `condition` is true are malformed."""
        self._refuses = condition

    def slow_blobs(self, seconds):
        """Each part of a blob takes so long to store."""
        self._blob_seconds = seconds

    def slow_flag_writes(self, seconds, *, times):
        """The answers to the next `times` writes of flags come so late; they are written at once."""
        self._slow_flags += [seconds] * times

    def lose_answers(self, times):
        """The next `times` batches are stored, but their answer is a 503."""
        self._lose_answers = times

    def lose_events(self, token, keep):
        """As a database that was restored to an earlier state."""
        del self._executors[token].events[keep:]

    # -- the server

    async def start(self):
        app = web.Application(middlewares=[self._guard], client_max_size=8 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/v2/executor/assignment", self._assignment),
                web.post("/v2/executor/events", self._events),
                web.head("/v2/executor/blobs/{digest}", self._blob_head),
                web.put("/v2/executor/blobs/{digest}", self._blob_put),
                web.put("/v2/executor/result", self._result),
                web.get("/v2/executor/graph", self._graph),
                web.put("/v2/executor/report", self._report),
                web.get("/v2/flags/{name}", self._flag_get),
                web.put("/v2/flags/{name}", self._flag_put),
                web.post("/v2/flags/{name}", self._flag_post),
                web.get("/v2/flags/{name}/barrier", self._barrier_get),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    async def stop(self):
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _guard(self, request, handler):
        body = await request.read()
        size = len(f"{request.method} {request.raw_path} HTTP/1.1\r\n\r\n") + len(body)
        size += sum(len(name) + len(value) + len(": \r\n") for name, value in request.raw_headers)
        document = None
        if "/blobs/" not in request.path and not request.path.endswith("/report") and body:
            document = json.loads(body)
        self.requests.append(Request(request.method, request.path, size, document))
        executor = self._executors.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if executor is None:
            return _problem(401, "Unauthenticated")
        instance = request.headers["Unicorn-Instance"]
        executor.instance = executor.instance or instance
        if instance != executor.instance:
            return _problem(410, "InstanceSuperseded")
        request["executor"], request["document"] = executor, document
        return await handler(request)

    async def _until(self, condition, seconds):
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _wake(self):
        self._changed.set()
        self._changed = asyncio.Event()

    # -- routes

    async def _assignment(self, request):
        executor = request["executor"]
        await self._until(
            lambda: executor.released or executor.cancelled or executor.result, float(request.query.get("wait", 25))
        )
        if executor.result:
            return web.json_response({"state": "Finished"})
        if executor.cancelled and not executor.events:
            return web.json_response({"state": "Cancelled"})
        if not executor.released:
            return web.json_response({"state": "Waiting"})
        executor.state = "Running"
        about = {"id": executor.id, "index": executor.index, "attempt": 1, "deployment": "clients", "node": "rpi-1"}
        return web.json_response(
            {
                "state": "Released",
                "executor": {**about, "experiment": "hello", "namespace": "default"},
                "graph": executor.graph,
                "heartbeatSeconds": executor.heartbeat,
                "keepAliveSeconds": executor.heartbeat * 4,
                "nextSequence": len(executor.events) + 1,
            }
        )

    async def _events(self, request):
        executor, document = request["executor"], request["document"]
        self.heard.append(time.monotonic())
        if self._prepared:
            status, headers, problem = self._prepared.pop(0)
            return web.json_response(problem, status=status, headers=headers)
        if self._refuses and self._refuses(document):
            return _problem(400, "Malformed")
        events, first, stored = document["events"], document["first"], len(executor.events)
        if len(events) > 256:
            return _problem(413, "TooLarge")
        if first > stored + 1 or (events and first + len(events) - 1 < stored and first > stored + 1):
            return _problem(409, "SequenceGap", expected=stored + 1)
        for event in events[stored + 1 - first :]:
            if len(json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()) > 16 * 1024:
                return _problem(400, "Malformed", detail="an event over 16 KiB")
            if "blob" in event and event["blob"] not in executor.blobs:
                return _problem(400, "Malformed", detail="an unknown blob")
            executor.events.append({**event, "boot": document["bootId"]})
        if self._lose_answers and events:
            self._lose_answers -= 1
            return _problem(503, "Unavailable", headers={"Retry-After": "0"})
        self._wake()
        commands = [{"command": "Cancel"}] if executor.cancelled and executor.result is None else []
        return web.json_response({"stored": len(executor.events), "commands": commands})

    async def _blob_head(self, request):
        held = request["executor"].blobs.get(request.match_info["digest"])
        if held is None:
            return web.Response(status=404)
        return web.Response(headers={"Unicorn-Offset": str(len(held)), "Unicorn-Complete": "true"})

    async def _blob_put(self, request):
        digest, body = request.match_info["digest"], await request.read()
        await asyncio.sleep(self._blob_seconds)
        held = request["executor"].blobs.setdefault(digest, bytearray())
        if int(request.query["offset"]) != len(held):
            return _problem(409, "OffsetMismatch", expected=len(held))
        held += body
        complete = len(held) == int(request.query["size"])
        if complete and hashlib.sha256(held).hexdigest() != digest:
            del request["executor"].blobs[digest]
            return _problem(422, "DigestMismatch")
        return web.json_response({"offset": len(held), "complete": complete})

    async def _result(self, request):
        executor, document = request["executor"], request["document"]
        if document["lastSequence"] != len(executor.events):
            return _problem(409, "SequenceGap", expected=len(executor.events) + 1)
        executor.result = executor.result or document
        executor.state = "Succeeded" if executor.result["outcome"] == "Success" else "Failed"
        self._wake()
        return web.json_response({"state": executor.state})

    async def _graph(self, request):
        return web.Response(body=request["executor"].pickle)

    async def _report(self, request):
        return web.json_response({"stored": True})

    # -- flags

    def _shown(self, name):
        flag = self._flags.setdefault(name, Flag())
        return {"name": name, "text": flag.text, "integer": flag.integer, "version": flag.version}

    async def _flag_get(self, request):
        name = request.match_info["name"]
        version = int(request.query.get("version", -1))
        await self._until(lambda: self._shown(name)["version"] > version, float(request.query.get("wait", 0)))
        return web.json_response(self._shown(name))

    def _write(self, request, change):
        name, document = request.match_info["name"], request["document"]
        key = (request["executor"].id, document["run"], document["operation"])
        if key not in self._writes:
            flag = self._flags.setdefault(name, Flag())
            change(flag)
            flag.version += 1
            self._writes[key] = self._shown(name)
            self._wake()
        return web.json_response(self._writes[key])

    async def _flag_post(self, request):
        answer = self._posted(request)
        if self._slow_flags:
            await asyncio.sleep(self._slow_flags.pop())
        return answer

    async def _flag_put(self, request):
        document = request["document"]

        def change(flag):
            flag.text = document.get("text", flag.text)
            flag.integer = document.get("integer", flag.integer)

        return self._write(request, change)

    def _posted(self, request):
        document = request["document"]
        if "add" in document:
            if abs(document["add"]) >= 2**63:
                return _problem(422, "OutOfRange", detail="64-bit integers only")

            def change(flag):
                flag.integer += document["add"]

            return self._write(request, change)
        meetings = self._meetings.setdefault(request.match_info["name"], [])
        executor = request["executor"].id
        key = (executor, document["run"], document["operation"])
        if key not in self._writes:
            number = sum(executor in meeting for meeting in meetings)
            if number == len(meetings):
                meetings.append(set())
            meetings[number].add(executor)
            self._writes[key] = {"meeting": number}
            self._wake()
        return web.json_response(self._meeting(request.match_info["name"], key))

    async def _barrier_get(self, request):
        name, query = request.match_info["name"], request.query
        key = (request["executor"].id, int(query["run"]), int(query["operation"]))
        await self._until(lambda: self._meeting(name, key)["open"], float(query.get("wait", 0)))
        return web.json_response(self._meeting(name, key))

    def _meeting(self, name, key):
        arrived = self._meetings[name][self._writes[key]["meeting"]]
        present = {executor.id for executor in self._executors.values() if executor.released and executor.result is None}
        members = len(present | arrived)
        return {"open": len(arrived) >= members, "arrived": len(arrived), "members": members, "version": len(arrived)}


def _with_blob(event, executor):
    if "blob" not in event:
        return event
    rest = {key: value for key, value in event.items() if key != "blob"}
    return {**rest, "value": json.loads(executor.blobs[event["blob"]])}


def _problem(status, reason, *, headers=None, **fields):
    problem = {"type": "about:blank", "title": reason, "status": status, "reason": reason, **fields}
    return web.json_response(problem, status=status, headers=headers, content_type="application/problem+json")


def kinds(events):
    """How many events of each kind."""
    return Counter(event["kind"] for event in events)


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, math.floor(len(values) * share))]

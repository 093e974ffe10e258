"""The calls: get, list, watch, apply, patch, create, delete. Objects are plain dicts, as JSON has them."""

import asyncio
import builtins
import json
import random
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from unicorn_core.errors import ApiRefused, ApiUnavailable, Broken, Conflict, NotFound
from unicorn_core.text import plain

from unicorn_kube.config import KubeConfig
from unicorn_kube.nesting import parse
from unicorn_kube.resource import PODS, Resource

Object = dict[str, Any]
OnRequest = Callable[[str, str], None]  # method, path

_REQUEST_SECONDS = 10.0
_WATCH_SECONDS = 300.0
_WATCH_SILENCE_SECONDS = 90.0  # the server sends a bookmark each minute
_LINE_LIMIT = 16 * 1024 * 1024  # far above what etcd keeps for an object
_CHUNK = 500
_TOKEN_SECONDS = 30.0
_CONNECTIONS = 100


@dataclass(frozen=True, slots=True)
class Listing:
    """All items, and the version of the collection from which a watch goes on."""

    items: Sequence[Object]
    resource_version: str


class KubeClient:
    """An asynchronous context. Every call raises NotFound (404), Conflict (409), ApiUnavailable (429, 5xx, no connection,
    no answer in 10 s; with `retry_after`) or ApiRefused (any other 4xx; with `status`), and nothing else."""

    def __init__(self, config: KubeConfig, on_request: OnRequest | None = None) -> None:
        self.config = config
        self._on_request = on_request
        self._session: aiohttp.ClientSession | None = None
        self._token = (config.token, 0.0)  # token, monotonic time of its reading

    async def __aenter__(self) -> Self:
        context = self.config.ssl_context()
        connector = aiohttp.TCPConnector(
            limit=_CONNECTIONS,
            ssl=context if context is not None else True,
            # A watch that is broken off closes its connection by itself, and these Pythons wait for the server with that.
            enable_cleanup_closed=sys.version_info < (3, 12, 7),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
            headers={"User-Agent": "netunicorn-operator", "Accept": "application/json"},
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- reading -----------------------------------------------------------------------------------------------------

    async def version(self) -> Object:
        """GET /version: a cheap sign of life."""
        return await self._call("GET", "/version")

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return await self._call("GET", resource.path(namespace, name))

    async def list(
        self, resource: Resource, namespace: str | None = None, label_selector: str = "", field_selector: str = ""
    ) -> Listing:
        """In chunks, of all namespaces when none is given. Starts again when the server forgot where it was."""
        path = resource.path(namespace)
        selectors = _selectors(label_selector, field_selector)
        for limit in (_CHUNK, 0):
            try:
                return await self._list(path, selectors, limit)
            except ApiRefused as error:
                if error.status != 410 or not limit:
                    raise
        raise AssertionError("unreachable")

    async def _list(self, path: str, selectors: Mapping[str, str], limit: int) -> Listing:
        items: builtins.list[Object] = []
        query = {**selectors, "limit": str(limit)}
        while True:
            page = await self._call("GET", path, query)
            items += page.get("items") or ()
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return Listing(items, metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        seconds: float = _WATCH_SECONDS,
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """(ADDED | MODIFIED | DELETED | BOOKMARK, object), until the server ends the watch after about `seconds`.

        A version that is too old is ApiRefused with status 410: list again. Silence without a bookmark is ApiUnavailable.
        Close it (`contextlib.aclosing`) when leaving it early.
        """
        query = {**_selectors(label_selector, field_selector), "watch": "1", "allowWatchBookmarks": "true"}
        query["timeoutSeconds"] = str(max(1, round(seconds * random.uniform(0.9, 1.0))))  # noqa: S311 not for secrets
        if resource_version:
            query["resourceVersion"] = resource_version
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_REQUEST_SECONDS, sock_read=_WATCH_SILENCE_SECONDS)
        path = resource.path(namespace)
        try:
            async with self._send("GET", path, query, timeout=timeout) as response:
                await _check(response)
                try:
                    async for line in _lines(response):
                        event = parse(line)
                        if event["type"] == "ERROR":
                            raise _failure(event["object"].get("code", 500), event["object"], None)
                        yield event["type"], event["object"]
                finally:
                    _abort(response)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unavailable(error, path) from error

    async def log(self, namespace: str, pod: str, *, last_lines: int | None = None, limit_bytes: int = 1 << 20) -> str:
        """What a pod's only container has said: its first `limit_bytes`, or of its last lines."""
        path = PODS.path(namespace, pod, "log")
        query = {"limitBytes": str(limit_bytes), **({"tailLines": str(last_lines)} if last_lines is not None else {})}
        try:
            async with self._send("GET", path, query) as response:
                await _check(response)
                return (await response.content.read(limit_bytes + 1024)).decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable(error, path) from error

    # --- writing -----------------------------------------------------------------------------------------------------

    async def apply(
        self, resource: Resource, body: Object, field_manager: str, force: bool = True, subresource: str | None = None
    ) -> Object:
        """Server-side apply of an object with apiVersion, kind and metadata."""
        path = resource.path(_namespace(body), body["metadata"]["name"], subresource)
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        return await self._call("PATCH", path, query, body, "application/apply-patch+yaml")

    async def create(
        self,
        resource: Resource,
        body: Object,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> Object:
        """POST; an object that exists is a Conflict. With `name` and `subresource`: for example a ServiceAccount's `token`."""
        return await self._call("POST", resource.path(namespace or _namespace(body), name, subresource), body=body)

    async def patch_json(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        operations: Sequence[Object],
        subresource: str | None = None,
    ) -> Object:
        """JSON patch. A `test` that fails is ApiRefused with status 422."""
        path = resource.path(namespace, name, subresource)
        return await self._call("PATCH", path, body=operations, content_type="application/json-patch+json")

    async def patch_merge(
        self, resource: Resource, namespace: str | None, name: str, patch: Object, subresource: str | None = None
    ) -> Object:
        """Merge patch; with metadata.resourceVersion in it a change by somebody else is a Conflict."""
        path = resource.path(namespace, name, subresource)
        return await self._call("PATCH", path, body=patch, content_type="application/merge-patch+json")

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        grace_seconds: int | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: str | None = None,
    ) -> Object:
        """Returns the object (being deleted) or a Status. `uid`, `resource_version`: another one is a Conflict."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if set_ones := {key: value for key, value in preconditions.items() if value is not None}:
            options["preconditions"] = set_ones
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation
        return await self._call("DELETE", resource.path(namespace, name), body=options)

    # --- one request -------------------------------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | Sequence[Object] | None = None,
        content_type: str = "application/json",
    ) -> Object:
        try:
            async with self._send(method, path, query, body, content_type) as response:
                await _check(response)
                answer = parse(await response.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _unavailable(error, path) from error
        if not isinstance(answer, dict):
            raise ApiUnavailable(f"the answer to {method} {path} is no object")
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | Sequence[Object] | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout | None = None,
    ) -> "aiohttp.client._RequestContextManager":
        if self._session is None:
            raise RuntimeError("KubeClient is used outside of its context")
        if self._on_request is not None:
            self._on_request(method, path)
        headers = {"Authorization": f"Bearer {token}"} if (token := self._bearer()) else {}
        if body is not None:
            headers["Content-Type"] = content_type
        return self._session.request(
            method,
            self.config.server + path,
            params=query,
            data=None if body is None else json.dumps(body, separators=(",", ":")),
            headers=headers,
            timeout=timeout or aiohttp.ClientTimeout(total=_REQUEST_SECONDS),
            server_hostname=self.config.server_name or None,
            allow_redirects=False,  # a redirect would carry the credentials elsewhere
        )

    def _bearer(self) -> str:
        if not self.config.token_file:
            return self.config.token
        now = time.monotonic()
        if not self._token[0] or now - self._token[1] > _TOKEN_SECONDS:
            try:
                self._token = (Path(self.config.token_file).read_text().strip(), now)
            except OSError as error:
                raise ApiUnavailable(f"cannot read the token file: {error.strerror}") from error
        return self._token[0]


def _namespace(body: Mapping[str, Any]) -> str | None:
    namespace: str | None = (body.get("metadata") or {}).get("namespace")
    return namespace


def _selectors(labels: str, fields: str) -> dict[str, str]:
    return {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}


def _abort(response: aiohttp.ClientResponse) -> None:
    """Of a stream that is left in its middle: a TLS connection would otherwise linger until the server has answered its end."""
    if response.connection is not None and response.connection.transport is not None:
        response.connection.transport.abort()


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: the stream's own readline has a limit below that of an object."""
    rest = bytearray()
    async for data in response.content.iter_any():
        searched = len(rest)
        rest += data
        while (end := rest.find(b"\n", searched)) >= 0:
            if line := bytes(rest[:end]).strip():
                yield line
            del rest[: end + 1]
            searched = 0
        if len(rest) > _LINE_LIMIT:
            raise ValueError("a line of the watch is too long")


async def _check(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    raw = await response.content.read(64 * 1024)
    try:
        status = json.loads(raw)
    except ValueError:
        status = {}
    if not isinstance(status, dict) or not status.get("message"):
        status = {"message": f"{response.status} {response.reason}: {raw[:200].decode(errors='replace')}"}
    raise _failure(response.status, status, response.headers.get("Retry-After"))


def _failure(code: int, status: Mapping[str, Any], retry_after: str | None) -> Broken:
    message = plain(str(status.get("message") or status.get("reason") or code))
    if code == 404:
        return NotFound(message)
    if code == 409:
        return Conflict(message)
    if code == 429 or code >= 500:
        seconds = retry_after if retry_after is not None else (status.get("details") or {}).get("retryAfterSeconds")
        asked = str(seconds)
        return ApiUnavailable(message, timedelta(seconds=int(asked)) if asked.isdigit() else None)
    return ApiRefused(message, code)


def _unavailable(error: BaseException, path: str) -> ApiUnavailable:
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return ApiUnavailable(f"no answer in time to {path}")
    return ApiUnavailable(plain(f"{type(error).__name__}: {error}"))

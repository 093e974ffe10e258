"""A user API in this loop, its accounts, and a user's side of the wire."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
from unicorn_core import tokens
from unicorn_devcluster.stack import ROOT, Stack
from unicorn_gateway.user_api.server import serve
from unicorn_gateway.user_api.settings import UserSettings
from unicorn_kube import KubeClient, KubeConfig
from unicorn_store import Store, connect, users
from unicorn_store.users import Account, NewAccount

PASSWORD = "a long enough one"
ROLES = ROOT / "manifests/base/roles.yaml"
NOWHERE = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
users: [{name: u, user: {}}]
"""


def quick_hash(password: str = PASSWORD) -> str:
    """As bcrypt makes them, at the least cost: tests make many."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


async def account(store: Store, name: str, **more: Any) -> Account:
    new = NewAccount(name=name, kubernetes_user=f"netunicorn:{name}", **{"namespace": "default", **more})
    made = await users.add(store, new, quick_hash())
    assert made is not None
    return made


@dataclass
class Answer:
    status: int
    body: Any
    headers: Any

    @property
    def reason(self) -> Any:
        return self.body["reason"]


@dataclass
class User:
    """Somebody's side of the wire. `token`: empty for nobody's."""

    http: aiohttp.ClientSession
    url: str
    token: str = ""
    account: Account | None = None

    async def call(self, method: str, path: str, *, headers: dict[str, str] | None = None, **arguments: Any) -> Answer:
        mine = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with self.http.request(method, self.url + path, headers={**mine, **(headers or {})}, **arguments) as response:
            raw = await response.read()
            is_json = response.content_type in ("application/json", "application/problem+json")
            return Answer(response.status, json.loads(raw) if is_json else raw, response.headers)

    async def log_in(self, name: str, password: str = PASSWORD) -> Answer:
        """And bears the token from then on, if there is one."""
        answer = await self.call("POST", "/api/v1/token", data={"username": name, "password": password})
        self.token = answer.body["access_token"] if answer.status == 200 else ""
        return answer


async def stalled(url: str, path: str = "/api/v1/token", token: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that promises a body, and sends none."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 50"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n{form}\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
    await writer.drain()
    return reader, writer


@dataclass
class Running:
    """A user API that runs in this loop."""

    url: str
    http: aiohttp.ClientSession
    settings: UserSettings
    stop: asyncio.Event
    task: asyncio.Task[None]

    def user(self, token: str = "") -> User:
        return User(self.http, self.url, token)

    async def logged_in(self, name: str, password: str = PASSWORD) -> User:
        user = self.user()
        answer = await user.log_in(name, password)
        assert answer.status == 200, answer.body
        return user


@asynccontextmanager
async def user_api_on(dsn: str, directory: Path, **more: Any) -> AsyncIterator[Running]:
    """`directory`: of its key. Without a `kubeconfig` the Kubernetes API is away, and only passwords are known."""
    tokens.write_new_key(directory / "user-key")
    nowhere = directory / "nowhere.kubeconfig"
    nowhere.write_text(NOWHERE)
    values: dict[str, Any] = {
        "database_url": dsn + "?role=unicorn_user_gateway",
        "user_listen": "127.0.0.1:0",
        "user_signing_key_file": directory / "user-key" / "private.pem",
        "kubeconfig": str(nowhere),
        "authentication": ("database",),
        "stop_timeout": timedelta(seconds=2),
        "login_refusal_time": timedelta(seconds=0),
        "user_requests_per_second": 10_000,
        "user_request_burst": 10_000,
    }
    settings = UserSettings(**{**values, **more})
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(serve(settings, stop=stop, ready=ready.set_result))
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as http:
        yield Running(await ready, http, settings, stop, task)
        stop.set()
        await task


@dataclass
class Served:
    """A user API beside a cluster."""

    stack: Stack
    store: Store
    kube: KubeClient  # the administrator's
    http: aiohttp.ClientSession
    _bindings: list[tuple[str, str]] = field(default_factory=list)

    @property
    def home(self) -> str:
        return self.stack.namespaces[0]

    @property
    def other(self) -> str:
        return self.stack.namespaces[1]

    def user(self, token: str = "") -> User:
        return User(self.http, self.stack.user_url, token)

    async def add(self, namespace: str = "", *, role: str = "unicorn-user", **more: Any) -> User:
        """A user of that home (`self.home`) who is logged in and has the role there; none if it is empty."""
        name = f"user-{secrets.token_hex(4)}"
        made = await account(self.store, name, namespace=namespace or self.home, **more)
        if role:
            self.bind(made.namespace, role, f"--user={made.kubernetes_user}")
        user = self.user()
        answer = await user.log_in(name)
        assert answer.status == 200, answer.body
        user.account = made
        return user

    def bind(self, namespace: str, role: str, subject: str) -> None:
        """`subject`: --user=…, --group=… or --serviceaccount=…; until the end of the test."""
        name = f"test-{secrets.token_hex(4)}"
        cluster = self.stack.cluster
        cluster.run("create", "rolebinding", name, f"--clusterrole={role}", subject, "--namespace", namespace)
        self._bindings.append((namespace, name))

    def unbind(self) -> None:
        for namespace, name in self._bindings:
            self.stack.cluster.run("delete", "rolebinding", name, "--namespace", namespace, "--ignore-not-found")
        self._bindings.clear()


@asynccontextmanager
async def served_by(stack: Stack) -> AsyncIterator[Served]:
    stack.cluster.run("apply", "--server-side", "-f", str(ROLES))
    store = await connect(stack.dsn, application_name="unicorn-test", max_size=3)
    try:
        async with KubeClient(KubeConfig.load(stack.cluster.kubeconfig)) as kube, aiohttp.ClientSession() as http:
            served = Served(stack, store, kube, http)
            yield served
            served.unbind()
    finally:
        await store.close()

"""Deployment systems for the contract suite: each makes connectors to one real (or faked) system, and can look behind them."""

import asyncio
import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import netunicorn_venv
import pytest
from unicorn_connectors import fake
from unicorn_connectors.kubernetes import KubernetesConfig, KubernetesConnector
from unicorn_connectors.local import LocalConfig, LocalConnector, processes
from unicorn_core.connector import ConnectorContext, Gateway, Handle, Node, Order, Runtime
from unicorn_core.naming import LABEL_EXECUTOR
from unicorn_devcluster import images, registry, tools
from unicorn_kube import KubeConfig

TOKEN = "header.SECRET-TOKEN.signature"
STUB = Path(__file__).with_name("stub_agent.py")


async def until(condition: Callable[[], object], seconds: float = 20, what: str = ""):
    """Waits for a condition (a function or a coroutine function) and returns what it found."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not in {seconds} s: {what or condition}"
        await asyncio.sleep(0.01)


class System:
    """What a test needs of a deployment system besides its connector."""

    name: str
    node: Node
    namespace = "default"

    def order(self, fence: int = 1, node: Node | None = None, executor=None, **more) -> Order:
        handle = Handle(executor or uuid.uuid4(), node or self.node, self.namespace, str(uuid.uuid4()), fence)
        more.setdefault("gateway", Gateway("http://127.0.0.1:9"))
        return Order(handle, "e/1/d/0", token=TOKEN, **more)

    def same(self, order: Order, fence: int) -> Order:
        return replace(order, handle=replace(order.handle, fence=fence))

    def connector(self, notify=None):
        raise NotImplementedError

    async def starts(self, executor) -> int:
        """How many agents of it were ever started."""
        raise NotImplementedError

    async def alive(self, executor) -> bool:
        """Whether anything of it runs, asked of the system itself."""
        raise NotImplementedError

    async def exit(self, order: Order, code: int) -> None:
        """Its agent ends with this code."""
        raise NotImplementedError

    async def close(self) -> None:
        pass


class FakeSystem(System):
    name = "fake"
    node = Node("fake-0")

    def __init__(self) -> None:
        self.key = f"contract-{uuid.uuid4()}"

    def connector(self, notify=None):
        config = fake.FakeConfig(nodes=1, capacity=50, world=self.key)
        return fake.TYPE.create(ConnectorContext("fake", "default", "uid", config, notify=notify))

    async def starts(self, executor):
        return fake.world(self.key).starts[executor]

    async def alive(self, executor):
        return executor in fake.world(self.key).running()

    async def exit(self, order, code):
        fake.world(self.key).exit(order.handle.executor, code)

    async def close(self):
        await fake.forget(self.key)


class LocalSystem(System):
    name = "local"
    node = Node("local-0")

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="unicorn-local-"))  # pytest's own are closed to other users
        self.directory.chmod(0o711)
        self.started = []

    def connector(self, notify=None, **config):
        context = ConnectorContext(
            "local", "default", "uid", LocalConfig(capacity=50, **config), state_directory=str(self.directory), notify=notify
        )
        return LocalConnector(context, str(STUB))

    def order(self, fence=1, node=None, executor=None, stub="sleep", **more):
        more.setdefault("runtime", Runtime({"STUB": stub}))
        order = super().order(fence, node, executor, **more)
        self.started.append(order.handle.executor)
        return order

    def home(self, executor) -> Path:
        return self.directory / "uid" / str(executor) / "home"

    def _pids(self, executor):
        file = self.home(executor) / "starts"
        return file.read_text().split() if file.exists() else []

    async def starts(self, executor):
        await until(lambda: self._pids(executor) or not processes.of_executors([executor])[executor])
        return len(self._pids(executor))

    async def alive(self, executor):
        return bool(processes.of_executors([executor])[executor])

    async def exit(self, order, code):
        """Only 143 can be chosen from outside: a TERM that nobody expected."""
        await until(lambda: (self.home(order.handle.executor) / "ready").exists())
        for process in processes.of_executors([order.handle.executor])[order.handle.executor]:
            processes.send(process, 15)

    async def close(self):
        for executor in self.started:
            assert processes.kill_all(executor)
        shutil.rmtree(self.directory)


class LocalNetunicorn(LocalSystem):
    """The unmodified executor from PyPI. Nobody answers it, so it tries for minutes."""

    name = "local, netunicorn"

    def connector(self, notify=None, **config):
        return super().connector(notify, python=str(netunicorn_venv.python()), **config)

    def order(self, fence=1, node=None, executor=None, **more):
        return super().order(fence, node, executor, agent="Netunicorn", **more)

    def log(self, executor) -> str:
        file = self.home(executor) / "work" / f"executor_{executor}.log"
        return file.read_text() if file.exists() else ""

    def _pids(self, executor):
        return ["a start"] * self.log(executor).count("Parsed configuration")

    async def exit(self, order, code):
        await self.starts(order.handle.executor)
        for process in processes.of_executors([order.handle.executor])[order.handle.executor]:
            processes.send(process, 15)


class KubernetesSystem(System):
    name = "kubernetes"
    node = Node("linux-amd64")

    def __init__(self, cluster, namespace, images) -> None:
        self.cluster, self.namespace, self.images = cluster, namespace, images
        self.uid = str(uuid.uuid4())

    def connector(self, notify=None, **config):
        context = ConnectorContext("kubernetes", "default", self.uid, KubernetesConfig(**config), notify=notify)
        kube = KubeConfig.load(self.cluster.kubeconfig)
        return KubernetesConnector(context, kube, foreign=False, agent=str(STUB))

    def order(self, fence=1, node=None, executor=None, stub="sleep", **more):
        more.setdefault("runtime", Runtime({"STUB": stub}))
        more.setdefault("image", self.images["demo-base"])
        return super().order(fence, node, executor, **more)

    async def pods(self, executor):
        found = await asyncio.to_thread(
            self.cluster.run, "get", "pods", "-n", self.namespace, "-l", f"{LABEL_EXECUTOR}={executor}", "-o", "json"
        )
        return json.loads(found)["items"]

    async def phases(self, executor):
        return [pod["status"].get("phase") for pod in await self.pods(executor)]

    async def starts(self, executor):
        async def begun():
            phases = await self.phases(executor)
            return phases if "Pending" not in phases else None

        return len(await until(begun))

    async def alive(self, executor):
        return any(phase in ("Pending", "Running") for phase in await self.phases(executor))

    async def exit(self, order, code):
        await self.starts(order.handle.executor)
        name = f"unicorn-{order.handle.executor}"
        ready = ("exec", "-n", self.namespace, name, "-c", "executor", "--", "sh", "-c")
        waiting = "while ! test -e /workdir/ready; do sleep 0.05; done; kill -TERM 1"
        await asyncio.to_thread(self.cluster.run, *ready, waiting)


class KubernetesNetunicorn(KubernetesSystem):
    """The unmodified executor from PyPI in an image that has it. Nobody answers it, so it tries for minutes."""

    name = "kubernetes, netunicorn"

    def order(self, fence=1, node=None, executor=None, **more):
        more.setdefault("image", self.images["netunicorn"])
        return super().order(fence, node, executor, agent="Netunicorn", **more)

    async def exit(self, order, code):
        await self.starts(order.handle.executor)
        name = f"unicorn-{order.handle.executor}"
        ready = ("exec", "-n", self.namespace, name, "-c", "executor", "--", "sh", "-c")
        waiting = "while ! grep -q configuration /workdir/executor_*.log; do sleep 0.05; done; kill -TERM 1"
        await asyncio.to_thread(self.cluster.run, *ready, waiting)


@pytest.fixture(scope="session")
def netunicorn_image(cluster):
    return netunicorn_venv.image(cluster)


@pytest.fixture(scope="session")
def pod_images(cluster):
    """`demo-base`, and an `agent` image that brings the stub. References for pods."""
    built = images.build(["agent", "demo-base"])
    container = tools.run("buildah", "from", built["agent"]).strip()
    name = f"localhost/netunicorn/stub-agent:{uuid.uuid4().hex[:12]}"
    try:
        tools.run("buildah", "copy", "--quiet", container, STUB, "/opt/unicorn/executor.pyz")
        tools.run("buildah", "commit", "--quiet", container, name)
        yield {
            "agent": registry.push(cluster, name, "netunicorn/stub-agent", tag=name.rpartition(":")[2]),
            **images.push(cluster, ["demo-base"]),
        }
    finally:
        tools.run("buildah", "rm", container)
        tools.run("buildah", "rmi", name)


@pytest.fixture
def pods(cluster, namespace, pod_images):
    return KubernetesSystem(cluster, namespace, pod_images)


@pytest.fixture
def netunicorn_pods(cluster, namespace, pod_images, netunicorn_image):
    return KubernetesNetunicorn(cluster, namespace, {**pod_images, "netunicorn": netunicorn_image})


SYSTEMS = {
    "fake": lambda request: FakeSystem(),
    "local": lambda request: LocalSystem(),
    "local-netunicorn": lambda request: LocalNetunicorn(),
    "kubernetes": lambda request: request.getfixturevalue("pods"),
    "kubernetes-netunicorn": lambda request: request.getfixturevalue("netunicorn_pods"),
}
IN_PODS = [pytest.mark.cluster, pytest.mark.pods]


@pytest.fixture(params=[pytest.param(name, marks=IN_PODS if "kubernetes" in name else []) for name in SYSTEMS])
async def system(request):
    made = SYSTEMS[request.param](request)
    yield made
    await made.close()


@pytest.fixture
async def local():
    made = LocalSystem()
    yield made
    await made.close()


@pytest.fixture
async def local_netunicorn():
    made = LocalNetunicorn()
    yield made
    await made.close()


@pytest.fixture
async def connect(request):
    """Makes connectors of a system, closed at the end of the test."""
    made = []

    def create(system, *arguments, **more):
        made.append(system.connector(*arguments, **more))
        return made[-1]

    yield create
    for connector in made:
        await connector.close()


@pytest.fixture(name="until")
def _until():
    return until

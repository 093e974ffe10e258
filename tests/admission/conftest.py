"""A cluster with our CRDs, and webhooks that serve it: the real rules, a registry of one connector."""

import asyncio
import json
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from unicorn_core.errors import Problem, Refused
from unicorn_core.resources import KINDS
from unicorn_kube import KubeClient, KubeConfig
from unicorn_operator.admission import AdmissionSettings, serve_admission, unregister

ROOT = Path(__file__).parents[2]
READY_SECONDS = 30


def check_config(name, config):
    """A registry of one type without settings."""
    if name != "fake":
        raise Refused(Problem("spec.type", "no such connector", "one of fake", name))
    if config:
        raise Refused(Problem("spec.config", "no such field"))


def until(condition, seconds=20):
    """Waits for a condition; what it raises meanwhile is not held against it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except AssertionError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


@dataclass
class Kubectl:
    """kubectl of one user; `refused` gives what it says."""

    cluster: object
    user: str = ""
    namespace: str = "default"
    groups: tuple = ("system:masters",)

    def __call__(self, *arguments, manifest=None):
        done = self._run(arguments, manifest)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *arguments, manifest=None):
        done = self._run(arguments, manifest)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def get(self, *arguments):
        return json.loads(self("get", *arguments, "-o", "json"))

    def apply(self, manifest, *arguments):
        return self("apply", "-f", "-", *arguments, manifest=manifest)

    def _run(self, arguments, manifest):
        command = [*self.cluster.kubectl, "--namespace", self.namespace, *arguments]
        if self.user:
            command += ["--as", self.user, *(word for group in self.groups for word in ("--as-group", group))]
        text = None if manifest is None else manifest if isinstance(manifest, str) else json.dumps(manifest)
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def crds(cluster):
    cluster.run("apply", "--server-side", "-f", str(ROOT / "crds"))
    cluster.run("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    administrator = Kubectl(cluster)
    for kind in KINDS:  # discovery and OpenAPI come a moment after
        until(lambda name=kind.short_names[0]: administrator("explain", f"{name}.spec"))
    return cluster


@dataclass
class Server:
    """One replica's webhooks."""

    settings: AdmissionSettings
    kubeconfig: KubeConfig
    port: int = 0
    _ready: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _error: BaseException | None = None

    def start(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(READY_SECONDS), self._error
        assert self._error is None, self._error

    def stop(self):
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(READY_SECONDS)
        assert not self._thread.is_alive()

    def _run(self):
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self):
        self._task = asyncio.create_task(serve_admission(self.settings, self.kubeconfig, check_config, self._on_ready))
        try:
            await self._task
        except asyncio.CancelledError:
            return
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    def _on_ready(self, port):
        self.port = port
        self._ready.set()


def settings_for(cluster, **changes):
    address = cluster.host_address
    defaults = {"namespace": "default", "host": address, "port": 0, "url": f"https://{address}"}
    return AdmissionSettings(**{**defaults, "trusted_users": ("system:serviceaccount:default:user-api",), **changes})


@contextmanager
def serving(cluster, kubeconfig=None, **changes):
    """Webhooks until the end of the block; afterwards nobody is asked any more."""
    config = kubeconfig or KubeConfig.load(cluster.kubeconfig)
    server = Server(settings_for(cluster, **changes), config)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        asyncio.run(take_away(KubeConfig.load(cluster.kubeconfig), server.settings))


async def take_away(config, settings):
    async with KubeClient(config) as kube:
        await unregister(kube, settings.configuration)


@pytest.fixture
def serve(crds):
    """`serving`, for this cluster."""
    return lambda kubeconfig=None, **changes: serving(crds, kubeconfig, **changes)


@pytest.fixture(scope="module")
def webhooks(crds):
    with serving(crds) as server:
        yield server


@pytest.fixture(scope="module")
def administrator(crds):
    """kubectl in namespace default, for what leaves nothing behind."""
    return Kubectl(crds)


@pytest.fixture
def namespace(crds, namespace):
    """Its experiments have our finalizer from the webhook, and there is no operator to take it off."""
    yield namespace
    kubectl = Kubectl(crds, namespace=namespace)
    for name in kubectl("get", "experiments", "-o", "name").split():
        kubectl("patch", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


@pytest.fixture
def kubectl(crds, namespace):
    """Of the cluster's administrator; `kubectl_as` of anybody else."""
    return Kubectl(crds, namespace=namespace)


@pytest.fixture
def kubectl_as(crds, namespace):
    def make(user, *groups, masters=True):
        return Kubectl(crds, user, namespace, (*groups, *(("system:masters",) if masters else ())))

    return make


@pytest.fixture
def kubeconfig_of(crds, kubectl):
    """The KubeConfig of a new ServiceAccount that may do everything."""

    def make(name):
        user = f"{kubectl.namespace}:{name}"
        kubectl("create", "serviceaccount", name)
        kubectl("create", "clusterrolebinding", user, "--clusterrole=cluster-admin", f"--serviceaccount={user}")
        bindings.append(user)
        config = KubeConfig.load(crds.kubeconfig)
        token = kubectl("create", "token", name).strip()
        return KubeConfig(server=config.server, ca=config.ca, server_name=config.server_name, token=token)

    bindings = []
    yield make
    for user in bindings:
        kubectl("delete", "clusterrolebinding", user)


@pytest.fixture
def eventually():
    return until

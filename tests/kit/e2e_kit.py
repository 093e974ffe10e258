"""For tests of the whole: apply manifests to a running stack, wait for what they become, read what is recorded."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import yaml
from unicorn_core.errors import NotFound
from unicorn_core.naming import API_VERSION
from unicorn_devcluster.cluster import Cluster
from unicorn_devcluster.stack import Stack
from unicorn_kube import KubeClient, KubeConfig, Resource
from unicorn_kube.resource import CONNECTORS, ENVIRONMENTS, EXPERIMENTS, PIPELINES, TARGET_NODES
from unicorn_store import Store, connect, records
from unicorn_store.records import EventRecord, ExecutorRecord, ExperimentRecord, LogRecord

PATIENCE = 60.0
FINAL = ("Succeeded", "Failed", "Cancelled")
KINDS = {
    "Connector": CONNECTORS,
    "Environment": ENVIRONMENTS,
    "Experiment": EXPERIMENTS,
    "Pipeline": PIPELINES,
    "TargetNode": TARGET_NODES,
}
Manifest = Mapping[str, Any]
T = TypeVar("T")


async def eventually(check: Callable[[], Awaitable[T]], what: str, seconds: float = PATIENCE) -> T:
    """The first true answer of `check`. AssertionError and NotFound mean not yet."""
    deadline, last = time.monotonic() + seconds, ""
    while True:
        try:
            if answer := await check():
                return answer
        except (AssertionError, NotFound) as error:
            last = str(error)
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}; {last}"
        await asyncio.sleep(0.05)


@dataclass
class Experiment:
    """One that was applied."""

    kit: "Kit"
    namespace: str
    name: str
    uid: UUID

    async def get(self) -> dict[str, Any]:
        """The resource. Raises NotFound."""
        return await self.kit.kube.get(EXPERIMENTS, self.namespace, self.name)

    async def status(self) -> dict[str, Any]:
        """Empty before the operator's first pass."""
        return (await self.get()).get("status") or {}

    async def condition(self, type: str) -> dict[str, Any] | None:
        found = (entry for entry in (await self.status()).get("conditions", ()) if entry["type"] == type)
        return next(found, None)

    async def reaches(self, *phases: str, seconds: float = PATIENCE, **executors: int) -> dict[str, Any]:
        """Its status once it is in one of these phases, with at least so many executors in a state (running=3).

        Fails at once when it ends in another phase.
        """

        async def check() -> dict[str, Any] | None:
            status = await self.status()
            phase = status.get("phase", "Pending")
            counts = status.get("executors") or {}
            if phase in phases and all(counts.get(state, 0) >= least for state, least in executors.items()):
                return status
            said = f"phase {phase}, {status.get('reason')}: {status.get('message')}, {counts}"
            if phase in FINAL:
                raise _EndedElsewhere(f"{self.name} does not reach {phases}: {said}; {status.get('failures')}")
            raise AssertionError(said)

        try:
            return await eventually(check, f"{self.name} reaches {phases}", seconds)
        except _EndedElsewhere as error:
            raise AssertionError(str(error)) from None

    async def ends(self, seconds: float = PATIENCE) -> dict[str, Any]:
        """Its status in whatever final phase it comes to."""
        return await self.reaches(*FINAL, seconds=seconds)

    async def succeeds(self, seconds: float = PATIENCE) -> dict[str, Any]:
        return await self.reaches("Succeeded", seconds=seconds)

    async def becomes(self, check: Callable[[dict[str, Any]], object], what: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Its status once `check` finds it right."""

        async def look() -> dict[str, Any] | None:
            status = await self.status()
            assert check(status), str(status)
            return status

        return await eventually(look, what, seconds)

    async def change(self, **spec: Any) -> None:
        """Merges into its spec: change(desiredState="Running")."""
        await self.kit.kube.patch_merge(EXPERIMENTS, self.namespace, self.name, {"spec": spec})

    async def cancel(self) -> None:
        await self.change(desiredState="Cancelled")

    async def delete(self) -> None:
        """Begins it; `gone` waits."""
        with contextlib.suppress(NotFound):
            await self.kit.kube.delete(EXPERIMENTS, self.namespace, self.name)

    async def gone(self, seconds: float = PATIENCE) -> None:
        async def check() -> bool:
            try:
                await self.get()
            except NotFound:
                return True
            return False

        await eventually(check, f"{self.name} is gone", seconds)

    # --- what PostgreSQL has ------------------------------------------------------------------------------------------

    async def record(self) -> ExperimentRecord:
        found = await records.experiment(self.kit.store, self.uid)
        assert found is not None, f"no record of {self.name}"
        return found

    async def executors(self, attempt: int = 1) -> list[ExecutorRecord]:
        return [record async for record in records.executors(self.kit.store, self.uid, attempt)]

    async def results(self, attempt: int = 1) -> dict[str, Mapping[str, Any]]:
        """deployment/index -> task -> [{outcome, value, error}]; {} where none came."""
        return {f"{record.deployment}/{record.index}": record.results or {} for record in await self.executors(attempt)}

    async def values(self, task: str, attempt: int = 1) -> dict[str, Any]:
        """deployment/index -> the value of the last run of this task."""
        return {place: results[task][-1].get("value") for place, results in (await self.results(attempt)).items()}

    async def events(self, executor: UUID) -> list[EventRecord]:
        return [record async for record in records.events(self.kit.store, executor)]

    async def logs(self, executor: UUID) -> list[LogRecord]:
        return [record async for record in records.logs(self.kit.store, executor)]

    async def leases(self) -> int:
        """How many it holds."""
        return await self.kit.count("node_lease", self.uid)

    async def orphans(self) -> int:
        return await self.kit.count("orphan", self.uid)


class _EndedElsewhere(Exception):
    """Waiting longer is in vain."""


@dataclass
class Kit:
    """A stack and ways into it. `namespace`: where things go that name none. `local`: a reference to the local Connector."""

    stack: Stack
    kube: KubeClient
    store: Store
    namespace: str
    _applied: list[Experiment] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        return self.stack.cluster

    @property
    def local(self) -> dict[str, str]:
        return {"name": "local", "namespace": self.stack.namespaces[0]}

    @property
    def pods(self) -> dict[str, str]:
        return {"name": "kubernetes", "namespace": self.stack.namespaces[0]}

    async def apply(self, *manifests: Manifest | str | Path, namespace: str = "") -> Experiment:
        """Server-side apply, as `kubectl apply -f`: objects, YAML text, a file or a folder. Returns the last Experiment."""
        applied = None
        for body in (body for manifest in manifests for body in documents(manifest)):
            metadata = {"namespace": namespace or self.namespace, **body["metadata"]}
            made = await self.kube.apply(KINDS[body["kind"]], {**body, "metadata": metadata}, "test")
            if body["kind"] == "Experiment":
                applied = self.took(metadata["namespace"], metadata["name"], UUID(made["metadata"]["uid"]))
        assert applied is not None, "no Experiment among the manifests"
        return applied

    def took(self, namespace: str, name: str, uid: UUID) -> Experiment:
        """One that was applied by other means; it is deleted after the test too."""
        self._applied.append(Experiment(self, namespace, name, uid))
        return self._applied[-1]

    async def put(self, kind: str, name: str, spec: Mapping[str, Any], namespace: str = "") -> dict[str, Any]:
        """Apply one object of ours that is no Experiment."""
        metadata = {"name": name, "namespace": namespace or self.namespace}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": dict(spec)}
        return await self.kube.apply(KINDS[kind], body, "test")

    async def run(self, name: str, *tasks: Mapping[str, Any], count: int = 1, **spec: Any) -> Experiment:
        """An Experiment of one deployment `d` on the local Connector; the tasks run one after the other."""
        return await self.apply(experiment(name, *tasks, count=count, connector=self.local, **spec))

    def records(self, of: Experiment, attempt: int = 1) -> Awaitable[list[ExecutorRecord]]:
        return of.executors(attempt)

    async def count(self, table: str, uid: UUID) -> int:
        """Rows of an experiment in one of the tables that have experiment_uid."""
        async with self.store.connection() as connection:
            found = await connection.fetchval(f"SELECT count(*) FROM unicorn.{table} WHERE experiment_uid = $1", uid)
        return int(found)

    async def connector_ready(self, reference: Mapping[str, str], resource: Resource = CONNECTORS) -> None:
        """Until it is healthy and its nodes are there."""

        async def check() -> bool:
            item = await self.kube.get(resource, reference["namespace"], reference["name"])
            conditions = {entry["type"]: entry for entry in (item.get("status") or {}).get("conditions", ())}
            assert all(conditions.get(type, {}).get("status") == "True" for type in ("Healthy", "InventorySynced")), conditions
            return True

        await eventually(check, f"Connector {reference['name']} is ready")

    async def clean(self) -> None:
        """Delete the experiments that were applied, and wait: the next test finds the nodes free."""
        for applied in self._applied:
            await applied.delete()
        for applied in self._applied:
            await applied.gone()


@contextlib.asynccontextmanager
async def opened(stack: Stack, namespace: str = "") -> AsyncIterator[Kit]:
    """A kit on a stack; what it applied is deleted at the end."""
    async with KubeClient(KubeConfig.load(stack.cluster.kubeconfig)) as kube:
        store = await connect(stack.dsn, application_name="test", max_size=4)
        try:
            kit = Kit(stack, kube, store, namespace or stack.namespaces[0])
            yield kit
            await kit.clean()
        finally:
            await store.close()


def documents(manifest: Manifest | str | Path) -> list[Manifest]:
    """The objects of a manifest, in order; of a folder: of its *.yaml by name."""
    if isinstance(manifest, Mapping):
        return [manifest]
    if isinstance(manifest, str):
        return [body for body in yaml.safe_load_all(manifest) if body]
    files = sorted(manifest.glob("*.yaml")) if manifest.is_dir() else [manifest]
    return [body for file in files for body in documents(file.read_text())]


def experiment(
    name: str, *tasks: Mapping[str, Any], count: int = 1, connector: Mapping[str, str] | None = None, **spec: Any
) -> Manifest:
    """An Experiment of one deployment `d` of `count` executors; each task ({name, run | script | …}) is a stage of its own."""
    nodes: dict[str, Any] = {"count": count}
    if connector:
        nodes["connectorRef"] = dict(connector)
    stages = [{"name": f"stage-{index}", "tasks": [dict(task)]} for index, task in enumerate(tasks)]
    deployment = {"name": "d", "nodes": nodes, "pipeline": {"stages": stages}}
    deployment |= {key: spec.pop(key) for key in ("keepAlive", "cleanup", "environment") if key in spec}
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": name},
        "spec": {"deployments": [deployment], **spec},
    }

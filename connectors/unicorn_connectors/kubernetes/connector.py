"""The verbs of the connector `kubernetes`."""

import asyncio
import os
import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from unicorn_core.connector import (
    Connector,
    ConnectorContext,
    DiscoveredNode,
    Done,
    EnvironmentType,
    Exited,
    Failed,
    Handle,
    Health,
    Node,
    NodeName,
    Order,
    Outcome,
    Running,
    Seen,
    Sighting,
    Unknown,
    Unreachable,
)
from unicorn_core.errors import ApiRefused, Broken, Conflict, NotFound, Problem, Refused, UnicornError
from unicorn_core.naming import ExecutorId, pod_name
from unicorn_core.platforms import platform_name
from unicorn_kube import KubeClient, KubeConfig
from unicorn_kube.resource import NODES, PODS, SECRETS

from unicorn_connectors import netunicorn
from unicorn_connectors.agent_file import AgentSource, given_agent
from unicorn_connectors.kubernetes import manifest
from unicorn_connectors.kubernetes.config import KubernetesConfig
from unicorn_connectors.kubernetes.delivery import Deliveries
from unicorn_connectors.kubernetes.pods import Pods
from unicorn_connectors.kubernetes.refusals import failure
from unicorn_connectors.kubernetes.sightings import PodView, view

_CREATED_AT_ONCE = 8  # pods: each one's Secret is to follow it soon, not after all other pods
_FIRST_LOOK_SECONDS = 10.0
_SUPERSEDED_GRACE = timedelta(seconds=6)  # the agent gives its tasks 5 s
_BEYOND_GRACE = timedelta(seconds=15)  # what the kubelet and the API need after the last container ended
_TRIES = 3
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}  # as Kubernetes calls them


class KubernetesConnector:
    """See the protocol. `foreign`: another cluster, with one namespace for the pods of all."""

    def __init__(
        self, context: ConnectorContext, kube: KubeConfig, foreign: bool, agent: str = "", agent_image: str = ""
    ) -> None:
        self._config: KubernetesConfig = context.config
        self._uid = context.uid
        self._notify: Callable[[ExecutorId], None] = context.notify or (lambda _: None)
        self._kube = KubeClient(kube)
        self._namespace = (self._config.namespace or kube.namespace) if foreign else None
        self._deliveries = Deliveries(self._kube, AgentSource(agent), self._config.agent_image, agent_image)
        self._creating = asyncio.Semaphore(_CREATED_AT_ONCE)
        self._opening = asyncio.Lock()
        self._pods: Pods | None = None
        self._watching: asyncio.Task[None] | None = None

    # --- the system --------------------------------------------------------------------------------------------------

    async def check(self) -> Health:
        try:
            pods = await self._open()
            await self._kube.version()
        except UnicornError as error:
            return _health(error)
        if not await pods.ready(_FIRST_LOOK_SECONDS):
            return _health(pods.error) if pods.error else Health(False, "Unreachable", "the pods cannot be listed in time")
        return Health(True)

    async def discover(self) -> Sequence[DiscoveredNode]:
        """A pool for each architecture of the cluster's nodes. Without leave to list nodes: for this machine's."""
        await self._open()
        try:
            selector = ",".join(f"{key}={value}" for key, value in self._config.node_selector.items())
            nodes = (await self._kube.list(NODES, label_selector=selector)).items
            architectures = sorted({node["status"]["nodeInfo"]["architecture"] for node in nodes if _is_linux(node)})
        except ApiRefused as error:
            if error.status != 403:
                raise
            architectures = [_MACHINES.get(platform.machine(), platform.machine())]
        return [self._pool(architecture) for architecture in architectures]

    def _pool(self, architecture: str) -> DiscoveredNode:
        full = platform_name(architecture)
        return DiscoveredNode(
            name=manifest.NODE_PREFIX + architecture,
            architecture=full,
            environments=(EnvironmentType.IMAGE,),
            properties={"architecture": full, **self._config.properties},
            elastic_max=self._config.capacity,
        )

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._kube.__aexit__(None, None, None)

    async def _open(self) -> Pods:
        """The client and the watch are made at the first use: a constructor has no loop."""
        async with self._opening:
            if self._pods is None:
                await self._kube.__aenter__()
                selector = f"{manifest.LABEL_CONNECTOR}={self._uid}"
                self._pods = Pods(self._kube, selector, self._namespace, self._notify)
                self._watching = asyncio.create_task(self._pods.run())
        return self._pods

    # --- prepare and start -------------------------------------------------------------------------------------------

    async def prepare(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        """Nothing but checks: the kubelet pulls images when the pod is there."""
        return {order.handle.executor: self._refused(order) or Done() for order in orders}

    async def start(self, orders: Sequence[Order]) -> Mapping[ExecutorId, Outcome]:
        pods = await self._open()
        return await self._each([order.handle for order in orders], orders, lambda order: self._start(order, pods))

    async def _start(self, order: Order, pods: Pods) -> Outcome:
        if refused := self._refused(order):
            return refused
        namespace = self._namespace_of(order.handle)
        delivery = None if netunicorn.is_wanted(order) else await self._deliveries.to(namespace, order.gateway)
        wanted = manifest.pod(order, namespace, self._uid, self._config, delivery)
        for _ in range(_TRIES):
            async with self._creating:
                found = await self._create(order, wanted, pods)
                if found is not None and found.fence == order.handle.fence:
                    return await self._give_secret(order, found)
            if found is None:
                continue  # it went in between
            if found.fence > order.handle.fence:
                return Failed("Superseded", f"it was started with fence {found.fence}")
            if not await self._delete(found, pods, _SUPERSEDED_GRACE, final_too=True):
                return Unknown("StillRunning", "the pod that it supersedes does not end")
        return Unknown("NotCreated", "the pod of this name comes and goes")

    async def _create(self, order: Order, wanted: dict[str, Any], pods: Pods) -> PodView | None:
        """The pod of this name, ours or an earlier one."""
        try:
            pod: dict[str, Any] | None = await self._kube.create(PODS, wanted)
        except Conflict:
            pod = await self._get(order.handle)
        if pod is None:
            return None
        pods.put(pod)
        return view(pod)

    async def _give_secret(self, order: Order, pod: PodView) -> Outcome:
        try:
            await self._kube.create(SECRETS, manifest.secret(order, pod.namespace, pod.name, pod.uid))
        except Conflict:
            return Done("was started before")
        return Done()

    def _refused(self, order: Order) -> Failed | None:
        if not order.handle.node.name.startswith(manifest.NODE_PREFIX):
            return Failed("NodeGone", f"there is no node {order.handle.node.name}")
        if not order.image:
            return Failed("ImageMissing", "a pod needs an image: set the Environment's image, or the operator's default image")
        if order.runtime.network or order.runtime.additional_arguments:
            return Failed("EnvironmentUnsupported", "runtime.network and runtime.additionalArguments mean nothing to pods")
        return None

    # --- observe -----------------------------------------------------------------------------------------------------

    async def observe(self, nodes: Sequence[Node]) -> Mapping[NodeName, Sighting]:
        pods = await self._open()
        if not await pods.ready(_FIRST_LOOK_SECONDS):
            why = _health(pods.error) if pods.error else Health(False, "Unreachable", "the pods cannot be listed in time")
            return {node.name: Unreachable(why.reason, why.message) for node in nodes}
        now = datetime.now(UTC)
        seen: dict[NodeName, dict[ExecutorId, Running | Exited]] = {node.name: {} for node in nodes}
        for pod in pods:
            if pod.node in seen and not (pod.final and pod.deleting):  # the latter is gone but for its name
                seen[pod.node][pod.executor] = pod.sighting(now)
        return {name: Seen(executors) for name, executors in seen.items()}

    # --- stop and cleanup --------------------------------------------------------------------------------------------

    async def stop(self, handles: Sequence[Handle], grace: timedelta) -> Mapping[ExecutorId, Outcome]:
        pods = await self._open()
        return await self._each(handles, handles, lambda handle: self._stop(handle, pods, grace))

    async def _stop(self, handle: Handle, pods: Pods, grace: timedelta) -> Outcome:
        found = await self._find(handle, pods)
        if found is None:
            return Done("nothing was there")
        for _ in range(_TRIES):
            if 0 < handle.fence < found.fence:
                return Failed("Superseded", f"it was started with fence {found.fence}")
            if not await self._delete(found, pods, grace):
                return Unknown("StillTerminating", "the pod does not end; its node may be dead")
            found = await self._find(handle, pods)  # the one in view may have given way to another
            if found is None or found.final:
                return Done(clean=found is None or found.deleting)
        return Unknown("StillRunning", "the pod of this name comes and goes")

    async def cleanup(self, handles: Sequence[Handle]) -> Mapping[ExecutorId, Outcome]:
        pods = await self._open()
        return await self._each(handles, handles, lambda handle: self._cleanup(handle, pods))

    async def _cleanup(self, handle: Handle, pods: Pods) -> Outcome:
        found = await self._find(handle, pods)
        if found is None:
            return Done("nothing was there")
        if not found.final:
            return Failed("StillRunning", "stop it first")
        if found.deleting:
            return Done("it is on its way out")
        try:
            await self._kube.delete(PODS, found.namespace, found.name, uid=found.uid)
        except (NotFound, Conflict):
            pass  # somebody else was first
        return Done()

    # --- one pod -----------------------------------------------------------------------------------------------------

    async def _delete(self, found: PodView, pods: Pods, grace: timedelta, final_too: bool = False) -> bool:
        """Whether nothing of this very pod runs any more (`final_too`: and its name is free)."""
        if found.final and not final_too:
            return True
        seconds = max(1, round(grace.total_seconds()))  # 0 would forget the pod, whatever its node still does
        try:
            await self._kube.delete(PODS, found.namespace, found.name, grace_seconds=seconds, uid=found.uid)
        except (NotFound, Conflict):
            pods.drop(found.uid)
            return True
        try:
            async with asyncio.timeout((grace + _BEYOND_GRACE).total_seconds()):
                await pods.ended(found.uid, gone=final_too)
        except TimeoutError:
            return False
        return True

    async def _find(self, handle: Handle, pods: Pods) -> PodView | None:
        """The executor's pod. What is not in view is asked for; what is, may have gone since: its uid makes that harmless."""
        if (known := pods.of(handle.executor, self._namespace_of(handle))) is not None:
            return known
        pod = await self._get(handle)
        if pod is None:
            return None
        pods.put(pod)
        return view(pod)

    async def _get(self, handle: Handle) -> dict[str, Any] | None:
        try:
            return await self._kube.get(PODS, self._namespace_of(handle), pod_name(handle.executor))
        except NotFound:
            return None

    def _namespace_of(self, handle: Handle) -> str:
        return self._namespace or handle.namespace

    async def _each(
        self, handles: Sequence[Handle], items: Sequence[Any], act: Callable[[Any], Awaitable[Outcome]]
    ) -> Mapping[ExecutorId, Outcome]:
        """All at once; what the API says to one is its own outcome."""

        async def one(item: Any) -> Outcome:
            try:
                return await act(item)
            except (ApiRefused, NotFound) as error:
                return failure(error)
            except Broken as error:
                return Unknown(error.reason, str(error))

        outcomes = await asyncio.gather(*(one(item) for item in items))
        return {handle.executor: outcome for handle, outcome in zip(handles, outcomes, strict=True)}


def _is_linux(node: Mapping[str, Any]) -> bool:
    return bool(node["status"]["nodeInfo"].get("operatingSystem", "linux") == "linux")


def _health(error: UnicornError) -> Health:
    status = getattr(error, "status", 0)
    return Health(False, "Unauthorized" if status in (401, 403) else "Unreachable", str(error))


class KubernetesType:
    name = "kubernetes"
    config_model = KubernetesConfig

    def create(self, context: ConnectorContext) -> Connector:
        """Credentials: a `kubeconfig`; none: the operator's own cluster. Raises Refused."""
        foreign = bool(context.credentials)
        if foreign and "kubeconfig" not in context.credentials:
            raise Refused(Problem("spec.credentialsSecretRef", "the Secret has no key kubeconfig", "a kubeconfig under that key"))
        kube = (
            KubeConfig.parse(context.credentials["kubeconfig"], untrusted=True)
            if foreign
            else KubeConfig.load(os.environ.get("UNICORN_KUBECONFIG") or None)
        )
        kube.ssl_context()  # raises for certificates that are none
        return KubernetesConnector(context, kube, foreign, given_agent(), os.environ.get("UNICORN_AGENT_IMAGE", ""))


TYPE = KubernetesType()

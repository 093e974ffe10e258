"""From settings to the parts: what is asked, and what carries builds out."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from unicorn_core.errors import Problem, Refused
from unicorn_core.images import AGENT_FILE, agent_archive
from unicorn_kube import KubeClient
from unicorn_store import Store

from unicorn_operator.cache import Caches
from unicorn_operator.images.asking import Images
from unicorn_operator.images.builders import Builder
from unicorn_operator.images.credentials import CredentialReader
from unicorn_operator.images.inputs import InputReader
from unicorn_operator.images.job import JobBuilder
from unicorn_operator.images.job_manifest import JobTerms
from unicorn_operator.images.local import LocalBuilder
from unicorn_operator.images.ordering import OrderMaker
from unicorn_operator.images.questions import Questions
from unicorn_operator.images.repository import FIELD, Repository
from unicorn_operator.images.resolving import Resolver
from unicorn_operator.images.running import BuildRunner
from unicorn_operator.metrics import Metrics
from unicorn_operator.queue import WorkQueue
from unicorn_operator.registry import Addition, Reference, Registries
from unicorn_operator.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    images: Images
    runner: BuildRunner | None  # None: nothing is built


def check(settings: Settings) -> None:
    """Raises Refused for settings of builds that cannot work together. Reads a file."""
    problems = []
    if settings.builder:
        needed = {"UNICORN_BUILD_REGISTRY": settings.build_registry, "UNICORN_AGENT_PATH": settings.agent_path}
        if settings.builder == "job":
            needed["UNICORN_BUILDER_IMAGE"] = settings.builder_image
        problems = [
            Problem(name, f"is empty, and UNICORN_BUILDER is {settings.builder}", "set it")
            for name, value in needed.items()
            if not value
        ]
    if settings.build_registry:
        try:
            name_of(settings)
        except Refused as refused:
            problems += refused.problems
    if problems:
        raise Refused(problems)


def name_of(settings: Settings) -> Reference:
    """The repository of built images. Raises Refused."""
    reference = Reference.parse(settings.build_registry, FIELD)
    if reference.digest or ":" in settings.build_registry.rpartition("/")[2]:
        raise Refused(Problem(FIELD, "has a tag or a digest", "HOST[:PORT]/REPOSITORY", settings.build_registry))
    return reference.tagged("")


def addition(agent: bytes) -> Addition:
    """What makes a builder's image an executor's: as root, for so the commands were run, and so are netunicorn's images."""
    return Addition(agent_archive(agent), f"agent: {AGENT_FILE}", ("python3", AGENT_FILE))


@asynccontextmanager
async def made(
    settings: Settings,
    namespace: str,
    kube: KubeClient,
    store: Store,
    caches: Caches,
    queue: WorkQueue,
    metrics: Metrics,
    now: Callable[[], datetime],
) -> AsyncIterator[Parts]:
    """`namespace`: the operator's own. Raises Refused for a file that cannot be used."""
    async with (
        Registries(plain_http=settings.plain_http_registries, ca_file=settings.registry_ca_file) as registries,
        aclosing(Questions()) as questions,
    ):
        file = settings.build_registry_credentials_file
        credentials = CredentialReader(kube, namespace, settings.build_registry_secret, file)
        agent = await asyncio.to_thread(settings.agent) if settings.builder else b""
        agent_sha256 = hashlib.sha256(agent).hexdigest()
        inputs = InputReader(kube, Resolver(registries, credentials, questions), settings.default_base, agent_sha256)
        begin = asyncio.Event()
        if not settings.builder:
            yield Parts(Images(store, queue, inputs, None, settings.resolve_images, begin.set), None)
            return
        repository = Repository(name_of(settings), registries, credentials, questions, addition(agent))
        images = Images(store, queue, inputs, repository, settings.resolve_images, begin.set)
        builder = await _builder(settings, namespace, kube)
        runner = BuildRunner(
            store=store,
            caches=caches,
            images=images,
            builder=builder,
            repository=repository,
            orders=OrderMaker(repository.name, credentials, settings.plain_http_registries),
            agent_sha256=agent_sha256,
            limit=settings.build_concurrency,
            deadline=settings.build_deadline,
            metrics=metrics,
            now=now,
            wake=begin,
        )
        try:
            yield Parts(images, runner)
        finally:
            await builder.close()


async def _builder(settings: Settings, namespace: str, kube: KubeClient) -> Builder:
    if settings.builder == "local":
        return LocalBuilder(Path(settings.state_directory) / "builds", settings.registry_ca_file)
    ca_file = settings.registry_ca_file
    terms = JobTerms(
        namespace=namespace,
        image=settings.builder_image,
        deadline=settings.build_deadline,
        service_account=settings.build_service_account,
        memory=settings.build_memory,
        storage=settings.build_storage,
        host_network=settings.build_host_network,
        authorities=await asyncio.to_thread(Path(ca_file).read_text) if ca_file else "",
    )
    return JobBuilder(kube, terms)

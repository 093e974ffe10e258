"""The runner of builds, turn by turn, on a real database and registry. Its builder is a double: what it does is scripted."""

import base64
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from registry_kit import RegistryServer
from unicorn_core.errors import ApiUnavailable, NotFound
from unicorn_core.images import BuildInputs, BuildReport, BuildResult, build_hash, steps
from unicorn_core.planning.builds import TRIES, BuildState, Hopeless, NotYet, Ready, Seen, Stage, judge_builds
from unicorn_core.resources import BuildSpec, EnvironmentSpec, load
from unicorn_core.resources.environment import EnvironmentStatus
from unicorn_operator.cache import Caches
from unicorn_operator.images.asking import Asker, Images, Look, Wanted
from unicorn_operator.images.builders import BuildOrder
from unicorn_operator.images.credentials import CredentialReader
from unicorn_operator.images.inputs import InputReader, document_of, inputs_of
from unicorn_operator.images.making import addition
from unicorn_operator.images.ordering import OrderMaker
from unicorn_operator.images.questions import Questions
from unicorn_operator.images.repository import Repository
from unicorn_operator.images.resolving import Resolver
from unicorn_operator.images.running import BuildRunner
from unicorn_operator.key import Key
from unicorn_operator.metrics import Metrics
from unicorn_operator.queue import WorkQueue
from unicorn_operator.reconcilers.environments import status_of
from unicorn_operator.registry import Reference, Registries
from unicorn_operator.registry.manifests import OCI_MANIFEST
from unicorn_store import Store, builds
from unicorn_store.builds import Asked, Requester

pytestmark = [pytest.mark.database, pytest.mark.tools]

AGENT = b"agent"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Double:
    """`ends`: what each run says at its next look. `faults`: what is raised when one is started, once each."""

    running: dict[str, Seen] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    faults: list[Exception] = field(default_factory=list)
    orders: list[BuildOrder] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)  # the log of a run, where it matters

    async def start(self, order: BuildOrder) -> None:
        if self.faults:
            raise self.faults.pop(0)
        if order.name not in self.running:
            self.started.append(order.name)
            self.orders.append(order)
            self.running[order.name] = Seen(Stage.RUNNING)

    async def look(self, names: Collection[str]) -> Mapping[str, Seen]:
        return {name: self.running.get(name, Seen(Stage.ABSENT)) for name in names}

    async def log(self, name: str) -> str:
        return self.said.get(name, f"log of {name}")

    async def remove(self, name: str) -> None:
        self.running.pop(name, None)
        self.removed.append(name)

    async def sweep(self, keep: Collection[str]) -> None:
        for name in self.running.keys() - set(keep):
            await self.remove(name)

    async def close(self) -> None:
        """Nothing is open."""


@dataclass
class Secrets:
    """Of all namespaces; no other object is ever asked for."""

    logins: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)  # namespace and name -> host -> USER:PASSWORD

    async def get(self, _resource: object, namespace: str, name: str) -> dict[str, Any]:
        if (namespace, name) not in self.logins:
            raise NotFound(name)
        auths = {
            host: {"auth": base64.b64encode(login.encode()).decode()} for host, login in self.logins[(namespace, name)].items()
        }
        return {"data": {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}}


@dataclass
class Works:
    store: Store
    registry: RegistryServer
    builder: Double
    runner: BuildRunner
    secrets: Secrets

    async def ask(
        self,
        content: str,
        namespace: str = "lab",
        agent: bytes = AGENT,
        waits: bool = True,
        repository: str = "",
        secret: str = "",
        asked_at: datetime = LONG_AGO,
    ) -> str:
        """Its hash. Who asks is an Environment that exists, or never did. `repository`: of the base, as this one names it."""
        base = f"{repository or f'{self.registry.host}/base'}@sha256:{hashlib.sha256(content.encode()).hexdigest()}"
        inputs = BuildInputs(base, "linux/amd64", hashlib.sha256(agent).hexdigest(), commands=(content,))
        asker = uuid.uuid4()
        if waits:
            metadata = {"namespace": namespace, "name": content, "uid": str(asker), "resourceVersion": "1"}
            self.runner.caches.environments.put({"metadata": metadata, "spec": {}})
        hash = build_hash(inputs)
        asked = [Asked(hash, "linux/amd64", document_of(inputs), pull_secret=secret)]
        await builds.request_builds(self.store, Requester(asker, namespace, asked_at), asked)
        return hash

    async def state(self, hash: str) -> tuple[BuildState, str]:
        (found,) = await builds.read_builds(self.store, [hash])
        return found.state, found.reason

    async def tag(self, hash: str) -> str:
        """Under which its builder pushes."""
        inputs = inputs_of(await builds.read_inputs(self.store, hash) or {})
        return steps(inputs)[-1].tag

    def agent_in(self, hash: str) -> str:
        """The digest of the last layer of the image under this hash."""
        accept = {"Accept": OCI_MANIFEST}
        manifest = json.loads(self.registry.send("GET", f"/v2/environments/manifests/{hash}", accept)[2])
        return str(manifest["layers"][-1]["digest"])

    async def ends(self, hash: str, result: BuildResult = BuildResult.BUILT, **report: Any) -> None:
        """The run under way is over; what was built is in the registry."""
        digest = self.registry.push("environments", f"other-{hash[:8]}", "linux/amd64", hash) if result == "Built" else ""
        (name,) = [name for name in self.builder.running if hash[:32] in name]
        self.builder.running[name] = Seen(Stage.ENDED, BuildReport(result, digest, **report))

    async def now(self, hash: str) -> None:
        """What was put off has its turn."""
        async with self.store.connection() as connection:
            await connection.execute("UPDATE unicorn.environment_build SET not_before = now() WHERE hash = $1", hash)

    async def forget_that_they_asked_just_now(self) -> None:
        async with self.store.connection() as connection:
            await connection.execute("UPDATE unicorn.build_request SET requested_at = now() - interval '1 minute'")


@pytest.fixture
async def works(store: Store, tmp_path, unused_tcp_port) -> AsyncIterator[Works]:
    registry = RegistryServer.make(tmp_path, unused_tcp_port).start()
    async with Registries(plain_http=[registry.host]) as registries, aclosing(Questions()) as questions:
        secrets = Secrets()
        credentials = CredentialReader(secrets, "system")  # type: ignore[arg-type]
        name = Reference.parse(f"{registry.host}/environments").tagged("")
        repository = Repository(name, registries, credentials, questions, addition(AGENT))
        sha256 = hashlib.sha256(AGENT).hexdigest()
        inputs = InputReader(None, Resolver(registries, credentials, questions), "", sha256)  # type: ignore[arg-type]
        builder, caches = Double(), Caches()
        runner = BuildRunner(
            store=store,
            caches=caches,
            images=Images(store, WorkQueue(), inputs, repository, True, lambda: None),
            builder=builder,
            repository=repository,
            orders=OrderMaker(name, credentials, [registry.host]),
            agent_sha256=sha256,
            limit=2,
            deadline=timedelta(hours=1),
            metrics=Metrics(),
            now=lambda: datetime.now(UTC),
        )
        yield Works(store, registry, builder, runner, secrets)
    registry.stop()


async def test_as_many_as_may_and_namespaces_take_turns(works):
    first, *_ = [await works.ask(f"a{index}", "a") for index in range(4)]
    other = await works.ask("b", "b")
    assert await works.runner.turn()
    assert [first[:32] in works.builder.started[0], other[:32] in works.builder.started[1]] == [True, True]
    assert len(works.builder.started) == 2
    await works.ends(other)
    await works.runner.turn()
    assert await works.state(other) == (BuildState.SUCCEEDED, "")
    assert len(works.builder.started) == 3
    log = await builds.read_log(works.store, other[:12])
    assert log is not None
    assert log.content.startswith("log of unicorn-build-")


async def test_a_fault_with_one_is_nothing_to_the_others(works):
    works.builder.faults = [RuntimeError("a fault of ours")]
    first, second = await works.ask("1"), await works.ask("2")
    await works.runner.turn()
    states = {await works.state(first), await works.state(second)}
    assert states == {(BuildState.FAILED, "BuilderBroken"), (BuildState.RUNNING, "")}


async def test_an_api_server_that_is_away_is_tried_again_and_shown(works):
    works.builder.faults = [ApiUnavailable("no route")] * 2
    hash = await works.ask("1")
    for _ in range(2):
        await works.runner.turn()
        assert await works.state(hash) == (BuildState.RUNNING, "KubernetesApiUnavailable")
    await works.runner.turn()
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.RUNNING, "")
    assert len(works.builder.started) == 1


async def test_a_job_that_goes_is_made_again_under_its_name(works):
    await works.ask("1")
    await works.runner.turn()
    works.builder.running.clear()
    await works.runner.turn()
    assert len(works.builder.started) == 2
    assert len(set(works.builder.started)) == 1


async def test_a_registry_that_is_away_before_a_build_and_after_it(works):
    hash = await works.ask("1")
    works.registry.stop()
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.WAITING, "RegistryUnreachable")
    assert works.builder.started == []
    works.registry.start()
    await works.now(hash)
    await works.runner.turn()
    await works.ends(hash)
    works.registry.stop()
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.RUNNING, "RegistryUnreachable")
    works.registry.start()
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.SUCCEEDED, "")
    assert len(works.builder.started) == 1


def pulled(order: BuildOrder) -> tuple[str, list[str]]:
    """From where the base comes, and for where there are credentials."""
    base = json.loads(order.context["build.json"])["base"]
    return base.partition("@")[0], list(json.loads(order.credentials)["auths"]) if order.credentials else []


async def test_the_base_comes_from_where_somebody_who_waits_has_it(works):
    """One content under two names: each is pulled with the credentials of who named it so, and no other."""
    works.secrets.logins[("one", "pull")] = {"gone.example": "one:1", "b.example": "one:2"}
    works.secrets.logins[("two", "pull")] = {"b.example": "two:2", "gone.example": "two:1"}
    hash = await works.ask("1", "two", repository="b.example/mirror/python", secret="pull")
    assert hash == await works.ask("1", "one", repository="gone.example/python", secret="pull")
    await works.runner.turn()
    assert pulled(works.builder.orders[-1]) == ("gone.example/python", ["gone.example/python"])
    await works.ends(hash, BuildResult.REGISTRY_UNREACHABLE, message="no such host")
    await works.runner.turn()
    await works.now(hash)
    await works.runner.turn()
    assert pulled(works.builder.orders[-1]) == ("b.example/mirror/python", ["b.example/mirror/python"])


@pytest.mark.parametrize("why", ["its Secret is gone", "its Environment is gone"])
async def test_the_base_of_one_who_has_left_is_not_tried(works, why):
    works.secrets.logins[("two", "pull")] = {"b.example": "two:2"}
    if why == "its Environment is gone":
        works.secrets.logins[("one", "pull")] = {"a.example": "one:1"}
    hash = await works.ask("1", "two", repository="b.example/python", secret="pull")
    await works.ask("1", "one", repository="a.example/python", secret="pull", waits=why == "its Secret is gone")
    await works.forget_that_they_asked_just_now()
    await works.runner.turn()
    assert pulled(works.builder.orders[-1]) == ("b.example/python", ["b.example/python"]), hash


async def test_a_failure_shows_the_last_fifty_lines(works):
    """However few of them fit into what a builder can say at its end."""
    hash = await works.ask("1")
    await works.runner.turn()
    (name,) = works.builder.running
    lines = [
        f"{number:4} Building wheel for lab-tool (pyproject.toml): still running, this one takes its time"
        for number in range(300)
    ]
    works.builder.said[name] = "\n".join(["unicorn: step 2/3 pip: lab-tool", *lines, "unicorn: failed (CommandFailed): ended"])
    await works.ends(hash, BuildResult.COMMAND_FAILED, step=2, title="pip", tail=tuple(lines[-30:]))
    await works.runner.turn()
    (found,) = await builds.read_builds(works.store, [hash])
    assert found.message.endswith(lines[-1])
    status = status_of(EnvironmentSpec(build=BuildSpec()), Look(judge_builds([found]), {}, [found]))
    assert status["build"]["log"].splitlines() == lines[-50:]
    assert load(EnvironmentStatus, {"build": status["build"]}).build is not None


async def test_a_registry_of_ours_that_refuses_us_is_waited_for(works):
    """The operator's people let a password expire: whoever asked for an image can do nothing about it."""
    hash = await works.ask("1")
    works.registry.stop()
    port = int(works.registry.host.rpartition(":")[2])
    RegistryServer.make(works.registry.directory, port, passwords=True)
    works.registry.start()
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.WAITING, "RegistryUnauthorized")
    works.registry.stop()
    RegistryServer.make(works.registry.directory, port)
    works.registry.start()
    await works.now(hash)
    await works.runner.turn()
    await works.ends(hash, BuildResult.PUSH_REFUSED, message="denied")
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.WAITING, "RegistryUnauthorized")


@pytest.mark.parametrize("pushed", [True, False], ids=["it came to its end", "it did not"])
async def test_a_run_that_is_gone_after_a_long_outage(works, pushed):
    """Its Job ended and was removed while nobody led: what it pushed counts, else it has all its time once more."""
    hash = await works.ask("1")
    await works.runner.turn()
    async with works.store.connection() as connection:
        await connection.execute("UPDATE unicorn.environment_build SET started_at = now() - interval '1 day'")
    works.builder.running.clear()
    if pushed:
        works.registry.push("environments", await works.tag(hash), "linux/amd64")
    await works.runner.turn()
    if pushed:
        assert await works.state(hash) == (BuildState.SUCCEEDED, "")
        assert len(works.builder.started) == 1
    else:
        await works.runner.turn()
        assert await works.state(hash) == (BuildState.RUNNING, "")
        assert len(works.builder.started) == 2
        (build,) = await builds.read_open_builds(works.store)
        assert datetime.now(UTC) - build.started < timedelta(minutes=1)


async def test_what_is_waited_for_is_no_try_of_the_builder(works):
    hash = await works.ask("1")
    for _ in range(TRIES + 1):
        await works.now(hash)
        await works.runner.turn()
        await works.ends(hash, BuildResult.REGISTRY_UNREACHABLE, message="away")
        await works.runner.turn()
    await works.now(hash)
    await works.runner.turn()
    await works.ends(hash, BuildResult.BROKEN, message="killed")
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.WAITING, "BuilderBroken")


@pytest.mark.parametrize("but_the_agent", [False, True], ids=["all of it", "all but the agent"])
async def test_what_the_registry_has_is_not_built(works, but_the_agent):
    hash = await works.ask("1")
    works.registry.push("environments", await works.tag(hash) if but_the_agent else hash, "linux/amd64")
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.SUCCEEDED, "")
    assert works.builder.started == []


async def test_a_new_agent_needs_no_builder(works):
    hash = await works.ask("1")
    works.registry.push("environments", await works.tag(hash), "linux/amd64")
    await works.runner.turn()
    works.runner.repository.agent, works.runner.agent_sha256 = addition(b"newer"), hashlib.sha256(b"newer").hexdigest()
    newer = await works.ask("1", agent=b"newer")
    await works.runner.turn()
    assert await works.state(newer) == (BuildState.SUCCEEDED, "")
    assert works.builder.started == []
    assert [works.agent_in(one) for one in (hash, newer)] == [addition(AGENT).digest, addition(b"newer").digest]


async def test_an_image_that_the_builder_did_not_push(works):
    hash = await works.ask("1")
    await works.runner.turn()
    (name,) = works.builder.running
    works.builder.running[name] = Seen(Stage.ENDED, BuildReport(BuildResult.BUILT, "sha256:" + "0" * 64))
    await works.runner.turn()
    assert await works.state(hash) == (BuildState.FAILED, "BuilderBroken")


async def test_a_registry_that_takes_no_agent_is_waited_for(works):
    hash = await works.ask("1")
    await works.runner.turn()
    await works.ends(hash)
    port = int(works.registry.host.rpartition(":")[2])
    for passwords, state, reason in ((True, BuildState.RUNNING, "RegistryUnauthorized"), (False, BuildState.SUCCEEDED, "")):
        works.registry.stop()
        RegistryServer.make(works.registry.directory, port, passwords=passwords)
        works.registry.start()
        await works.runner.turn()
        assert await works.state(hash) == (state, reason), "it is for the operator's people to mend"


# --- those who ask -------------------------------------------------------------------------------------------------------


def asker(kind: str = "Experiment", name: str = "e") -> Asker:
    return Asker(Key(kind, "lab", name), uuid.uuid4(), LONG_AGO)


async def look(works: Works, hash: str, who: Asker, rebuild: str = "") -> Look:
    build = BuildSpec(rebuild=rebuild) if rebuild else BuildSpec()
    wanted = Wanted(EnvironmentSpec(build=build), {"linux/amd64": hash})
    return (await works.runner.images.look(who, {"": wanted}))[""]


async def built(works: Works) -> tuple[str, str]:
    """Hash and digest of one that is in the registry."""
    hash = await works.ask("1")
    digest = works.registry.push("environments", hash, "linux/amd64")
    await works.runner.turn()
    return hash, digest


@pytest.mark.parametrize("renewal", ["runs", "failed", "none"])
async def test_an_image_that_the_registry_lost_is_asked_for_again_and_not_at_once(works, renewal):
    hash, digest = await built(works)
    if renewal != "none":
        await look(works, hash, asker(), rebuild="now")
        await works.runner.turn()
        if renewal == "failed":
            await works.ends(hash, BuildResult.COMMAND_FAILED)
            await works.runner.turn()
    queue = works.runner.images.queue
    before = queue.depth()
    works.registry.send("DELETE", f"/v2/environments/manifests/{digest}")
    verdict = (await look(works, hash, asker())).verdict
    assert isinstance(verdict, NotYet)
    assert "no more" in verdict.message
    assert (queue.depth(), queue.delayed()) == (before, 1)
    assert isinstance((await look(works, hash, asker())).verdict, NotYet)
    state, _ = await works.state(hash)
    assert state is (BuildState.RUNNING if renewal == "runs" else BuildState.WAITING)
    assert (queue.depth(), queue.delayed()) == (before, 1), "it is waited for, and nobody spins"


async def test_images_of_another_repository_are_built_again(works):
    """The operator's people have moved: what lies elsewhere may not be there for long, or for everybody."""
    hash, _ = await built(works)
    assert isinstance((await look(works, hash, asker())).verdict, Ready)
    name = works.runner.repository.name
    works.runner.repository.name = Reference.parse(f"{name.registry}/moved").tagged("")
    for _ in range(2):
        assert isinstance((await look(works, hash, asker())).verdict, NotYet)
    assert (await works.state(hash))[0] is BuildState.WAITING


async def test_an_environment_hears_of_somebody_elses_retry(works):
    hash = await works.ask("1")
    await works.runner.turn()
    await works.ends(hash, BuildResult.COMMAND_FAILED, message="no")
    await works.runner.turn()
    shown, queue = asker("Environment", "env"), works.runner.images.queue
    assert isinstance((await look(works, hash, shown)).verdict, Hopeless)
    await works.ask("1", asked_at=datetime(2100, 1, 1, tzinfo=UTC))
    await works.runner.turn()
    assert await queue.get() == shown.key
    queue.done(shown.key)
    works.runner.images.gone(shown.key)
    await works.ends(hash)
    await works.runner.turn()
    assert queue.depth() == 0, "it exists no more"


# --- ends ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [False, True], ids=["before its turn", "under way"])
async def test_nobody_waits(works, begun):
    hash = await works.ask("1", waits=False)
    if begun:
        await works.runner.turn()
    await works.forget_that_they_asked_just_now()
    assert not await works.runner.turn() or not await works.runner.turn()
    assert (await works.state(hash))[0] is BuildState.CANCELLED
    assert (len(works.builder.started), len(works.builder.removed)) == ((1, 1) if begun else (0, 0))


@pytest.mark.parametrize("begun", [False, True], ids=["before its turn", "under way"])
async def test_what_another_versions_operator_asked_for_is_forgotten(works, begun):
    if begun:
        works.runner.agent_sha256 = hashlib.sha256(b"another agent").hexdigest()
    hash = await works.ask("1", agent=b"another agent")
    if begun:
        await works.runner.turn()
        await works.ends(hash)
        works.runner.agent_sha256 = hashlib.sha256(AGENT).hexdigest()
    await works.runner.turn()
    assert await builds.read_builds(works.store, [hash]) == []
    assert (len(works.builder.started), len(works.builder.removed)) == ((1, 1) if begun else (0, 0))
    assert works.registry.send("HEAD", f"/v2/environments/manifests/{hash}")[0] == 404


async def test_what_belongs_to_no_run_is_removed(works):
    works.builder.running["unicorn-build-of-before-1"] = Seen(Stage.RUNNING)
    await works.ask("1")
    await works.runner.turn()
    assert works.builder.removed == ["unicorn-build-of-before-1"]

"""Environments under a leader with the local builder: real buildah, a real registry, the real API server and database."""

import base64
import contextlib
import socket
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from registry_kit import PASSWORD, USER, RegistryServer
from unicorn_core.errors import NotFound
from unicorn_devcluster import images, registry, wheels
from unicorn_kube.resource import CONFIG_MAPS, ENVIRONMENTS, EXPERIMENTS, SECRETS
from unicorn_operator import leading
from unicorn_store import Store, builds

from .conftest import Lab, Lead, condition, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.database, pytest.mark.pods, pytest.mark.timeout(600)]


@dataclass
class Rig:
    """A registry with a base, and a leader that builds into it."""

    registry: RegistryServer
    base: str
    directory: Path
    lead: Lead
    lab: Lab
    store: Store
    repository: str
    settings: dict[str, Any] = field(default_factory=dict)

    def leader(self, **more: Any):
        """`async with rig.leader():`"""
        values = {
            "builder": "local",
            "build_registry": f"{self.registry.host}/{self.repository}",
            "plain_http_registries": (self.registry.host,),
            "default_base": self.base,
            "agent_path": str(wheels.agent_file()),
            "state_directory": str(self.directory),
        }
        return self.lead(**{**values, **self.settings, **more})

    async def environment(self, name: str, **spec: Any) -> dict[str, Any]:
        return await self.lab.apply("Environment", ENVIRONMENTS, name, spec)

    async def ready(self, name: str, reason: str = "Built") -> dict[str, Any]:
        """Its status."""
        return (await self.lab.reaches(ENVIRONMENTS, name, "Ready", "True", reason, seconds=180))["status"]

    async def fails(self, name: str, reason: str) -> dict[str, Any]:
        """Its status, with its message as `said`."""
        item = await self.lab.reaches(ENVIRONMENTS, name, "Ready", "False", reason, seconds=180)
        return {**item["status"], "said": item["status"]["conditions"][0]["message"]}

    async def builds_at(self, step: str, name: str = "env") -> None:
        async def check() -> bool:
            item = await self.lab.get(ENVIRONMENTS, name)
            said = (item.get("status") or {}).get("conditions", [{}])[0].get("message", "")
            assert step in said, said
            return True

        await eventually(check, f"the build of {name} comes to {step}", seconds=120)

    def pushed(self) -> list[str]:
        """The tags of results, not those of layers."""
        tags = [pushed.rpartition(":")[2] for pushed in self.registry.pushes() if pushed.startswith(f"{self.repository}:")]
        return [tag for tag in tags if len(tag) == 64]

    async def log(self, hash: str) -> str:
        found = await builds.read_log(self.store, hash)
        assert found is not None
        return found.content


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = RegistryServer.make(tmp_path_factory.mktemp("registry"), _free_port()).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def base(server):
    image = images.build(["demo-base"])["demo-base"]
    return registry.push_to(image, f"{server.host}/base:1", plain=True)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Shared by tests: layers of one are there for the next."""
    directory = tmp_path_factory.mktemp("state")
    yield directory
    for mount in (directory / "builds" / "storage").glob("**/overlay"):
        subprocess.run(["umount", mount], check=False, capture_output=True)


@pytest.fixture
def rig(server, base, state, lead, lab, store):
    return Rig(server, base, state, lead, lab, store, f"built/{uuid.uuid4().hex[:8]}")


@dataclass
class Gate:
    """A command of a build that ends when the gate is opened."""

    port: int

    @property
    def command(self) -> str:
        knock = f"import socket; socket.create_connection(('127.0.0.1', {self.port}))"
        return f'until python3 -c "{knock}" 2>/dev/null; do sleep 0.2; done'

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        with socket.create_server(("127.0.0.1", self.port)):
            yield


@pytest.fixture
def gate() -> Gate:
    return Gate(_free_port())


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


# --- what is not built ---------------------------------------------------------------------------------------------------


async def test_without_a_builder_and_without_asking_registries(lab, lead):
    async with lead(resolve_images=False):
        await lab.apply("Environment", ENVIRONMENTS, "image", {"image": {"ref": "python:3.12"}})
        await lab.apply("Environment", ENVIRONMENTS, "shell", {"shell": {"commands": ["true"]}})
        await lab.apply("Environment", ENVIRONMENTS, "build", {"build": {"base": "debian:12"}})
        await lab.reaches(ENVIRONMENTS, "image", "Ready", "True", "TakenAsWritten")
        await lab.reaches(ENVIRONMENTS, "shell", "Ready", "True", "NothingToBuild")
        build = await lab.reaches(ENVIRONMENTS, "build", "Ready", "False", "BuildNotAvailable")
        assert "spec.image.ref" in build["status"]["conditions"][0]["message"]


async def test_an_image_is_resolved_for_all_its_platforms(rig):
    amd64, arm64 = (rig.registry.push("tool", name, f"linux/{name}") for name in ("amd64", "arm64"))
    async with rig.leader():
        await rig.environment("one", image={"ref": f"{rig.registry.host}/tool:arm64"})
        status = await rig.ready("one", "Resolved")
        assert status["images"] == [{"platform": "linux/arm64", "ref": f"{rig.registry.host}/tool@{arm64}"}]
        await rig.environment("none", image={"ref": f"{rig.registry.host}/tool:2"})
        assert "spec.image.ref" in (await rig.fails("none", "ImageNotFound"))["said"]
    assert amd64 != arm64


async def test_a_registry_that_is_away_is_waited_for(rig, tmp_path):
    away = RegistryServer.make(tmp_path, _free_port())
    async with rig.leader(plain_http_registries=(away.host,)):
        await rig.environment("late", image={"ref": f"{away.host}/tool:1"})
        assert away.host in (await rig.fails("late", "RegistryUnreachable"))["said"]
        away.start()
        try:
            away.push("tool", "1", "linux/amd64")
            await rig.ready("late", "Resolved")
        finally:
            away.stop()


async def test_a_pull_secret_is_the_users_own(rig, tmp_path):
    private = RegistryServer.make(tmp_path, _free_port(), passwords=True).start()
    try:
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        private.push("tool", "1", "linux/amd64", authorization=f"Basic {login}")
        async with rig.leader(plain_http_registries=(private.host,)):
            await rig.environment("anonymous", image={"ref": f"{private.host}/tool:1"})
            await rig.fails("anonymous", "RegistryUnauthorized")
            await rig.environment("named", image={"ref": f"{private.host}/tool:1", "pullSecretRef": {"name": "pull"}})
            assert "Secret pull" in (await rig.fails("named", "ReferenceNotFound"))["said"]
            config = f'{{"auths": {{"{private.host}": {{"auth": "{login}"}}}}}}'
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "pull", "namespace": rig.lab.namespace},
                "type": "kubernetes.io/dockerconfigjson",
                "stringData": {".dockerconfigjson": config},
            }
            await rig.lab.kube.create(SECRETS, secret)
            await rig.ready("named", "Resolved")
    finally:
        private.stop()


# --- what is built -------------------------------------------------------------------------------------------------------


async def test_equal_content_is_built_once(rig):
    async with rig.leader():
        content = {"commands": ["echo once > /once"]}
        for name in ("a", "b", "c"):
            await rig.environment(name, build=content, runtime={"env": [{"name": "NAME", "value": name}]})
        first, *others = [await rig.ready(name) for name in ("a", "b", "c")]
        assert all(other["contentHash"] == first["contentHash"] and other["images"] == first["images"] for other in others)
        (image,) = first["images"]
        assert image["platform"] == "linux/amd64"
        repository, _, digest = image["ref"].rpartition("@")
        assert repository == f"{rig.registry.host}/{rig.repository}"
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        status, _, _ = rig.registry.send("HEAD", f"/v2/{rig.repository}/manifests/{digest}", accept)
        assert status == 200
        assert rig.pushed() == [first["build"]["hash"]]
        assert first["build"]["seconds"] >= 0
        await rig.environment("late", build=content)
        assert (await rig.ready("late"))["images"] == first["images"]
        assert len(rig.pushed()) == 1
        assert "unicorn: built sha256:" in await rig.log(first["build"]["hash"])
    assert not list((rig.directory / "builds" / "runs").iterdir())


async def test_a_command_that_fails_is_named(rig):
    async with rig.leader():
        commands = ["true", "seq 100; printf 'odd: %s\\n' \"ä'$(echo x)\" >&2; exit 7"]
        await rig.environment("env", build={"commands": commands})
        status = await rig.fails("env", "BuildFailed")
        assert "(commands[1]) failed: ended with exit code 7; its log ends: " in status["said"]
        step = status["build"]["failedStep"]
        assert (step["title"], step["exitCode"], step["command"]) == ("commands[1]", 7, commands[1])
        assert status["build"]["log"].splitlines()[-2:] == ["100", "odd: ä'x"]
        assert len(status["build"]["log"].splitlines()) == 50
        log = await rig.log(status["build"]["hash"])
        assert "\n1\n2\n3\n" in log
        assert rig.pushed() == []


async def test_a_build_that_hangs_ends_at_the_deadline_with_its_log(rig, monkeypatch):
    passed = [timedelta()]
    monkeypatch.setattr(leading, "utc_now", lambda: datetime.now(UTC) + passed[0])
    async with rig.leader(build_deadline="30m"):
        await rig.environment("env", build={"commands": ["echo here it hangs; sleep 1000"]})
        await rig.builds_at("commands[0]")

        async def said() -> bool:
            return any("here it hangs\n" in log.read_text() for log in rig.directory.glob("builds/runs/*/log"))

        await eventually(said, "it hangs")
        passed[0] = timedelta(minutes=31)
        status = await rig.fails("env", "BuildDeadlineExceeded")
        assert "30 min" in status["said"]
        assert "commands[0]" in status["said"]
        assert "here it hangs" in await rig.log(status["build"]["hash"])
        assert status["build"]["log"] == "here it hangs"
        assert status["build"]["failedStep"]["title"] == "commands[0]"


async def test_a_token_builds_again_without_the_cache(rig):
    async with rig.leader():
        commands = ["date +%s%N > /made"]
        await rig.environment("env", build={"commands": commands})
        before = await rig.ready("env")
        await rig.environment("env", build={"commands": commands, "rebuild": "1"})

        async def renewed() -> bool:
            status = (await rig.lab.get(ENVIRONMENTS, "env"))["status"]
            assert condition({"status": status}, "Ready") == ("True", "Built")
            return bool(status["images"] != before["images"])

        await eventually(renewed, "another image", seconds=120)
        assert (await rig.ready("env"))["contentHash"] == before["contentHash"]
        await rig.environment("other", build={"commands": commands, "rebuild": "1"})
        await rig.ready("other")
        assert len(rig.pushed()) == 2


async def test_files_come_from_config_maps_and_change_the_hash(rig):
    async with rig.leader():
        source = {"name": "files", "key": "x"}
        build = {"files": [{"path": "/etc/x", "configMapKeyRef": source}], "commands": ["cat /etc/x; exit 1"]}
        await rig.environment("env", build=build)
        assert "spec.build.files[0]" in (await rig.fails("env", "ReferenceNotFound"))["said"]
        metadata = {"name": "files", "namespace": rig.lab.namespace}
        content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": "first $HOME `x`\n"}}
        await rig.lab.kube.create(CONFIG_MAPS, content)
        first = await rig.fails("env", "BuildFailed")
        assert first["build"]["log"] == "first $HOME `x`"
        await rig.lab.kube.patch_merge(CONFIG_MAPS, rig.lab.namespace, "files", {"data": {"x": "second\n"}})
        await rig.environment("again", build=build)
        second = await rig.fails("again", "BuildFailed")
        assert second["build"]["log"] == "second"
        assert first["contentHash"] != second["contentHash"]


async def test_nobody_waits_for_a_build_any_more(rig):
    async with rig.leader():
        await rig.environment("env", build={"commands": ["echo hangs; sleep 1000"]})
        await rig.builds_at("commands[0]")
        await rig.lab.kube.delete(ENVIRONMENTS, rig.lab.namespace, "env")

        async def over() -> bool:
            return not await builds.read_open_builds(rig.store)

        await eventually(over, "the build is given up", seconds=60)
        await rig.environment("env", build={"commands": ["echo hangs; sleep 1000"]})
        await rig.builds_at("commands[0]")


async def test_the_next_leader_goes_on_and_builds_once(rig, gate):
    async with rig.leader():
        await rig.environment("env", build={"commands": [gate.command]})
        await rig.builds_at("commands[0]")
    assert len(await builds.read_open_builds(rig.store)) == 1
    with gate.opened():
        async with rig.leader():
            await rig.ready("env")
    assert len(rig.pushed()) == 1


async def test_an_image_that_the_registry_lost_is_built_again(rig):
    build = {"commands": ["echo lost > /lost"]}
    async with rig.leader():
        await rig.environment("env", build=build)
        (image,) = (await rig.ready("env"))["images"]
    digest = image["ref"].rpartition("@")[2]
    assert rig.registry.send("DELETE", f"/v2/{rig.repository}/manifests/{digest}")[0] == 202
    async with rig.leader():
        await rig.environment("late", build=build)
        await rig.ready("late")
    assert len(rig.pushed()) == 2


async def test_what_another_installation_built_is_taken(rig, database):
    build = {"commands": ["echo shared > /shared"]}
    async with rig.leader():
        await rig.environment("env", build=build)
        before = await rig.ready("env")
    async with rig.store.connection() as connection:
        await connection.execute("TRUNCATE unicorn.environment_build CASCADE")
    async with rig.leader():
        await rig.environment("late", build=build)
        assert (await rig.ready("late"))["images"] == before["images"]
    assert len(rig.pushed()) == 1


# --- experiments ---------------------------------------------------------------------------------------------------------


async def test_an_inline_environment_is_shown_by_one_of_its_own(rig, gate):
    async with rig.leader():
        await rig.lab.connector(config={"nodes": 2})
        for name in ("one", "two"):
            await rig.lab.apply("Experiment", EXPERIMENTS, name, _experiment({"build": {"commands": [gate.command]}}))

        async def shown() -> list[dict[str, Any]]:
            items = (await rig.lab.kube.list(ENVIRONMENTS, rig.lab.namespace)).items
            assert len(items) == 1
            assert len(items[0]["metadata"].get("ownerReferences") or ()) == 2
            return list(items)

        (inline,) = await eventually(shown, "one Environment, of both")
        assert inline["metadata"]["name"].startswith("inline-")
        waiting = await eventually(lambda: _says(rig, "one", "EnvironmentsReady", "Building", "step "), "how far it is")
        assert f"environment {inline['metadata']['name']}: build " in waiting
        with gate.opened():
            status = await rig.ready(inline["metadata"]["name"])
        for name in ("one", "two"):
            uid = uuid.UUID((await rig.lab.get(EXPERIMENTS, name))["metadata"]["uid"])

            async def pinned(uid: uuid.UUID = uid) -> bool:
                (one,) = await builds.read_compiled(rig.store, uid, 1)
                assert one.images is not None
                return one.images["linux/amd64"] == status["images"][0]["ref"]

            await eventually(pinned, "its digest is in the attempt's snapshot")
        for name in ("one", "two"):
            await _delete(rig, name)

        async def gone() -> bool:
            return not (await rig.lab.kube.list(ENVIRONMENTS, rig.lab.namespace)).items

        await eventually(gone, "it goes with the last of them")
    assert len(rig.pushed()) == 1


async def test_a_failed_build_fails_the_experiment_with_the_step(rig):
    async with rig.leader():
        await rig.lab.connector(config={"nodes": 1})
        await rig.lab.apply("Experiment", EXPERIMENTS, "e", _experiment({"build": {"commands": ["echo because; exit 3"]}}))

        async def failed() -> dict[str, Any]:
            status = (await rig.lab.get(EXPERIMENTS, "e")).get("status") or {}
            assert status.get("phase") == "Failed", status.get("message")
            return status

        status = await eventually(failed, "it fails", seconds=120)
        assert status["reason"] == "PreparationFailed"
        (failure,) = status["failures"]
        assert failure["reason"] == "BuildFailed"
        assert "(commands[0]) failed: ended with exit code 3; its log ends: because" in failure["message"]


async def test_a_cancelled_experiment_wants_no_build(rig):
    async with rig.leader():
        await rig.lab.connector(config={"nodes": 1})
        spec = _experiment({"build": {"commands": ["sleep 1000"]}})
        await rig.lab.apply("Experiment", EXPERIMENTS, "e", spec)
        await eventually(lambda: _says(rig, "e", "EnvironmentsReady", "Building", "step "), "it is being built")
        await rig.lab.apply("Experiment", EXPERIMENTS, "e", {**spec, "desiredState": "Cancelled"})

        async def over() -> bool:
            return not await builds.read_open_builds(rig.store)

        await eventually(over, "the build is given up", seconds=60)


async def test_a_node_that_no_image_fits_fails_the_allocation(rig):
    rig.registry.push("tool", "arm", "linux/arm64")
    async with rig.leader():
        await rig.lab.connector(config={"nodes": 1})
        for name, environment in (
            ("built", {"build": {"platforms": ["linux/arm64"]}}),
            ("named", {"image": {"ref": f"{rig.registry.host}/tool:arm"}}),
        ):
            await rig.lab.apply("Experiment", EXPERIMENTS, name, _experiment(environment))

            async def failed(name: str = name) -> dict[str, Any]:
                status = (await rig.lab.get(EXPERIMENTS, name)).get("status") or {}
                assert status.get("phase") == "Failed", status
                return status

            status = await eventually(failed, "it fails")
            assert status["reason"] == "ArchitectureNotSupported"
            assert "linux/amd64, the environment has images for linux/arm64" in status["message"]
    assert rig.pushed() == []


def _experiment(environment: dict[str, Any]) -> dict[str, Any]:
    stages = [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]
    return {
        "deployments": [{"name": "d", "nodes": {"count": 1}, "pipeline": {"stages": stages}, "environment": environment}],
    }


async def _says(rig: Rig, name: str, type: str, reason: str, text: str) -> str:
    status = (await rig.lab.get(EXPERIMENTS, name)).get("status") or {}
    for entry in status.get("conditions") or ():
        if entry["type"] == type and entry["reason"] == reason and text in entry["message"]:
            message: str = entry["message"]
            return message
    raise AssertionError(f"{status.get('phase')} {status.get('conditions')}")


async def _delete(rig: Rig, name: str) -> None:
    await rig.lab.kube.delete(EXPERIMENTS, rig.lab.namespace, name)

    async def gone() -> bool:
        with contextlib.suppress(NotFound):
            await rig.lab.get(EXPERIMENTS, name)
            return False
        return True

    await eventually(gone, f"{name} is gone")

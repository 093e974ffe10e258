"""Environments are built once for their content, through kills and outages; by real builders, into a real registry."""

import asyncio
import base64
import gzip
import json
import re
import shlex
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import e2e_kit
import psutil
import pytest
from aiohttp import web
from e2e_kit import Kit, eventually, experiment
from registry_kit import PASSWORD, USER, RegistryServer
from unicorn_devcluster import images, tools
from unicorn_devcluster.certificates import Authority
from unicorn_kube.resource import CONFIG_MAPS, ENVIRONMENTS
from unicorn_operator.registry import Reference, Registries
from unicorn_store import builds

pytestmark = [pytest.mark.pods, pytest.mark.timeout(600)]

SLOW = 240.0  # seconds for a build and its pods on a loaded machine
_PUSH = re.compile(r'"PUT /v2/environments/manifests/([0-9a-f]{64}) HTTP/[\d.]+" 201 ')


@dataclass
class Registry:
    """The cluster's, from a moment on."""

    log: Path
    _start: int = 0

    def pushed(self) -> list[str]:
        """The build hashes of the images that were pushed; content hashes as well, where an index names several of them."""
        return _PUSH.findall(self.log.read_text()[self._start :])


@pytest.fixture
def registry(cluster) -> Registry:
    log = cluster.directory / "logs" / "registry.log"
    return Registry(log, len(log.read_text()))


@dataclass
class Gate:
    """Commands of builds come here, are counted by name, and wait until they are let through."""

    url: str = ""
    came: Counter[str] = field(default_factory=Counter)
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_through(self, request: web.Request) -> web.Response:
        self.came[request.match_info["name"]] += 1
        await self._open.wait()
        return web.Response(text="go on")

    def open(self) -> None:
        self._open.set()

    def command(self, name: str) -> str:
        """Ends when the gate is open."""
        program = f"from urllib.request import urlopen; print(urlopen('{self.url}/{name}', timeout=600).read())"
        return f'python3 -c "{program}"'

    async def reached(self, name: str) -> None:
        async def check() -> bool:
            return self.came[name] > 0

        await eventually(check, f"a build reaches the gate {name}", SLOW)


@pytest.fixture
async def gate(cluster) -> AsyncIterator[Gate]:
    gate = Gate()
    application = web.Application()
    application.router.add_get("/{name}", gate.pass_through)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, cluster.host_address, 0)
    await site.start()
    gate.url = f"http://{cluster.host_address}:{runner.addresses[0][1]}"
    yield gate
    gate.open()
    await runner.cleanup()


def unique(*commands: str) -> dict:
    """A build that nobody has made before."""
    return {"build": {"commands": [f"echo {uuid.uuid4()} > /srv/unique", *commands]}}


async def ready(kit: Kit, name: str, status: str = "True", seconds: float = SLOW) -> dict:
    """The Environment's status once its condition Ready is this."""

    async def check() -> dict | None:
        found = (await kit.kube.get(ENVIRONMENTS, kit.namespace, name)).get("status") or {}
        conditions = {entry["type"]: entry for entry in found.get("conditions", ())}
        assert conditions.get("Ready", {}).get("status") == status, found
        return {**found, "ready": conditions["Ready"]}

    return await eventually(check, f"Environment {name} is Ready={status}", seconds)


async def test_twenty_experiments_with_three_environments_are_three_builds(kit, registry, gate):
    """In two namespaces, named and inline, all at once."""
    gate.open()
    environments = [unique(gate.command(f"build-{index}")) for index in range(3)]
    namespaces = kit.stack.namespaces
    await kit.put("Environment", "named", environments[0])
    applied = []
    for index in range(20):
        chosen = environments[index % 3]
        body = experiment(f"twenty-{index}", {"name": "look", "run": "cat /srv/unique"}, connector=kit.pods, environment=chosen)
        if index % 6 == 0:
            deployment = body["spec"]["deployments"][0]
            del deployment["environment"]
            deployment["environmentRef"] = {"name": "named"}
        applied.append(await kit.apply(body, namespace=namespaces[index % 2] if index % 6 else namespaces[0]))
    for index, one in enumerate(applied):
        await one.succeeds(seconds=SLOW)
        (value,) = (await one.values("look")).values()
        assert environments[index % 3]["build"]["commands"][0].split()[1] == value["stdout"].strip(), "it ran in its environment"
    assert gate.came == {f"build-{index}": 1 for index in range(3)}, "each was built once"
    assert len(registry.pushed()) == len(set(registry.pushed())) == 3

    before = registry.pushed()
    later = experiment("later", {"name": "look", "run": "cat /srv/unique"}, connector=kit.pods, environment=environments[1])
    await (await kit.apply(later)).succeeds()
    assert registry.pushed() == before, "a later one finds it"
    assert gate.came.total() == 3


async def test_an_operator_killed_during_a_build_makes_no_second_one(rough, rough_kit, registry, gate):
    wanted = unique(gate.command("held"))
    one = await rough_kit.apply(experiment("held", {"name": "look", "run": "true"}, connector=rough_kit.pods, environment=wanted))
    await gate.reached("held")
    await asyncio.to_thread(rough.restart, rough.operators[0], signal.SIGKILL)
    twin = await rough_kit.apply(
        experiment("twin", {"name": "look", "run": "true"}, connector=rough_kit.pods, environment=wanted)
    )
    gate.open()
    for each in (one, twin):
        await each.succeeds(seconds=SLOW)
    assert gate.came == {"held": 1}
    assert len(registry.pushed()) == 1


async def test_a_registry_that_is_away_is_waited_for(rough_kit, cluster, registry):
    wanted = unique("true")
    await asyncio.to_thread(cluster.stop, "registry")
    try:
        await rough_kit.put("Environment", "patient", wanted)

        async def says_why() -> bool:
            status = await ready(rough_kit, "patient", "False")
            assert status["ready"]["reason"] == "RegistryUnreachable", status
            return True

        await eventually(says_why, "it says that the registry is away", SLOW)
    finally:
        await asyncio.to_thread(cluster.start, "registry")
    status = await ready(rough_kit, "patient")
    assert len(registry.pushed()) == 1
    assert [image["platform"] for image in status["images"]] == ["linux/amd64"]
    one = experiment("patient", {"name": "look", "run": "cat /srv/unique"}, connector=rough_kit.pods, environment=wanted)
    await (await rough_kit.apply(one)).succeeds(seconds=SLOW)
    assert len(registry.pushed()) == 1


async def test_a_failing_command_is_told_with_its_end(kit):
    noisy = "for i in $(seq 100); do echo line $i; done; echo 'what went wrong' >&2; exit 3"
    wanted = unique(noisy)
    await kit.put("Environment", "failing", wanted)

    async def failed() -> dict:
        status = await ready(kit, "failing", "False")
        assert status["ready"]["reason"] == "BuildFailed", status
        return status

    status = await eventually(failed, "the build has failed", SLOW)
    assert "commands[1]" in status["ready"]["message"]
    assert "exit code 3" in status["ready"]["message"]
    assert "what went wrong" in status["ready"]["message"]
    tail = status["build"]["log"].splitlines()
    assert tail[-1] == "what went wrong"
    assert tail[:2] == ["line 52", "line 53"], "the last 50 lines"

    one = await kit.apply(experiment("failing", {"name": "look", "run": "true"}, connector=kit.pods, environment=wanted))
    status = await one.ends(seconds=SLOW)
    assert status["phase"] == "Failed"
    assert "exit code 3" in status["message"] + str(status["failures"])


async def test_a_build_that_hangs_ends_at_the_deadline_with_its_log(make_stack):
    stack = make_stack("hanging", settings={"UNICORN_BUILD_DEADLINE": "40s"})
    async with e2e_kit.opened(stack) as kit:
        await kit.put("Environment", "hanging", unique("echo it hangs now; sleep 100000"))

        async def ended() -> dict:
            status = await ready(kit, "hanging", "False")
            assert status["ready"]["reason"] == "BuildDeadlineExceeded", status
            return status

        status = await eventually(ended, "the deadline ends it", SLOW)
        assert "within 40 s" in status["ready"]["message"]
        assert "it hangs now" in status["build"]["log"]
        async with kit.store.connection() as connection:
            hashes = [row["hash"] for row in await connection.fetch("SELECT hash FROM unicorn.environment_build")]
        log = await builds.read_log(kit.store, hashes[0])
        assert log is not None
        assert "it hangs now" in log.content, "the whole log is readable later"


HOSTILE_PATH = "/srv/a 'quoted' \"path\" with $HOME, `id`; and \\ ünïcode"
HOSTILE_TEXT = 'it\'s $HOME, "quoted", `not run`, \\n, ünïcode\n and a second line'
HOSTILE_COMMANDS = (
    f"printf '%s' {shlex.quote(HOSTILE_TEXT)} > /srv/said",
    "echo \"$((6 * 7)) $0\" > '/srv/co unt' # $HOME\n\necho 'a second command' >> '/srv/co unt'",
)


async def test_commands_and_paths_are_taken_literally(kit):
    content = {"key": 'a $HOME file\'s "content"\n'}
    metadata = {"name": "hostile", "namespace": kit.namespace}
    await kit.kube.apply(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": content}, "test")
    wanted = unique(*HOSTILE_COMMANDS)
    wanted["build"]["files"] = [{"path": HOSTILE_PATH, "configMapKeyRef": {"name": "hostile", "key": "key"}}]
    read = f"result = [open(path).read() for path in ({HOSTILE_PATH!r}, '/srv/said', '/srv/co unt')]"
    one = await kit.apply(experiment("hostile", {"name": "look", "script": read}, connector=kit.pods, environment=wanted))
    await one.succeeds(seconds=SLOW)
    (value,) = (await one.values("look")).values()
    assert value == [content["key"], HOSTILE_TEXT, "42 /bin/sh\na second command\n"]


ELF_OF_ARM64 = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (183).to_bytes(2, "little") + bytes(44)


@pytest.fixture
async def both(cluster, tmp_path) -> str:
    """A base for amd64, and one for arm64 with nothing in it but a shell and a Python that cannot run here."""
    name = f"{cluster.registry}/test/both"
    foreign = f"localhost/test-arm64:{uuid.uuid4()}"
    for program in ("bin/sh", "usr/bin/python3.11"):
        path = tmp_path / "root" / program
        path.parent.mkdir(parents=True)
        path.write_bytes(ELF_OF_ARM64)
        path.chmod(0o755)
    (tmp_path / "root/usr/bin/python3").symlink_to("python3.11")
    container = tools.run("buildah", "from", "scratch").strip()
    tools.run("buildah", "copy", "--quiet", container, tmp_path / "root", "/")
    tools.run("buildah", "config", "--arch", "arm64", container)
    tools.run("buildah", "commit", "--quiet", "--rm", container, foreign)
    for image, tag in ((images.build(["demo-base"])["demo-base"], "amd64"), (foreign, "arm64")):
        tools.run("buildah", "push", "--quiet", "--tls-verify=false", image, f"docker://{name}:{tag}")
    tools.run("buildah", "rmi", foreign)
    async with Registries(plain_http=[cluster.registry]) as registries:
        found = {}
        for platform in ("linux/amd64", "linux/arm64"):
            reference = Reference.parse(f"{name}:{platform.removeprefix('linux/')}")
            found[platform] = await registries.resolve(reference, platform)
        index = await registries.put_index(Reference.parse(f"{name}:both"), found)
    return f"{name}@{index.digest}"


async def test_two_architectures_are_one_index(kit, cluster, both):
    """Without an emulation: nothing of the foreign image has to run while files are put into it."""
    metadata = {"name": "both", "namespace": kit.namespace}
    data = {"unique": str(uuid.uuid4())}
    await kit.kube.apply(CONFIG_MAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, "test")
    files = [{"path": "/srv/unique", "configMapKeyRef": {"name": "both", "key": "unique"}}]
    wanted = {"build": {"base": both, "platforms": ["linux/amd64", "linux/arm64"], "files": files}}
    await kit.put("Environment", "both", wanted)
    status = await ready(kit, "both")
    built = {image["platform"]: image["ref"] for image in status["images"]}
    assert set(built) == {"linux/amd64", "linux/arm64"}
    assert len(set(built.values())) == 2

    repository = built["linux/amd64"].split("@")[0]
    async with Registries(plain_http=[cluster.registry]) as registries:
        index = await registries.images(Reference.parse(f"{repository}:{status['contentHash']}"))
    assert {image.platform: f"{repository}@{image.manifest.digest}" for image in index} == built

    body = experiment("both", {"name": "look", "run": "cat /srv/unique"}, connector=kit.pods)
    body["spec"]["deployments"][0]["environmentRef"] = {"name": "both"}
    one = await kit.apply(body)
    await one.succeeds(seconds=SLOW)
    (value,) = (await one.values("look")).values()
    assert value["stdout"] == data["unique"]


async def test_what_cannot_be_built_or_run_is_said_before_anything_is_deployed(kit, both):
    foreign = {"build": {"base": both, "platforms": ["linux/arm64"], "commands": ["true"]}}
    if not Path("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists():
        await kit.put("Environment", "foreign", foreign)

        async def refused() -> dict:
            status = await ready(kit, "foreign", "False")
            assert status["ready"]["reason"] == "PlatformNotBuildable", status
            return status

        await eventually(refused, "there is no emulation", SLOW)

    foreign["build"]["commands"] = []
    one = await kit.apply(experiment("foreign", {"name": "look", "run": "true"}, connector=kit.pods, environment=foreign))
    status = await one.ends(seconds=SLOW)
    assert status["phase"] == "Failed"
    assert "linux/arm64" in status["message"], status
    assert await one.executors() == [], "nothing was deployed, nor allocated"


async def test_no_secret_of_the_registry_gets_out(make_stack, cluster, gate, tmp_path, unused_tcp_port):
    """Into none of: what Kubernetes shows of Job and pod, arguments of processes, logs, the database, the image."""
    authority = Authority.make(tmp_path)
    pair = authority.sign(tmp_path, "registry", user="registry", hosts=[cluster.host_address])
    server = RegistryServer.make(
        tmp_path / "guarded", unused_tcp_port, address=cluster.host_address, passwords=True, tls=pair
    ).start()
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    settings = {
        "UNICORN_BUILD_REGISTRY": f"{server.host}/guarded",
        "UNICORN_BUILD_REGISTRY_SECRET": "push",
        "UNICORN_REGISTRY_CA_FILE": str(pair.certificate.parent / "ca.crt"),
    }
    try:
        stack = make_stack("guarded", settings=settings)
        system = stack.lease_namespace
        login = [f"--docker-server={server.host}", f"--docker-username={USER}", f"--docker-password={PASSWORD}"]
        cluster.run("create", "secret", "docker-registry", "push", "--namespace", system, *login)
        async with e2e_kit.opened(stack) as kit:
            look_around = (
                "env; find / -xdev -name '*.json' -newer /etc/hostname -exec cat {} + 2>/dev/null; cat /proc/*/environ; true"
            )
            await kit.put("Environment", "guarded", unique(look_around, gate.command("guarded")))
            await gate.reached("guarded")
            shown = cluster.run("get", "jobs,pods,configmaps,events", "--namespace", system, "--output", "json")
            arguments = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
            gate.open()
            status = await ready(kit, "guarded")
            async with kit.store.connection() as connection:
                tables = [row["name"] for row in await connection.fetch(TABLES)]
                rows = [str(dict(row)) for name in tables for row in await connection.fetch(f"SELECT * FROM unicorn.{name}")]
        said = [stack.log_of(each) for each in (*stack.operators, *stack.gateways)]
        image = Reference.parse(status["images"][0]["ref"])
        content = list(image_of(server, image.repository, image.digest, f"Basic {basic}"))
        assert len(content) > 2
        for secret in (PASSWORD, basic):
            assert secret not in shown + str(status)
            assert not [each for each in (*arguments, *said, *rows) if secret in each]
            assert not [each for each in content if secret.encode() in each]
    finally:
        server.stop()


TABLES = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = 'unicorn'"


def image_of(server: RegistryServer, repository: str, digest: str, authorization: str) -> Iterator[bytes]:
    """Its manifest, its configuration, and the unpacked archive of each layer."""

    def get(path: str) -> bytes:
        accept = "application/vnd.oci.image.manifest.v1+json"
        status, _, body = server.send("GET", f"/v2/{repository}/{path}", {"Authorization": authorization, "Accept": accept})
        assert status == 200, (path, body)
        return body

    manifest = get(f"manifests/{digest}")
    read = json.loads(manifest)
    yield manifest
    yield get(f"blobs/{read['config']['digest']}")
    for layer in read["layers"]:
        yield gzip.decompress(get(f"blobs/{layer['digest']}"))

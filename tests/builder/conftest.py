"""A registry, a base with an apt repository and a wheel index, and a builder; all real."""

import os
import shutil
import socket
import struct
from contextlib import contextmanager
from pathlib import Path

import builder_kit
import packages_kit
import pytest
from builder_kit import Builder
from registry_kit import RegistryServer
from unicorn_devcluster import images, registry, tools

# An ELF file of 64 bits, little-endian, executable, for AArch64 (183), without a segment that could be loaded.
ARM64_PROGRAM = (
    b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0) + bytes(56)
)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == Path(__file__).parent and {"builder", "base_image"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("pods")  # as much of the machine: root on Debian, or skipped


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    with packages_kit.serve(tmp_path_factory.mktemp("packages")) as packages:
        packages.add_deb("unicorn-probe")
        packages.add_wheel("unicorn_wheel", "1.0")
        packages.add_wheel("unicorn_wheel", "2.0")
        yield packages


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = RegistryServer.make(tmp_path_factory.mktemp("registry"), port).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def base_image(packages, tmp_path_factory):
    """The demo's base, with sources of its own for apt and pip: the local image's name."""
    tools.ensure({"buildah": "buildah", "dpkg-deb": "dpkg"}, "the tests build images", print)
    files = tmp_path_factory.mktemp("base")
    (files / "sources.list").write_text(packages.apt_source)
    (files / "pip.conf").write_text(packages.pip_configuration)
    name = f"localhost/netunicorn/test-base-{os.getpid()}"
    with changed(images.build(["demo-base"])["demo-base"], name) as container:
        tools.run("buildah", "copy", container, files / "sources.list", "/etc/apt/sources.list")
        tools.run("buildah", "copy", container, files / "pip.conf", "/etc/pip.conf")
    yield name
    tools.run("buildah", "rmi", name)


@pytest.fixture(scope="session")
def base(registry_server, base_image):
    """The same in the registry."""
    return registry.push_to(base_image, f"{registry_server.host}/base:1", plain=True)


@contextmanager
def changed(image, name):
    """A container of this image, which becomes an image of this name."""
    container = tools.run("buildah", "from", "--pull-never", image).strip()
    try:
        yield container
        tools.run("buildah", "commit", container, name)
    finally:
        tools.run("buildah", "rm", container)


@pytest.fixture(scope="session")
def storage(tmp_path_factory):
    directory = tmp_path_factory.mktemp("storage")
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def builder(registry_server, base, storage, tmp_path, request):
    """A repository of its own for each test."""
    repository = "env/" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower()).strip("-")[:80].replace("--", "-")
    yield Builder(registry_server, base, tmp_path, storage, builder_kit.environment(tmp_path / "home"), repository.rstrip("-"))
    for elsewhere in tmp_path.glob("work-*"):
        shutil.rmtree(elsewhere)


@pytest.fixture(scope="session")
def make_base(registry_server, base_image):
    """`make_base(name, script)`: the base changed by a script; with an architecture: a small tree of names for that one."""
    made = {}

    def make(name, script, architecture="", foreign_shell=False):
        if name not in made:
            image = f"localhost/netunicorn/test-{name}-{os.getpid()}"
            with changed("scratch" if architecture else base_image, image) as container:
                if architecture:
                    fill(Path(tools.run("buildah", "mount", container).strip()), foreign_shell)
                    tools.run("buildah", "config", "--arch", architecture, container)
                else:
                    as_root = ["--isolation", "chroot", "--user", "0:0"]
                    tools.run("buildah", "run", *as_root, container, "--", "sh", "-c", script)
            made[name] = registry.push_to(image, f"{registry_server.host}/{name}:1", plain=True)
            tools.run("buildah", "rmi", image)
        return made[name]

    return make


def fill(root, foreign_shell):
    """What looks like a Python; and a program that only an ARM of 64 bits runs."""
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/python3.11").touch()
    (root / "usr/bin/python3").symlink_to("python3.11")
    if foreign_shell:
        (root / "bin").mkdir()
        (root / "bin/sh").write_bytes(ARM64_PROGRAM)
        (root / "bin/sh").chmod(0o755)

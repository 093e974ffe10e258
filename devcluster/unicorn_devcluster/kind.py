"""Kubernetes in Docker, by kind's own command line.

Not covered by this repository's tests: the machines they run on have no Docker engine.
"""

import shutil
from pathlib import Path

from . import tools


def is_available() -> bool:
    """Whether a Docker engine answers and kind is installed."""
    return shutil.which("kind") is not None and engine_answers()


def engine_answers() -> bool:
    """Whether there is a Docker engine."""
    if not shutil.which("docker"):
        return False
    try:
        # `docker info` succeeds without an engine; asked for the server's version it does not.
        return bool(tools.run("docker", "info", "--format", "{{.ServerVersion}}").strip())
    except tools.ToolError:
        return False


def exists(name: str) -> bool:
    return name in tools.run("kind", "get", "clusters").split()


def up(name: str, kubeconfig: Path, log: tools.Log) -> None:
    """Create the cluster unless it is there; its kubeconfig goes to that file. Raises ToolError."""
    if exists(name):
        return
    log("Creating a cluster with kind: usually takes 1 min, more when its image is not there yet.")
    tools.run("kind", "create", "cluster", "--name", name, "--wait", "3m", "--kubeconfig", kubeconfig)


def down(name: str, kubeconfig: Path) -> None:
    tools.run("kind", "delete", "cluster", "--name", name, "--kubeconfig", kubeconfig)


def load_archive(name: str, archive: Path) -> None:
    tools.run("kind", "load", "image-archive", archive, "--name", name)


def load_image(name: str, image: str) -> None:
    """One that the Docker engine has."""
    tools.run("kind", "load", "docker-image", image, "--name", name)


def kubeconfig(name: str, path: Path) -> Path:
    """Write the cluster's kubeconfig to this file."""
    path.touch(mode=0o600)
    path.write_text(tools.run("kind", "get", "kubeconfig", "--name", name))
    return path

"""The released packages of netunicorn, unmodified, in a virtual environment of their own that every uid can execute."""

import functools
import uuid
from pathlib import Path

from unicorn_devcluster import images, registry, tools, wheels
from unicorn_devcluster.cluster import Cluster

# What they are compatible with is part of the promise: exact versions, a new one is a change of this line.
PACKAGES = ("netunicorn-base==0.4.1", "netunicorn-client==0.4.0", "netunicorn-executor==0.4.2", "netunicorn-library==0.4.15")


@functools.cache
def python() -> Path:
    """The environment's python: RemoteClient, the executor (`python -m netunicorn.executor`), the library's tasks.

    Made by the first who asks (about 20 s), under a lock, and kept for all later runs. Raises ToolError.
    """
    return wheels.interpreter(PACKAGES)


def image(cluster: Cluster) -> str:
    """A reference, for the cluster's pods, to an image that has them: `demo-base` and they. Raises ToolError."""
    packages = wheels.installed(PACKAGES)
    container = tools.run("buildah", "from", images.build(["demo-base"])["demo-base"]).strip()
    name = f"localhost/netunicorn/netunicorn:{uuid.uuid4().hex[:12]}"
    try:
        place = f"/usr/local/lib/python{wheels.IMAGES_PYTHON}/dist-packages"
        tools.run("buildah", "copy", "--quiet", container, str(packages), place)
        tools.run("buildah", "commit", "--quiet", container, name)
        return registry.push(cluster, name, "netunicorn/netunicorn", tag=name.rpartition(":")[2])
    finally:
        tools.run("buildah", "rm", container)
        tools.run("buildah", "rmi", name)

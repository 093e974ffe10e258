"""Images into the cluster's registry, by what has built them; references to them bear digests."""

import http.client
import tempfile
from pathlib import Path
from typing import Literal

from . import kind, tools
from .cluster import Cluster, ClusterError

_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


def builder() -> Literal["buildah", "docker"]:
    """buildah, which needs neither engine nor network; but where it can't be set up (no root, no Debian) a Docker engine.

    The latter is not covered by this repository's tests, as kind is not.
    """
    return "docker" if not tools.can_install() and kind.engine_answers() else "buildah"


def load(cluster: Cluster, image: Path | str) -> str:
    """Put a docker archive (Path) or a local buildah image (str) where the cluster's pods can pull it.

    Returns the reference to use in a pod. Raises ClusterError, ToolError.
    """
    if isinstance(image, str):
        return push(cluster, image, image.rsplit("/", 1)[-1].split("@")[0].split(":")[0])
    identity = tools.run("buildah", "pull", "--quiet", f"docker-archive:{image}").strip()
    return push(cluster, identity, image.name.split(".")[0])


def push(cluster: Cluster, image: str, name: str, tag: str = "latest") -> str:
    """Push a local image of the builder as this name; returns `REGISTRY/NAME@sha256:…`.

    Into kind without a registry it is loaded, and `NAME:TAG` returned. UNICORN_REGISTRY is spoken to by TLS, unless this
    machine's registries.conf says that it is insecure. Raises ClusterError, ToolError.
    """
    if cluster.registry is None and cluster.kind == "kind":
        return _load_into_kind(cluster, image, f"{name}:{tag}")
    if cluster.registry is None:
        needed = "set UNICORN_REGISTRY to one that it pulls from" if cluster.pods else "it runs no pods"
        raise ClusterError(f"cluster {cluster.name!r} has no registry: {needed}")
    return push_to(image, f"{cluster.registry}/{name}:{tag}", plain=cluster.kind == "embedded")


def push_to(image: str, to: str, *, plain: bool) -> str:
    """Push a local image as `HOST/NAME[:TAG]`; returns `HOST/NAME@sha256:…`. `plain`: without TLS. Raises ToolError."""
    name = to if ":" not in to.rpartition("/")[2] else to.rpartition(":")[0]
    if builder() == "docker":
        return _push_by_docker(image, name, to.removeprefix(name).removeprefix(":") or "latest")
    with tempfile.NamedTemporaryFile("r") as file:
        options = ["--tls-verify=false"] if plain else []
        tools.run("buildah", "push", "--quiet", *options, "--digestfile", file.name, image, f"docker://{to}")
        digest = file.read().strip()
    return f"{name}@{digest}"


def is_plain(host: str) -> bool:
    """Whether the registry at HOST[:PORT] serves without TLS. One with TLS answers this by an error or a redirection."""
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in (200, 401)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def pushed(cluster: Cluster, name: str, tag: str) -> str | None:
    """The reference with digest of what the embedded cluster's registry has under this tag, else None.

    Raises ClusterError.
    """
    if cluster.registry is None or cluster.kind != "embedded":
        return None
    connection = http.client.HTTPConnection(cluster.registry, timeout=10)
    try:
        connection.request("HEAD", f"/v2/{name}/manifests/{tag}", headers={"Accept": _ACCEPT})
        response = connection.getresponse()
        return f"{cluster.registry}/{name}@{response.headers['Docker-Content-Digest']}" if response.status == 200 else None
    except OSError as error:
        raise ClusterError(f"the registry at {cluster.registry} does not answer: {error}") from error
    finally:
        connection.close()


def _push_by_docker(image: str, name: str, tag: str) -> str:
    tools.run("docker", "tag", image, f"{name}:{tag}")
    tools.run("docker", "push", "--quiet", f"{name}:{tag}")
    digests = tools.run("docker", "image", "inspect", "--format", '{{join .RepoDigests "\\n"}}', f"{name}:{tag}").split()
    return next(digest for digest in digests if digest.startswith(f"{name}@"))


def _load_into_kind(cluster: Cluster, image: str, name: str) -> str:
    if builder() == "docker":
        tools.run("docker", "tag", image, name)
        kind.load_image(cluster.name, name)
        return name
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory) / "image.tar"
        tools.run("buildah", "push", "--quiet", image, f"docker-archive:{archive}:{name}")
        kind.load_archive(cluster.name, archive)
    return name

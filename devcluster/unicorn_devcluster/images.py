"""`python -m unicorn_devcluster.images build|push|base`: the images of `images/Containerfile`, for the cluster's registry.

Builds reach no registry: a base is made by debootstrap, wheels are fetched and built on this machine. All is keyed by
content: a warm run finds every image in the registry and does nothing. A Docker engine, where it must do, fetches the base.
"""

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import cluster as clusters
from . import locks, paths, postgres, registry, tools, wheels
from .cluster import Cluster, ClusterError

TARGETS = ("operator", "gateway", "agent", "builder", "postgres", "demo-base")

_ROOT = Path(__file__).parents[2]
_LOCAL = "localhost/netunicorn"
_RECORD = "images.json"
_PACKAGES = ("python3", "python3-venv", "python3-pip", "iputils-ping", "ca-certificates")
_SUITE = "bookworm"
_TOOLS = {
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}


def push(cluster: Cluster, targets: Sequence[str] = TARGETS, log: tools.Log = print) -> dict[str, str]:
    """Have these in the cluster's registry; returns target -> `REGISTRY/NAME@sha256:…`. Raises ClusterError, ToolError."""
    keys = {target: key(target) for target in targets}
    found = {target: registry.pushed(cluster, f"netunicorn/{target}", keys[target]) for target in targets}
    references = {target: reference for target, reference in found.items() if reference}
    for target, image in build([target for target in targets if target not in references], log).items():
        log(f"Pushing {target} to {cluster.registry or cluster.name}.")
        references[target] = registry.push(cluster, image, f"netunicorn/{target}", tag=keys[target])
    record = cluster.directory / _RECORD
    record.write_text(json.dumps({**recorded(cluster), **references}))
    return references


def push_base(to: str, plain: bool, log: tools.Log = print) -> str:
    """Have a Debian with Python, made by debootstrap, in a registry (`HOST/NAME[:TAG]`); returns the reference with digest.

    For machines that reach no registry with images to build upon. Raises ToolError.
    """
    image = build(["demo-base"], log)["demo-base"]
    log(f"Pushing it to {to}.")
    return registry.push_to(image, to, plain=plain)


def recorded(cluster: Cluster) -> dict[str, str]:
    """What `push` returned for this cluster so far."""
    path = cluster.directory / _RECORD
    content: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return content


def build(targets: Sequence[str] = TARGETS, log: tools.Log = print) -> dict[str, str]:
    """Have these as local images of the builder; returns target -> name. Raises ToolError."""
    images = {target: f"{_LOCAL}/{target}:{key(target)}" for target in targets}
    with locks.held(paths.cache() / "images.lock", "Waiting for another process that builds images.", log):
        missing = [target for target, image in images.items() if not _exists(image)]
        if missing:
            options = ["build", "--quiet"]
            if registry.builder() == "buildah":
                tools.ensure(_TOOLS, "images are built by buildah", log)
                options = ["bud", "--quiet", "--isolation", "chroot", "--layers", "--build-arg", f"BASE={_base(log)}"]
            _build(missing, images, options, log)
    return images


def key(target: str) -> str:
    """Of all that decides the content of this target's image."""
    parts = [*_PACKAGES, _SUITE, *_authorities().values(), (_ROOT / "images/Containerfile").read_text()]
    if target in ("operator", "gateway"):
        parts += [wheels.lock(), wheels.content(wheels.SOURCES)]
    if target in ("operator", "gateway", "agent"):
        parts.append(wheels.content(wheels.AGENT_SOURCES))
    if target == "agent":
        parts.append((_ROOT / "images/copy.py").read_text())
    if target == "builder":
        parts.append(wheels.content(wheels.BUILDER_SOURCES))
    if target == "postgres":
        parts += [postgres.content(), (_ROOT / "images/serve_postgres.py").read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _build(targets: Sequence[str], images: dict[str, str], options: list[str], log: tools.Log) -> None:
    log(f"Building the images {', '.join(targets)}: usually takes 10 to 60 s.")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="unicorn-images-") as name:
        context = Path(name)
        _fill(context, targets, log)
        for target in targets:
            named = ["--target", target, "-f", str(_ROOT / "images/Containerfile"), "-t", images[target]]
            tools.run(registry.builder(), *options, *named, context)
            _drop_others(target, images[target])
    log(f"Built in {time.monotonic() - started:.0f} s.")


def _fill(context: Path, targets: Iterable[str], log: tools.Log) -> None:
    """Everything that the Containerfile copies for these targets."""
    for file in ("copy.py", "serve_postgres.py"):
        shutil.copy(_ROOT / "images" / file, context)
    if {"operator", "gateway"} & set(targets):
        shutil.copytree(wheels.dependencies(log), context / "wheels")
        wheels.project(context / "project")
    if {"operator", "gateway", "agent"} & set(targets):
        shutil.copy(wheels.agent_file(), context / "executor.pyz")
    if "builder" in targets:
        shutil.copytree(_ROOT / "builder", context / "builder", ignore=shutil.ignore_patterns("__pycache__"))
    if "postgres" in targets:
        postgres.copy(context / "postgres")


def _base(log: tools.Log) -> str:
    """A Debian with python3 and ping, from debootstrap, that trusts whom this machine does; returns the local image's name."""
    waste = "/var/cache/apt/* /var/lib/apt/lists/* /usr/share/doc /usr/share/man /usr/share/locale"
    script = f"update-ca-certificates; chmod u-s /bin/ping; rm -rf {waste}"
    parts = [_SUITE, *_PACKAGES, script, *_authorities().values()]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    image = f"{_LOCAL}/base:{digest}"
    if _exists(image):
        return image
    log("Making a base image with debootstrap: usually takes 30 to 60 s.")
    with tempfile.TemporaryDirectory(prefix="unicorn-base-") as name:
        root = Path(name) / "root"
        # With mounts of its own: those that it makes go with it, even if it is killed.
        isolated = ("unshare", "--mount", "--propagation", "private")
        tools.run(*isolated, "debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _SUITE, root)
        for authority, content in _authorities().items():
            (root / authority.relative_to("/")).write_text(content)
        tools.run("chroot", root, "sh", "-c", script)
        # Without extended attributes: ping as a capability-bearing file can't be run by a pod without that capability.
        tools.run("tar", "-C", root, "--no-xattrs", "--exclude=./dev/*", "-cf", f"{name}/root.tar", ".")
        container = tools.run("buildah", "from", "scratch").strip()
        try:
            tools.run("buildah", "add", "--quiet", container, f"{name}/root.tar", "/")
            tools.run("buildah", "config", "--cmd", "[]", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", container)
            tools.run("buildah", "commit", "--quiet", container, image)
        finally:
            tools.run("buildah", "rm", container)
    return image


def _authorities() -> dict[Path, str]:
    """Added to this machine's own, as of a proxy that looks into TLS: without them no build could fetch anything."""
    return {path: path.read_text() for path in sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))}


def _exists(image: str) -> bool:
    tool = registry.builder()
    return bool(shutil.which(tool)) and bool(tools.run(tool, "images", "--quiet", "--filter", f"reference={image}"))


def _drop_others(target: str, image: str) -> None:
    """Earlier builds of this target; their layers go with them."""
    tool = registry.builder()
    field = "{{.Name}}" if tool == "buildah" else "{{.Repository}}"
    named = tools.run(tool, "images", "--format", f"{field}:{{{{.Tag}}}}").split()
    old = [other for other in named if other.startswith(f"{_LOCAL}/{target}:") and other != image]
    for other in old:
        try:
            tools.run(tool, "rmi", other)
        except tools.ToolError as error:
            if "in use" not in str(error):
                raise
            # by a build beside this one; the next build drops it


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m unicorn_devcluster.images", description=__doc__)
    parser.add_argument("action", choices=["build", "push", "base"])
    parser.add_argument("--name", default="demo", help="of the cluster to push to (default: demo)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--to", metavar="HOST/NAME:TAG", help="base: where it goes (default: the running cluster's registry)")
    parser.add_argument("--plain-http", action="store_true", help="base: that registry speaks no TLS")
    options = parser.parse_intermixed_args(arguments)
    targets = options.targets or TARGETS
    paths.open_umask()
    try:
        base = options.action == "base"
        if base and options.to:
            made = {"UNICORN_DEFAULT_BASE": push_base(options.to, options.plain_http)}
        elif options.action == "build":
            made = build(targets)
        elif cluster := clusters.find(options.name):
            made = {"UNICORN_DEFAULT_BASE": push(cluster, ["demo-base"])["demo-base"]} if base else push(cluster, targets)
        else:
            raise ClusterError(f"no cluster {options.name!r} is running")
    except (ClusterError, tools.ToolError) as error:
        print(f"unicorn_devcluster.images: {error}", file=sys.stderr)
        return 1
    for target, image in made.items():
        print(f"{target:10} {image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

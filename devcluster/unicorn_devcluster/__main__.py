"""`python -m unicorn_devcluster`: the cluster for demo and tests, by hand."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import cluster as clusters
from . import paths, registry
from .cluster import Cluster, ClusterError
from .tools import ToolError

_DEFAULT = "demo"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; errors are one readable line."""
    options = _parser().parse_args(arguments)
    paths.open_umask()
    try:
        options.action(options)
    except (ClusterError, ToolError) as error:
        print(f"unicorn_devcluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _up(options: argparse.Namespace) -> None:
    cluster = clusters.up(options.name, pods=False if options.no_pods else None)
    _describe(cluster)
    print(f"""To use it:  eval "$(python -m unicorn_devcluster env --name {cluster.name})\"""")


def _down(options: argparse.Namespace) -> None:
    clusters.down(options.name)


def _status(options: argparse.Namespace) -> None:
    cluster = _running(options)
    _describe(cluster)
    print(f"logs        {cluster.directory / 'logs'}")


def _env(options: argparse.Namespace) -> None:
    print(clusters.shell_exports(_running(options)), end="")


def _load_image(options: argparse.Namespace) -> None:
    path = Path(options.image)
    print(registry.load(_running(options), path if path.is_file() else options.image))


def _describe(cluster: Cluster) -> None:
    print(f"cluster     {cluster.name} ({cluster.kind}{'' if cluster.pods else ', without pods'})")
    print(f"kubeconfig  {cluster.kubeconfig}")
    print(f"this host   {cluster.host_address}, as the cluster sees it")
    if cluster.registry:
        print(f"registry    {cluster.registry}")


def _running(options: argparse.Namespace) -> Cluster:
    if cluster := clusters.find(options.name):
        return cluster
    raise ClusterError(f"no cluster {options.name!r} is running; `python -m unicorn_devcluster up` starts one")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m unicorn_devcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("--name", default=_DEFAULT, help=f"of the cluster (default: {_DEFAULT})")
    for name, action, text in (
        ("up", _up, "start it, unless it runs"),
        ("down", _down, "stop it and leave nothing behind"),
        ("status", _status, "say where it is; fails when it does not run"),
        ("env", _env, "print shell exports: KUBECONFIG and what the demo added"),
        ("load-image", _load_image, "put an image into its registry; prints the reference with digest"),
    ):
        command = commands.add_parser(name, parents=[named], help=text, description=text)
        command.set_defaults(action=action)
        if action is _up:
            command.add_argument("--no-pods", action="store_true", help="the control plane alone")
        if action is _load_image:
            command.add_argument("image", help="a docker or OCI archive, or the name of a buildah image")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""`python -m unicorn_devcluster.demo [EXAMPLE] | --down`."""

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from unicorn_core.errors import UnicornError
from unicorn_kube import KubeClient, KubeConfig
from unicorn_store import connect, records

from .. import paths
from ..cluster import ClusterError
from ..postgres import PostgresError
from ..tools import ToolError
from . import display, examples, installation, notebook, running
from .examples import Example, ExampleError
from .installation import Installation
from .running import RunError, View

_FOREIGN = (ClusterError, ToolError, PostgresError, ExampleError, RunError, UnicornError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 when the example ended as it should. Errors are one readable line."""
    parser = argparse.ArgumentParser(prog="python -m unicorn_devcluster.demo", description=__doc__)
    wanted = ", ".join([*examples.names(), notebook.NAMES[0]])
    parser.add_argument("example", nargs="?", default="hello", help=f"one of {wanted} (default: hello)")
    parser.add_argument("--down", action="store_true", help="end the demo and remove everything of it")
    parser.add_argument("--name", default=installation.DEFAULT, help=f"of its cluster (default: {installation.DEFAULT})")
    options = parser.parse_args(arguments)
    console = Console()
    paths.open_umask()
    try:
        if options.down:
            return _down(console, options.name)
        if options.example in notebook.NAMES:
            return _notebook(console, options.name)
        return _demo(console, options.name, options.example)
    except _FOREIGN as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nStopped looking. What runs goes on: `make demo` looks again, `make demo-down` ends and removes it.",
            file=sys.stderr,
        )
        return 130


def _down(console: Console, name: str) -> int:
    console.print("The demo is gone." if installation.down(name) else "No demo was running.")
    return 0


def _demo(console: Console, name: str, wanted: str) -> int:
    example = examples.load(wanted)
    started = time.monotonic()
    made = installation.up(name, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
    if example.needs_pods and not made.cluster.pods:
        raise ExampleError(f"the example {wanted} needs a cluster that runs pods; here there is none (root on Debian has one)")
    if example.needs_builds and not made.builds:
        raise ExampleError(f"the example {wanted} builds an image, and the cluster has no registry that we push to")
    if example.needs_local and not made.local:
        raise ExampleError(
            f"the example {wanted} needs nodes of the connector `local`; where the operator is a pod there are none"
        )
    console.print(f"Operator and gateway serve, after {time.monotonic() - started:.1f} s. Applying examples/{wanted}/.\n")
    last = asyncio.run(_run(console, made, example))
    console.print()
    if last.phase is not example.expect:
        _explain(console, made, last, example)
        return 1
    _say_how_to_go_on(console, made, example)
    return 0


def _notebook(console: Console, name: str) -> int:
    made = installation.up(name, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))
    console.print(
        f"The user API serves at {made.cluster.exports['UNICORN_ENDPOINT']}. Running examples/notebook/notebook.py.\n",
        soft_wrap=True,
        highlight=False,
    )
    return notebook.run(made.cluster, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True))


async def _run(console: Console, made: Installation, example: Example) -> View:
    """Apply it, show how it goes and what came of it."""
    namespace = installation.NAMESPACE
    store = await connect(made.dsn, application_name="demo", max_size=2)
    try:
        async with KubeClient(KubeConfig.load(made.cluster.kubeconfig)) as kube:
            if await running.remove(kube, namespace, example.experiment):
                console.print("(Deleted the Experiment of an earlier run. Its records stay in PostgreSQL.)")
            uid = await running.apply(kube, namespace, example)
            with display.progress(console) as progress:
                async for view in running.follow(kube, store, namespace, example):
                    progress.show(view)
        display.show_results(console, [each async for each in records.executors(store, uid, view.status.get("attempt", 1))])
        return view
    finally:
        await store.close()


def _explain(console: Console, made: Installation, last: View, example: Example) -> None:
    console.print(f"{example.experiment} ended as {last.phase}, not as {example.expect}.", style="red")
    console.print(f"{last.status.get('reason', '')}: {last.status.get('message', '')}", markup=False, highlight=False)
    for failure in last.status.get("failures", ()):
        console.print(f"  {failure['executor']}: {failure['reason']}: {failure['message']}", markup=False, highlight=False)
    console.print(f"Logs of operator and gateway: {made.logs}", markup=False, highlight=False)


def _say_how_to_go_on(console: Console, made: Installation, example: Example) -> None:
    python = ".venv/bin/python"
    named = "" if made.cluster.name == installation.DEFAULT else f" --name {made.cluster.name}"
    further = {
        f'eval "$({python} -m unicorn_devcluster env{named})"': "KUBECONFIG, UNICORN_ENDPOINT, UNICORN_LOGIN, …",
        "kubectl get exp,tn,conn": f"describe exp {example.experiment}",
        f"{python} -m unicorn_devcluster.results {example.experiment}": "--logs: what tasks printed; --events: when they ran",
    }
    width = max(map(len, further))
    lines = [
        "To look further:",
        *(f"    {command:{width}}  # {text}" for command, text in further.items()),
        f"Logs of operator and gateway: {made.logs}",
        "To stop and remove everything: make demo-down",
    ]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

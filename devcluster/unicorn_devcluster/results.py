"""`python -m unicorn_devcluster.results NAME`: what an experiment left in PostgreSQL (UNICORN_DATABASE_URL).

Works as well when the Experiment, its nodes and the whole cluster are gone.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text
from unicorn_core.errors import UnicornError
from unicorn_core.text import plain
from unicorn_store import Store, connect, records
from unicorn_store.records import ExecutorRecord, ExperimentRecord

from .demo import display


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; errors are one readable line."""
    parser = argparse.ArgumentParser(prog="python -m unicorn_devcluster.results", description=__doc__)
    parser.add_argument("name", nargs="?", help="of the experiment, the newest of that name; without: a list of all")
    parser.add_argument("--namespace", "-n", default="default", help="default: default")
    parser.add_argument("--attempt", type=int, help="default: the last one")
    parser.add_argument("--logs", action="store_true", help="what its tasks printed")
    parser.add_argument("--events", action="store_true", help="when its tasks started and ended")
    options = parser.parse_args(arguments)
    try:
        return asyncio.run(_main(Console(), options))
    except UnicornError as error:
        print(f"results: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, BrokenPipeError):
        return 130


async def _main(console: Console, options: argparse.Namespace) -> int:
    store = await connect(os.environ.get("UNICORN_DATABASE_URL"), application_name="results", max_size=2)
    try:
        if options.name is None:
            async for experiment in records.experiments(store, options.namespace):
                _say(console, _line(experiment))
            return 0
        async for experiment in records.experiments(store, options.namespace, options.name):
            await _show(console, store, experiment, options)
            return 0
    finally:
        await store.close()
    print(f"results: no experiment {options.name} was recorded in namespace {options.namespace}", file=sys.stderr)
    return 1


async def _show(console: Console, store: Store, experiment: ExperimentRecord, options: argparse.Namespace) -> None:
    _say(console, _line(experiment))
    async for executor in records.executors(store, experiment.uid, options.attempt or experiment.attempt):
        if options.logs:
            await _show_logs(console, store, executor)
        elif options.events:
            await _show_events(console, store, executor)
        else:
            display.show_results(console, [executor])


async def _show_logs(console: Console, store: Store, executor: ExecutorRecord) -> None:
    async for log in records.logs(store, executor.id):
        source = f"{executor.deployment}/{executor.index} {log.task or 'agent'} {log.stream}"
        for line in log.text.splitlines():
            _say(console, f"{log.received:%H:%M:%S} {source}: {plain(line)}")


async def _show_events(console: Console, store: Store, executor: ExecutorRecord) -> None:
    async for event in records.events(store, executor.id):
        what = f"{event.kind} {event.task or ''} {display.outcome(event.body) if 'outcome' in event.body else ''}"
        _say(console, f"{event.received:%H:%M:%S.%f} {executor.deployment}/{executor.index} {what.strip()}")


def _line(experiment: ExperimentRecord) -> str:
    name = f"{experiment.namespace}/{experiment.name}, attempt {experiment.attempt}"
    return f"{name}, {experiment.created:%F %T}: {experiment.phase}{', deleted since' if experiment.deleted else ''}"


def _say(console: Console, line: str) -> None:
    console.print(Text(line), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())

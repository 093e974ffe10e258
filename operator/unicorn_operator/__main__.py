"""`unicorn-operator run | settings | build log HASH | database migrate | login PROCESS | restored | --version`."""

import argparse
import asyncio
import importlib.metadata
import sys
import time
from collections.abc import Sequence

from unicorn_core.errors import StoreUnavailable, UnicornError
from unicorn_core.text import plain
from unicorn_store import builds, connect, make_login, migrate
from unicorn_store.logins import GROUPS

from unicorn_operator import logs, settings
from unicorn_operator.settings import Settings

PATIENCE = 60.0  # seconds that `database login` waits for a server that is just starting


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 asked to stop, 1 something failed, 2 wrong settings, 4 leadership lost."""
    options = _parser().parse_args(arguments)
    if options.command == "settings":
        sys.stdout.write(settings.describe())
        return 0
    try:
        loaded = settings.load()
        if options.command == "run":
            from unicorn_operator.shell import run  # kopf takes a while to import

            logs.set_up(loaded.log_format, loaded.log_level)
            return asyncio.run(run(loaded))
        if options.command == "build":
            return asyncio.run(_build_log(loaded, options.hash))
        return _login(loaded, options.process) if options.verb == "login" else _database(options.verb, loaded)
    except UnicornError as error:
        return settings.stop_with(error)
    except KeyboardInterrupt:
        return 130


def _database(verb: str, loaded: Settings) -> int:
    if verb == "migrate":
        for name in migrate(loaded.dsn):
            sys.stdout.write(f"applied {name}\n")
        return 0
    asyncio.run(_restored(loaded))
    sys.stdout.write("no node is given out until every connector has been observed\n")
    return 0


def _login(loaded: Settings, process: str) -> int:
    deadline, said = time.monotonic() + PATIENCE, ""
    while True:
        try:
            migrate(loaded.dsn)
            user = make_login(loaded.dsn, loaded.login_database_url.get_secret_value(), process)
        except StoreUnavailable as error:
            if time.monotonic() > deadline:
                raise
            if str(error) != said:
                said = str(error)
                sys.stderr.write(f"waiting for {said}\n")
            time.sleep(1)
        else:
            sys.stdout.write(f"{user} may log in as the {process}\n")
            return 0


async def _build_log(loaded: Settings, hash: str) -> int:
    store = await connect(loaded.dsn, application_name="unicorn-operator", max_size=1)
    try:
        found = await builds.read_log(store, hash)
    finally:
        await store.close()
    if found is None:
        sys.stderr.write(f"unicorn-operator: no build has ended whose hash, and no other's, begins with {hash}\n")
        return 1
    sys.stdout.write(plain(found.content, sys.maxsize))
    return 0


async def _restored(loaded: Settings) -> None:
    store = await connect(loaded.dsn, application_name="unicorn-operator", max_size=1)
    try:
        async with store.connection() as connection:
            await store.queries.mark_restored(connection)
    finally:
        await store.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unicorn-operator", description="The operator of netunicorn-operator.")
    parser.add_argument("--version", action="version", version=importlib.metadata.version("netunicorn-operator"))
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="run the operator; its settings are environment variables UNICORN_*")
    commands.add_parser("settings", help="print all settings, their defaults and meanings")
    build = commands.add_parser("build", help="builds of images")
    log = build.add_subparsers(dest="verb", required=True).add_parser("log", help="print the whole log of a build that has ended")
    log.add_argument("hash", help="status.build.hash of an Environment, or how it begins")
    database = commands.add_parser("database", help="the database of UNICORN_DATABASE_URL")
    verbs = database.add_subparsers(dest="verb", required=True)
    verbs.add_parser("migrate", help="bring its schema up to date")
    login = verbs.add_parser("login", help="migrate, and let the user of UNICORN_LOGIN_DATABASE_URL log in as this process")
    login.add_argument("process", choices=sorted(GROUPS))
    verbs.add_parser("restored", help="say that it was restored from a backup: allocation pauses until nodes were observed")
    return parser


if __name__ == "__main__":
    sys.exit(main())

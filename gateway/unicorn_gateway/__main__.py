"""`unicorn-gateway executor | user | users …`: a process of the gateway, or its accounts. Settings come from the environment."""

import argparse
import asyncio
import gc
import sys

from unicorn_core.errors import Refused, UnicornError

from unicorn_gateway import logs, settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="unicorn-gateway", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("executor", help="the API of the executors")
    commands.add_parser("user", help="the API of the users")
    if sys.argv[1:2] != ["executor"]:  # that process needs none of it, above all no Kubernetes client
        from unicorn_gateway.user_api import users_command

        users_command.add_parser(commands)
    options = parser.parse_args()
    try:
        match options.command:
            case "executor":
                _serve_executors()
            case "user":
                _serve_users()
            case _:
                return users_command.run(options)
    except Refused as error:
        sys.stderr.write(f"unicorn-gateway: {error}\n")
        return 2
    except UnicornError as error:
        sys.stderr.write(f"unicorn-gateway: {error.reason}: {error}\n")
        return 1
    return 0


def _serve_executors() -> None:
    from unicorn_gateway.executor_api.server import serve

    loaded = settings.load(settings.ExecutorSettings)
    logs.configure(loaded.log_level)
    # Thousands of waiting requests live long: looking for garbage among them as often as Python does costs more than they do.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    asyncio.run(serve(loaded))


def _serve_users() -> None:
    from unicorn_gateway.user_api.server import serve
    from unicorn_gateway.user_api.settings import UserSettings

    loaded = settings.load(UserSettings)
    logs.configure(loaded.log_level)
    asyncio.run(serve(loaded))


if __name__ == "__main__":
    sys.exit(main())

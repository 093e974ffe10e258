"""Starting what belongs to an executor: its agent, and before that its environment's shell commands.

A clean environment, its own session, its own user id; nothing secret in argv.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from unicorn_core.connector import Order

from unicorn_connectors import netunicorn
from unicorn_connectors.local.directory import ExecutorDirectory
from unicorn_connectors.local.processes import MARK

# Says its pid, runs the agent, says how it ended; all that on the status file, which is its standard output. It holds that
# file's lock, and so does the agent (descriptor 3). A TERM to the group is for the agent: the trap keeps the wrapper waiting.
_WRAPPER = 'trap : TERM INT HUP; echo "pid $$"; "$@" 3>&1 1>&2; echo "exit $?"'
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def start_agent(directory: ExecutorDirectory, order: Order, python: str, agent: Path | None) -> int:
    """`agent` None: netunicorn's own. Returns the wrapper's pid when it was started; a child of ours. Raises OSError."""
    environment = {
        **_environment(directory, order, python),
        **(_netunicorn(order) if agent is None else _ours(directory, order)),
        **({"UNICORN_CA_FILE": str(directory.ca)} if order.gateway.ca_bundle else {}),
    }
    arguments = netunicorn.ARGUMENTS if agent is None else (str(agent),)
    status = directory.open_status(order.handle.fence)
    try:
        command = ["/bin/sh", "-c", _WRAPPER, "unicorn-executor", python, *arguments]
        child = _spawn(directory, command, environment, stdout=status)
        os.write(status, f"pid {child.pid}\n".encode())  # the wrapper may not have come to it yet
        return child.pid
    finally:
        os.close(status)


def _ours(directory: ExecutorDirectory, order: Order) -> Mapping[str, str]:
    return {
        "UNICORN_GATEWAY": order.gateway.endpoint,
        "UNICORN_TOKEN_FILE": str(directory.token),
        "UNICORN_SPOOL": str(directory.home / "spool"),
        "UNICORN_WORKDIR": str(directory.work),
    }


def _netunicorn(order: Order) -> Mapping[str, str]:
    return {**netunicorn.environment(order), netunicorn.ENDPOINT: netunicorn.endpoint(order)}


def start_command(directory: ExecutorDirectory, order: Order, python: str, command: str) -> "subprocess.Popen[bytes]":
    """One of the environment's shell commands, in the executor's working directory. Raises OSError."""
    return _spawn(directory, ["/bin/sh", "-c", command], _environment(directory, order, python))


def _environment(directory: ExecutorDirectory, order: Order, python: str) -> Mapping[str, str]:
    return {
        "PATH": f"{os.path.dirname(python)}:{_PATH}",  # the interpreter's own pip comes first
        "HOME": str(directory.home),
        "TMPDIR": str(directory.home / "tmp"),
        "USER": "unicorn",
        "LOGNAME": "unicorn",
        "LANG": "C.UTF-8",
        **order.runtime.environment,
        MARK: str(directory.executor),
    }


def _spawn(
    directory: ExecutorDirectory, command: Sequence[str], environment: Mapping[str, str], stdout: int | None = None
) -> "subprocess.Popen[bytes]":
    identity: dict[str, object] = {}
    if directory.user is not None:
        identity = {"user": directory.user, "group": directory.user, "extra_groups": []}
    log = os.open(directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 what users run is what we are for
            command,
            cwd=directory.work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
            start_new_session=True,
            umask=0o077,
            **identity,  # type: ignore[call-overload]
        )
    finally:
        os.close(log)
    child.returncode = 0  # it may outlive us: Popen is not to warn about it, and not to reap it either
    return child

"""Runs the environment's own `python -m netunicorn.executor`, unmodified; given to its interpreter by `-c`, on the node.

Standard library only, any Python that netunicorn knows. The executor logs its endpoint, which holds its token: what it writes
to stderr is what others may read, so the token is not in there. $UNICORN_CA_FILE is trusted beside the public authorities.
"""

import logging
import os
import runpy
import signal
import tempfile


class _WithoutToken(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace(_token, "x" * len(_token))


def _trust(path: str) -> None:
    """requests, which netunicorn uses, takes one bundle."""
    import certifi  # comes with requests

    with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as bundle:
        for part in (os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where(), path):
            with open(part) as file:
                bundle.write(file.read() + "\n")
    os.environ["REQUESTS_CA_BUNDLE"] = bundle.name


def _end(number: int, frame: object) -> None:
    """Of a container's first process, for which signals have no default."""
    if os.getpid() == 1:
        os._exit(128 + number)
    signal.signal(number, signal.SIG_DFL)  # a task's process, which has inherited this
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    if os.getpid() == 1:
        signal.signal(signal.SIGTERM, _end)
    _token = os.environ["NETUNICORN_GATEWAY_ENDPOINT"].rpartition("/")[2]
    _handler = logging.StreamHandler()
    _handler.setFormatter(_WithoutToken(logging.BASIC_FORMAT))
    logging.basicConfig(handlers=[_handler])
    _ca = os.environ.pop("UNICORN_CA_FILE", "")
    if _ca:
        _trust(_ca)
    runpy.run_module("netunicorn.executor", run_name="__main__", alter_sys=True)

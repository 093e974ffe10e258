"""`python -m unicorn_executor`, and the zipapp."""

import os
import sys
from typing import NoReturn

from unicorn_executor.agent import main


def run() -> NoReturn:
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking the interpreter apart would cost each executor 10 ms of its node's CPU


if __name__ == "__main__":
    run()

"""`python -m unicorn_executor`, and the zipapp."""

import gc
import os
import sys
from typing import NoReturn

from unicorn_executor.seed import sow


def run() -> NoReturn:
    seed = sow(os.environ)
    # After the fork: what the agent alone needs is nothing to its tasks' processes, and is not copied, page by page, by either.
    from unicorn_executor.agent import main

    gc.freeze()
    gc.enable()
    code = main(seed)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking the interpreter apart would cost each executor 10 ms of its node's CPU


if __name__ == "__main__":
    run()

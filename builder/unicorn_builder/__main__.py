"""`python -m unicorn_builder CONTEXT WORK`: build what CONTEXT says, with the storage in WORK, which may be kept and shared.

$REGISTRY_AUTH_FILE: credentials of registries; $SSL_CERT_FILE: authorities; $UNICORN_BUILD_RESULT: where the report goes.
Ends with 0 when the image is in the registry, else with 1. SIGTERM ends the build; it is reported as Stopped.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from unicorn_builder import outside, processes
from unicorn_builder.build import Build
from unicorn_builder.buildah import BuildahError
from unicorn_builder.log import Log
from unicorn_builder.order import Order
from unicorn_builder.report import Report


class Stopped(BaseException):
    """SIGTERM came."""


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m unicorn_builder CONTEXT WORK\n")
        return 2
    if os.geteuid() != 0:
        return outside.run_inside(arguments)
    log = Log()
    report = _build(Path(arguments[0]), Path(arguments[1]), log)
    if path := os.environ.get("UNICORN_BUILD_RESULT"):
        Path(path).write_text(report.to_json())
    return 0 if report.result == "Built" else 1


def _build(context: Path, work: Path, log: Log) -> Report:
    processes.adopt_orphans()
    build: Build | None = None
    signal.signal(signal.SIGTERM, _stop)
    try:
        build = Build(Order.read(context), work, log)
        build.run()
        return build.report
    except Stopped:
        log.finish()
        log.mark("stopped")
        known = build.report if build else Report("Stopped")
        return replace(known, result="Stopped", message="stopped before it was done", tail=log.tail)
    except (BuildahError, OSError, ValueError, KeyError) as error:
        log.mark(f"failed: {error!r}")
        known = build.report if build else Report("Broken")
        return replace(known, result="Broken", message=str(error), tail=log.tail)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if build:
            build.close()
        processes.end_children()


def _stop(_number: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

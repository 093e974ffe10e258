"""Logs as JSON lines on stderr. Headers and bodies are never logged: tokens travel there."""

import logging
import re
import sys

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_TOKEN_PREFIX = re.compile(r"^/+x/+[^/]*")


def redacted(path: str) -> str:
    """A path for a log: netunicorn's executor carries its token in it."""
    return _TOKEN_PREFIX.sub("/x/-", path)


def configure(level: str) -> None:
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without local variables: tokens and passwords are among them.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=max(number, logging.WARNING), stream=sys.stderr, format='{"event": "%(name)s", "level": "%(levelname)s"}'
    )

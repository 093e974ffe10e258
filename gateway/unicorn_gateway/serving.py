"""What a process of the gateway listens with: socket, TLS, HTTP protocol, signals."""

import asyncio
import functools
import signal
import socket
import ssl
from collections.abc import Callable

from aiohttp import web
from unicorn_core.errors import Problem, Refused

from unicorn_gateway.problems import ProblemError, respond
from unicorn_gateway.settings import ServerSettings

HEADERS = 64 * 1024  # a header line; all of them together may be twice that


class Protocol(web.RequestHandler):
    """What is no HTTP gets a problem document too."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        malformed = ProblemError(400, "Malformed", "this is not a request in HTTP/1.1, or its headers are too large")
        response = respond(malformed if status < 500 else ProblemError(500, "Internal", "a fault of the gateway"))
        response.force_close()
        return response


def protocols(runner: web.AppRunner, settings: ServerSettings) -> Callable[[], Protocol]:
    """Makes one for each connection. The runner has been set up."""
    assert runner.server is not None
    return functools.partial(
        Protocol,
        runner.server,
        loop=asyncio.get_running_loop(),
        access_log=None,  # type: ignore[arg-type]  # what AppRunner passes too: ours is in app.py
        keepalive_timeout=settings.idle_timeout.total_seconds(),  # from the last answer to the end of the next headers
        max_line_size=HEADERS,
        max_field_size=HEADERS,
        auto_decompress=False,  # a few bytes would become many, whoever sends them; see bodies.read
    )


def bind(settings: ServerSettings) -> socket.socket:
    """Raises Refused when the address cannot be had."""
    host, port = settings.address
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if settings.reuse_port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.setblocking(False)
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        variable = f"UNICORN_{settings.LISTEN.upper()}"
        raise Refused(Problem(variable, f"cannot listen on {host}:{port}: {error.strerror or error}")) from error
    return listening


def url(listening: socket.socket, tls: bool) -> str:
    host, port = listening.getsockname()[:2]
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def tls(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise Refused(Problem("UNICORN_TLS_CERTIFICATE", f"certificate and key cannot be used: {error}")) from error
    return context


def stop_by_signal() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop

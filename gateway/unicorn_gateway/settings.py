"""The settings of the gateway's processes, from the environment."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Self, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from unicorn_core.durations import parse_duration
from unicorn_core.errors import Problem, Refused
from unicorn_store import dsn

_HELP = {
    "database_url": "write postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    "user_listen": "write HOST:PORT, for example 0.0.0.0:26511; port 0 takes a free one",
    "user_signing_key_file": "the path of a private key in PEM: python -m unicorn_core.tokens new-key DIR makes one",
    "executor_listen": "write HOST:PORT, for example 0.0.0.0:26512; port 0 takes a free one",
    "token_public_keys": "the path of a JSON file {kid: PEM or JWK}, or of a directory of such files",
    "agent": "the path of the agent's zipapp (executor.pyz)",
}


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration), NoDecode]


class ServerSettings(BaseSettings):
    """What both processes need. Each has the prefix UNICORN_."""

    model_config = SettingsConfigDict(env_prefix="UNICORN_", extra="ignore", frozen=True)
    LISTEN: ClassVar[str]  # the field with the process's own address

    database_url: Annotated[str, Field(repr=False, description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE")]
    database_connections: Annotated[int, Field(ge=2, le=100, description="at most, a process")] = 10
    reuse_port: Annotated[bool, Field(description="several processes share the port (SO_REUSEPORT)")] = False
    tls_certificate: Annotated[Path | None, Field(description="PEM chain; with it the gateway speaks https")] = None
    tls_key: Annotated[Path | None, Field(description="PEM private key")] = None
    requests_in_flight: Annotated[int, Field(ge=1, description="worked on at once, waiting ones aside; more get 503")] = 500
    body_timeout: Annotated[Duration, Field(description="for the next bytes of a body; on the whole 4 KiB a second more")] = (
        timedelta(seconds=30)
    )
    idle_timeout: Annotated[Duration, Field(description="of a connection without a complete request")] = timedelta(seconds=75)
    stop_timeout: Annotated[Duration, Field(description="for running requests at the end")] = timedelta(seconds=8)
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = "info"

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        try:
            return dsn.check(value)
        except Refused as error:
            raise ValueError(error.problems[0].message + "; " + error.problems[0].expected) from None

    @field_validator("tls_certificate", "tls_key")
    @classmethod
    def _exists(cls, value: Path | None) -> Path | None:
        return existing(value)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("UNICORN_TLS_CERTIFICATE and UNICORN_TLS_KEY belong together")
        return self

    @property
    def address(self) -> tuple[str, int]:
        return split_address(getattr(self, self.LISTEN))


class ExecutorSettings(ServerSettings):
    """Of `unicorn-gateway executor`."""

    LISTEN = "executor_listen"

    executor_listen: Annotated[str, Field(description="HOST:PORT; port 0 takes a free one")] = "0.0.0.0:26512"
    token_public_keys: Annotated[
        Path, Field(description="JSON file {kid: PEM or JWK}, or a directory of such; re-read on change")
    ]
    agent: Annotated[Path | None, Field(description="the zipapp served as /executor.pyz")] = None
    requests_per_second: Annotated[float, Field(gt=0, description="of one executor, on average")] = 50.0
    request_burst: Annotated[float, Field(ge=1, description="of one executor, at once")] = 200.0
    uploads_in_flight: Annotated[int, Field(ge=1, description="blob parts of up to 4 MiB at once; more get 503")] = 16
    downloads_in_flight: Annotated[int, Field(ge=1, description="serialized graphs sent to agents at once; more get 503")] = 16
    netunicorn_hold: Annotated[
        Duration, Field(description="for so long netunicorn's executor waits for an answer that it would ask for again at once")
    ] = timedelta(seconds=25)

    @field_validator("executor_listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("token_public_keys", "agent")
    @classmethod
    def _is_there(cls, value: Path | None) -> Path | None:
        return existing(value)


def existing(path: Path | None) -> Path | None:
    """Raises ValueError when nothing is there."""
    if path is not None and not path.exists():
        raise ValueError("there is no such file")
    return path


def split_address(text: str) -> tuple[str, int]:
    """HOST:PORT or [IPv6]:PORT. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("not HOST:PORT")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104


S = TypeVar("S", bound=BaseSettings)


def load(kind: type[S]) -> S:
    """From the environment. Raises Refused with each setting that is missing or wrong; values are not shown: one is secret."""
    prefix = kind.model_config.get("env_prefix", "")
    try:
        return kind()
    except ValidationError as error:
        problems = []
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else ""
            message = item["msg"].removeprefix("Value error, ")
            message = "it is not set" if item["type"] == "missing" else message
            problems.append(Problem(f"{prefix}{name.upper()}" if name else "settings", message, _HELP.get(name, "")))
        raise Refused(problems) from error

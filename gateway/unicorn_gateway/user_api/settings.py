"""The settings of `unicorn-gateway user`. Those of a method of authentication stand in its module."""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator
from pydantic_settings import NoDecode

from unicorn_gateway.settings import Duration, ServerSettings, existing, split_address


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_names), NoDecode]


class UserSettings(ServerSettings):
    """Of `unicorn-gateway user`."""

    LISTEN = "user_listen"

    user_listen: Annotated[str, Field(description="HOST:PORT; port 0 takes a free one")] = "0.0.0.0:26511"
    user_signing_key_file: Annotated[Path, Field(description="Ed25519 private key (PEM) for users' tokens; re-read on change")]
    kubeconfig: Annotated[str, Field(description="a file; empty: $KUBECONFIG, the pod's ServiceAccount, ~/.kube/config")] = ""
    watch_namespaces: Annotated[
        Names, Field(description="those of the operator's UNICORN_WATCH_NAMESPACES; empty: all. Nodes of others are not offered")
    ] = ()
    authentication: Annotated[
        Names, Field(description="methods, in the order in which they are asked; comma-separated", min_length=1)
    ] = ("database", "kubernetes")
    token_lifetime: Annotated[Duration, Field(description="of a user's token")] = timedelta(hours=24)
    user_requests_per_second: Annotated[float, Field(gt=0, description="of one user, on average")] = 500.0
    user_request_burst: Annotated[float, Field(ge=1, description="of one user, at once")] = 2000.0
    user_requests_in_flight: Annotated[int, Field(ge=1, description="of one user, worked on at once; more get 429")] = 100
    user_requests_waiting: Annotated[int, Field(ge=1, description="long polls and streams of one user at once; more get 429")] = (
        50
    )
    trusted_proxies: Annotated[
        Names, Field(description="addresses or networks (10.0.0.0/8) whose X-Forwarded-For is believed; comma-separated")
    ] = ()
    mediator_body_limit: Annotated[int, Field(ge=1024 * 1024, description="bytes of an experiment of netunicorn's client")] = (
        64 * 1024 * 1024
    )
    mediator_base_image: Annotated[
        str, Field(description="what images of netunicorn's client are built on; {version}: its Python (3.11)", min_length=1)
    ] = "python:{version}-slim"
    login_failures_per_minute: Annotated[
        float, Field(gt=0, description="for one name, on average; from one address five times more")
    ] = 6.0
    login_failure_burst: Annotated[float, Field(ge=1, description="for one name, at once; from one address five times more")] = (
        10.0
    )
    login_body_timeout: Annotated[Duration, Field(description="for a login's form to arrive")] = timedelta(seconds=5)
    logins_arriving: Annotated[int, Field(ge=1, description="forms from one address that are still arriving; more get 429")] = 64
    login_refusal_time: Annotated[Duration, Field(description="after which a login is refused, whatever is wrong")] = timedelta(
        seconds=1
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            ip_network(one, strict=False)
        return value

    @field_validator("user_listen")
    @classmethod
    def _check_listen(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("user_signing_key_file")
    @classmethod
    def _is_there(cls, value: Path | None) -> Path | None:
        return existing(value)

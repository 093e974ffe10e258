"""The agent's environment (docs/executor-protocol.md, "The agent's environment")."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    import ssl


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and says what to do. Never holds the token."""


class Settings:
    """`gateway`: base URL without a trailing slash. No value of it is ever printed: there is no repr."""

    def __init__(
        self,
        gateway: str,
        token: str,
        tls: Optional[ssl.SSLContext] = None,  # for an https gateway
        ca_file: str = "",  # that it trusts beside, or in place of, the system's
        spool: Path = Path(".unicorn"),
        workdir: Path = Path(),
    ) -> None:
        self.gateway, self.token, self.tls, self.ca_file = gateway, token, tls, ca_file
        self.spool, self.workdir = spool, workdir


def read(environment: Mapping[str, str]) -> Settings:
    """Raises SettingsError."""
    gateway = environment.get("UNICORN_GATEWAY", "").rstrip("/")
    if urllib.parse.urlsplit(gateway).scheme not in ("http", "https"):
        raise SettingsError(f"UNICORN_GATEWAY is {gateway!r}: set it to the gateway's URL, http:// or https://")
    return Settings(
        gateway=gateway,
        token=_token(environment),
        tls=_tls(environment.get("UNICORN_CA_FILE") or None) if gateway.startswith("https:") else None,
        ca_file=environment.get("UNICORN_CA_FILE", ""),
        spool=Path(environment.get("UNICORN_SPOOL") or ".unicorn").absolute(),
        workdir=Path(environment.get("UNICORN_WORKDIR") or ".").absolute(),
    )


def forget(environment: MutableMapping[str, str]) -> None:
    """Removes our own settings, the token among them, from what tasks inherit."""
    for name in [name for name in environment if name.startswith("UNICORN_")]:
        del environment[name]


def _tls(ca_file: Optional[str]) -> ssl.SSLContext:
    import ssl  # here: OpenSSL is a tenth of the agent's start, and a gateway inside of a cluster has no use for it

    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # SSLError is one
        raise SettingsError(f"UNICORN_CA_FILE cannot be used: {error.strerror or error}: it must name a PEM bundle") from None


def _token(environment: Mapping[str, str]) -> str:
    file = environment.get("UNICORN_TOKEN_FILE")
    if file:
        try:
            token = Path(file).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise SettingsError(f"UNICORN_TOKEN_FILE cannot be read: {os.strerror(getattr(error, 'errno', 0) or 22)}") from None
    else:
        token = environment.get("UNICORN_TOKEN", "").strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError("there is no usable token: set UNICORN_TOKEN_FILE (or UNICORN_TOKEN) to the executor's token")
    return token

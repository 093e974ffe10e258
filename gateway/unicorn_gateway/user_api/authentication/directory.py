"""What is asked of an LDAP directory. Blocking: to be called in a thread. Only errors of ours leave it."""

import math
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from unicorn_core.errors import Broken

from unicorn_gateway.settings import Duration, existing

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # ldap3 still uses pyasn1's old names
    import ldap3
    from ldap3.core.exceptions import LDAPException, LDAPSASLPrepError
    from ldap3.utils.conv import escape_filter_chars

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_WRONG_PASSWORD = 49  # invalidCredentials
_REFUSALS = {_WRONG_PASSWORD, 50, 53}  # also: locked, or not allowed to log in


class LdapSettings(BaseSettings):
    """Of the method `ldap`. In a filter {name} is the login, {dn} the user's entry, both escaped."""

    model_config = SettingsConfigDict(env_prefix="UNICORN_LDAP_", extra="ignore", frozen=True)

    url: Annotated[str, Field(description="ldaps://HOST or ldap://HOST")]
    start_tls: Annotated[bool, Field(description="encrypt ldap:// before anything is said")] = False
    plaintext: Annotated[bool, Field(description="allow passwords to travel unencrypted to another machine")] = False
    ca_file: Annotated[Path | None, Field(description="PEM certificates to trust; empty: the system's")] = None
    bind_dn: Annotated[str, Field(description="who searches; empty: anonymous")] = ""
    bind_password_file: Annotated[Path | None, Field(description="the searcher's password; re-read at each use")] = None
    user_base: Annotated[str, Field(description="where users are searched")]
    user_filter: Annotated[str, Field(description="which of them a login means")] = "(uid={name})"
    user_attribute: Annotated[str, Field(description="the name under which a user is known here")] = "uid"
    password_changed_attribute: Annotated[
        str, Field(description="when the password was changed; older tokens end; empty: the directory does not say")
    ] = "pwdChangedTime"  # noqa: S105 the name of an attribute
    group_base: Annotated[str, Field(description="where groups are searched; empty: nobody is in a group")] = ""
    group_filter: Annotated[str, Field(description="which of them a user is in")] = "(member={dn})"
    group_attribute: Annotated[str, Field(description="a group's name")] = "cn"
    tag_prefix: Annotated[str, Field(description="a group unicorn-tag-x gives the access tag x")] = "unicorn-tag-"
    sudo_group: Annotated[str, Field(description="its members may pass additionalArguments")] = "unicorn-sudo"
    namespace: Annotated[str, Field(description="home of a user at the first login; {name}: made a DNS label")] = "unicorn-{name}"
    recheck_interval: Annotated[Duration, Field(description="after which a user with a token is looked at again")] = timedelta(
        minutes=1
    )
    timeout: Annotated[Duration, Field(description="of a question to the directory")] = timedelta(seconds=5)

    @field_validator("ca_file", "bind_password_file")
    @classmethod
    def _is_there(cls, value: Path | None) -> Path | None:
        return existing(value)

    @field_validator("user_filter", "group_filter")
    @classmethod
    def _check_filter(cls, value: str) -> str:
        try:
            value.format(name="x", dn="x")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError("{name} and {dn} are all that may stand in braces") from error
        return value

    @model_validator(mode="after")
    def _check(self) -> "LdapSettings":
        parts = urlsplit(self.url)
        if parts.scheme not in ("ldap", "ldaps") or not parts.hostname:
            raise ValueError("UNICORN_LDAP_URL is not ldaps://HOST or ldap://HOST")
        encrypted = parts.scheme == "ldaps" or self.start_tls
        if not (encrypted or self.plaintext or parts.hostname in _LOOPBACK):
            raise ValueError("passwords would travel unencrypted: ldaps://, or UNICORN_LDAP_START_TLS, or UNICORN_LDAP_PLAINTEXT")
        if bool(self.bind_dn) != (self.bind_password_file is not None):
            raise ValueError("UNICORN_LDAP_BIND_DN and UNICORN_LDAP_BIND_PASSWORD_FILE belong together")
        return self


@dataclass(frozen=True, slots=True)
class Entry:
    """A user as the directory has them."""

    dn: str
    name: str
    password_changed: datetime | None
    groups: tuple[str, ...]


class _Tls(ldap3.Tls):  # type: ignore[misc]  # it has no types
    """Certificate and host name are checked by the standard library; ldap3's own check of the name is deprecated there."""

    def __init__(self, ca_file: Path | None) -> None:
        super().__init__(validate=ssl.CERT_REQUIRED)
        self._context = ssl.create_default_context(cafile=ca_file)

    def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
        host = connection.server.host
        wrapped = self._context.wrap_socket(connection.socket, do_handshake_on_connect=do_handshake, server_hostname=host)
        connection.socket = wrapped


@dataclass(frozen=True)
class Directory:
    settings: LdapSettings
    server: Any = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        tls = _Tls(settings.ca_file)
        server = ldap3.Server(
            settings.url,
            tls=tls,
            connect_timeout=settings.timeout.total_seconds(),
            get_info=ldap3.NONE,
            allowed_referral_hosts=[],
        )
        object.__setattr__(self, "server", server)

    def check(self, name: str, password: str) -> Entry | None:
        """The user, if that is the password. For nobody, a password is tried too: it takes as long. Raises Broken."""
        with self._searching() as searcher:
            entry = self._find(searcher, name)
            dn = entry.dn if entry else f"{self.settings.user_attribute}=nobody,{self.settings.user_base}"
            right = bool(password) and self._binds(dn, password)  # without a password a bind is anonymous, and succeeds
            return entry if right else None

    def find(self, name: str) -> Entry | None:
        """Who is known here under this name, which need not be what they log in with; None when the filter does not take them any
        more, whatever their login. Raises Broken."""
        settings = self.settings
        known = f"({settings.user_attribute}={escape_filter_chars(name)})"
        with self._searching() as searcher:
            return self._one(searcher, f"(&{known}{settings.user_filter.format(name='*', dn='')})")

    def _find(self, searcher: Any, name: str) -> Entry | None:
        return self._one(searcher, self.settings.user_filter.format(name=escape_filter_chars(name), dn=""))

    def _one(self, searcher: Any, query: str) -> Entry | None:
        """None: nobody, or several."""
        settings = self.settings
        changed = [settings.password_changed_attribute] if settings.password_changed_attribute else []
        found = self._search(searcher, settings.user_base, query, [settings.user_attribute, *changed])
        if len(found) != 1:
            return None
        names = found[0]["attributes"].get(settings.user_attribute) or []
        if not names:
            return None
        moments = found[0]["attributes"].get(settings.password_changed_attribute) or []
        groups = self._groups(searcher, found[0]["dn"])
        return Entry(found[0]["dn"], _text(names), _moment(moments), groups)

    def _groups(self, searcher: Any, dn: str) -> tuple[str, ...]:
        settings = self.settings
        if not settings.group_base:
            return ()
        query = settings.group_filter.format(dn=escape_filter_chars(dn), name="")
        found = self._search(searcher, settings.group_base, query, [settings.group_attribute])
        return tuple(sorted(_text(one["attributes"].get(settings.group_attribute) or [""]) for one in found))

    def _search(self, searcher: Any, base: str, query: str, attributes: list[str]) -> list[Any]:
        searcher.search(base, query, attributes=attributes)
        if searcher.result["result"] != 0:
            raise Broken(f"the directory refuses to search {base}: {searcher.result['description']}")
        return [one for one in searcher.response or () if one["type"] == "searchResEntry"]

    def _binds(self, dn: str, password: str) -> bool:
        with self._connected(dn, password) as connection:
            try:
                right: bool = connection.bind()
            except LDAPSASLPrepError:  # characters that no password may have
                return False
            code = connection.result["result"]
            if not right and code not in _REFUSALS:
                raise Broken(f"the directory cannot check a password: {connection.result['description']}")
            return right

    @contextmanager
    def _searching(self) -> Iterator[Any]:
        settings = self.settings
        password = None
        if settings.bind_password_file is not None:
            try:
                password = SecretStr(settings.bind_password_file.read_text().strip())
            except OSError as error:
                raise Broken(f"UNICORN_LDAP_BIND_PASSWORD_FILE cannot be read: {error.strerror}") from error
        with self._connected(settings.bind_dn or None, password.get_secret_value() if password else None) as searcher:
            if not searcher.bind():
                raise Broken(f"the directory does not let {settings.bind_dn or 'anonymous'} in: {searcher.result['description']}")
            yield searcher

    @contextmanager
    def _connected(self, user: str | None, password: str | None) -> Iterator[Any]:
        connection = None
        try:
            connection = ldap3.Connection(
                self.server,
                user,
                password,
                read_only=True,
                auto_referrals=False,
                receive_timeout=max(1, math.ceil(self.settings.timeout.total_seconds())),  # ldap3 takes whole seconds
            )
            connection.open()
            if self.settings.start_tls and not connection.start_tls():
                raise Broken(f"the directory does not start TLS: {connection.result['description']}")
            yield connection
        except (LDAPException, OSError) as error:
            raise Broken(f"the directory at {self.settings.url} cannot be asked: {type(error).__name__}: {error}") from error
        finally:
            if connection is not None:
                with suppress(LDAPException, OSError):
                    connection.unbind()
                if connection.socket is not None:
                    connection.socket.close()  # ldap3 leaves it open when TLS fails


def _text(value: Any) -> str:
    first = value[0] if isinstance(value, list) else value
    return first.decode(errors="replace") if isinstance(first, bytes) else str(first)


def _moment(value: Any) -> datetime | None:
    """GeneralizedTime, always in UTC: 20261122181500Z."""
    text = _text(value) if value else ""
    try:
        return datetime.strptime(text.partition(".")[0].rstrip("Z") + "+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None

"""Who makes a request: by a token of ours, or by one that another method knows; and who logs in, by name and password."""

import asyncio
import importlib
import math
import pkgutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from types import ModuleType
from weakref import WeakValueDictionary

import structlog
from aiohttp import web
from unicorn_core.errors import Broken, Problem, Refused
from unicorn_core.tokens import TokenRefused
from unicorn_store import Store, users
from unicorn_store.users import Account

from unicorn_gateway.problems import ProblemError, unavailable
from unicorn_gateway.user_api.authentication import methods as folder
from unicorn_gateway.user_api.authentication.addresses import address_behind
from unicorn_gateway.user_api.authentication.attempts import Attempts
from unicorn_gateway.user_api.authentication.method import Method, Parts, caller_of
from unicorn_gateway.user_api.authentication.tokens import UserTokens
from unicorn_gateway.user_api.callers import Caller
from unicorn_gateway.user_api.settings import UserSettings

_AT_ONCE = 256  # logins worked on, most of them waiting for their turn; more get 503
_OF_PEER = 8  # of these from one address
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who it is. `denied`: somebody has looked at the password, and did not take it. `trouble`: somebody could not be asked."""

    account: Account | None
    denied: bool = False
    trouble: ProblemError | None = None


@dataclass(eq=False)
class Authentication:
    methods: dict[str, Method]  # in the order in which they are asked
    tokens: UserTokens
    store: Store
    settings: UserSettings
    _working: int = 0
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)
    _places: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)

    @staticmethod
    def load(parts: Parts, tokens: UserTokens, settings: UserSettings) -> "Authentication":
        """Raises Refused: an unknown method, or wrong settings of one."""
        found = {name: _module(name).make(parts) for name in settings.authentication}
        return Authentication(found, tokens, parts.store, settings)

    def __post_init__(self) -> None:
        rate, burst = self.settings.login_failures_per_minute / 60, self.settings.login_failure_burst
        self._names = Attempts(rate, burst)
        self._peers = Attempts(rate * 5, burst * 5)
        self._strangers = Attempts(rate * 5, burst * 5)  # those with tokens that nobody knows, by address
        self._proxies = [ip_network(one, strict=False) for one in self.settings.trusted_proxies]

    async def close(self) -> None:
        for method in self.methods.values():
            await method.close()

    def address_of(self, request: web.Request) -> str:
        """Whose failures are counted together."""
        return address_behind(request.remote or "", request.headers.getall("X-Forwarded-For", ()), self._proxies)

    async def caller(self, request: web.Request) -> Caller:
        """Raises ProblemError 401, 429; Broken."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("a bearer token is needed")
        try:
            claims = self.tokens.verify(token, datetime.now(UTC))
        except TokenRefused as error:
            raise unauthenticated(str(error)) from error
        if claims is None:
            return await self._foreign(token, self.address_of(request))
        account = await users.by_id(self.store, claims.account)
        if account is not None:
            method = self.methods.get(account.method)
            account = await method.still(account) if method is not None else None
        if account is None or account.generation != claims.generation:
            raise unauthenticated("the token has been revoked: log in again")
        return caller_of(account)

    async def login(self, name: str, password: str, peer: str) -> str:
        """A new token. Raises ProblemError 401 (always after the same time), 429, 503; Broken."""
        began = time.monotonic()
        if self._working >= _AT_ONCE:
            raise unavailable("too many logins at once")
        self._working += 1
        try:
            # Those of one name one after another, those from one address a few at a time: so that failures are counted in time.
            places = self._places.setdefault(peer, asyncio.Semaphore(_OF_PEER))
            async with places, self._locks.setdefault(name, asyncio.Lock()):
                self._check_failures(name, peer)
                asked = await self._by_password(name, password)
                if asked.denied:
                    self._names.fail(name, time.monotonic())
                    self._peers.fail(peer, time.monotonic())
        finally:
            self._working -= 1
        if asked.account is None:
            if asked.trouble is not None:
                raise asked.trouble
            await asyncio.sleep(max(0.0, began + self.settings.login_refusal_time.total_seconds() - time.monotonic()))
            raise unauthenticated("Incorrect username or password")
        return self.tokens.issue(asked.account.id, asked.account.generation, datetime.now(UTC), self.settings.token_lifetime)

    def _check_failures(self, name: str, peer: str) -> None:
        now = time.monotonic()
        if delay := max(self._names.delay(name, now), self._peers.delay(peer, now)):
            headers = {"Retry-After": str(math.ceil(delay))}
            raise ProblemError(429, "TooManyRequests", "too many failed logins; try again later", headers=headers)

    async def _by_password(self, name: str, password: str) -> "_Asked":
        """A method that is away does not keep the others from answering; if none knows them, it is said."""
        denied, trouble = False, None
        for which, method in self.methods.items():
            try:
                account = await method.by_password(name, password)
            except Broken as error:
                _log.warning("a method of authentication is away", method=which, error=str(error))
                trouble = unavailable("who you are cannot be asked everywhere now", 2)
                continue
            if account is not None:
                return _Asked(account)
            denied = denied or method.takes_passwords
        return _Asked(None, denied, trouble)

    async def _foreign(self, token: str, peer: str) -> Caller:
        """A token that is not ours. Those that nobody knows are limited: each costs somebody a question. Who was known is asked
        about however often others have failed from the same address."""
        known = any(method.remembers(token) for method in self.methods.values())
        if not known and (delay := self._strangers.delay(peer, time.monotonic())):
            headers = {"Retry-After": str(math.ceil(delay))}
            raise ProblemError(429, "TooManyRequests", "too many wrong tokens; try again later", headers=headers)
        for method in self.methods.values():
            caller = await method.by_token(token)
            if caller is not None:
                return caller
        self._strangers.fail(peer, time.monotonic())
        raise unauthenticated("the token is not known here")


def unauthenticated(detail: str) -> ProblemError:
    return ProblemError(401, "Unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def _module(name: str) -> ModuleType:
    known = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    if name not in known:
        raise Refused(Problem("UNICORN_AUTHENTICATION", "there is no such method", f"some of {', '.join(known)}", name))
    return importlib.import_module(f"{folder.__name__}.{name}")

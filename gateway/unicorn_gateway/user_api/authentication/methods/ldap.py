"""Users of an LDAP directory. At the first login one gets an account here, whose groups, tags and sudo the directory says."""

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

import structlog
from unicorn_core.errors import Broken
from unicorn_core.naming import is_dns_label
from unicorn_store import Store, users
from unicorn_store.users import Account, NewAccount

from unicorn_gateway import settings
from unicorn_gateway.user_api.authentication.directory import Directory, Entry, LdapSettings
from unicorn_gateway.user_api.authentication.method import USER_PREFIX, Method, Parts

LDAP = "ldap"
_REMEMBERED = 20_000
_LONGEST_NAME = 128
_log = structlog.get_logger(__name__)


def make(parts: Parts) -> Method:
    return Ldap(parts.store, settings.load(LdapSettings))


@dataclass(eq=False)
class Ldap(Method):
    store: Store
    settings: LdapSettings
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8, thread_name_prefix="ldap"))
    _looked: OrderedDict[UUID, float] = field(default_factory=OrderedDict)  # when somebody was last looked at; monotonic

    def __post_init__(self) -> None:
        self._directory = Directory(self.settings)

    async def by_password(self, name: str, password: str) -> Account | None:
        loop = asyncio.get_running_loop()
        entry = await loop.run_in_executor(self._threads, self._directory.check, name, password)
        return None if entry is None else await self._meet(entry)

    async def still(self, account: Account) -> Account | None:
        """Looked at now and then. While the directory is away, everybody stays who they were."""
        now = time.monotonic()
        if now - self._looked.get(account.id, -1e9) < self.settings.recheck_interval.total_seconds():
            return account
        self._mark(account.id, now)  # first, so that many requests at once are one question
        try:
            entry = await asyncio.get_running_loop().run_in_executor(self._threads, self._directory.find, account.name)
        except Broken as error:
            _log.warning("a user cannot be looked at again", method=LDAP, error=str(error))
            return account
        if entry is None:
            self._looked.pop(account.id, None)
            return None
        return await self._meet(entry)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _meet(self, entry: Entry) -> Account | None:
        """None also for somebody whose name is that of an account of another method: that is another person."""
        if not _is_name(entry.name):
            return None
        prefix = self.settings.tag_prefix
        new = NewAccount(
            name=entry.name,
            kubernetes_user=USER_PREFIX + entry.name,
            namespace=home_of(self.settings.namespace, entry.name),
            groups=entry.groups,
            access_tags=sorted(group.removeprefix(prefix) for group in entry.groups if prefix and group.startswith(prefix)),
            sudo=self.settings.sudo_group in entry.groups,
        )
        account = await users.meet(self.store, new, LDAP, entry.password_changed)
        if account is not None:
            self._mark(account.id, time.monotonic())
        return account

    def _mark(self, id: UUID, now: float) -> None:
        self._looked[id] = now
        self._looked.move_to_end(id)
        if len(self._looked) > _REMEMBERED:
            self._looked.popitem(last=False)


def home_of(pattern: str, name: str) -> str:
    """A namespace's name. Two users never share one by the accident that only their odd characters differ."""
    home = pattern.replace("{name}", name)
    if is_dns_label(home):
        return home
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9]+", "-", pattern.replace("{name}", name).lower()).strip("-")
    return f"{plain[:54].rstrip('-')}-{digest}" if plain else f"unicorn-{digest}"


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()

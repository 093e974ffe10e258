"""What a way to find out who somebody is looks like. A new one is a new module in methods/, named in UNICORN_AUTHENTICATION.

Such a module has a function `make(parts: Parts) -> Method`, which raises Refused for wrong settings of its own (environment
variables UNICORN_<METHOD>_…) and connects to nothing yet.
"""

from dataclasses import dataclass

from unicorn_kube import KubeClient
from unicorn_store import Store
from unicorn_store.users import Account

from unicorn_gateway.user_api.callers import Caller

USER_PREFIX = "netunicorn:"  # of the Kubernetes users and groups of those who log in here; RBAC knows them by it


@dataclass(frozen=True, slots=True)
class Parts:
    """What a method may use."""

    store: Store
    kube: KubeClient


class Method:
    """Overrides what it can. None means: nobody that I know; the next one is asked. Raises Broken where it cannot tell."""

    async def by_password(self, name: str, password: str) -> Account | None:
        """The account of this name, if that is its password. Takes as long for unknown names as for wrong passwords."""
        return None

    @property
    def takes_passwords(self) -> bool:
        return type(self).by_password is not Method.by_password

    async def by_token(self, token: str) -> Caller | None:
        """Who bears a token that is not one of ours."""
        return None

    def remembers(self, token: str) -> bool:
        """Whether such a token was somebody's a short while ago: it is no guess. Costs no question."""
        return False

    async def still(self, account: Account) -> Account | None:
        """Of an account of this method, at each request with a token of ours: as it is now; None when it has ended."""
        return account

    async def close(self) -> None:
        """At the end of the process."""


def caller_of(account: Account) -> Caller:
    """Groups get the prefix too: no directory can put anybody into a group such as system:masters."""
    groups = (f"{USER_PREFIX}users", *(f"{USER_PREFIX}{group}" for group in account.groups))
    return Caller(
        name=account.name,
        kubernetes_user=account.kubernetes_user,
        groups=groups,
        namespace=account.namespace,
        tags=frozenset(account.access_tags),
        sudo=account.sudo,
    )

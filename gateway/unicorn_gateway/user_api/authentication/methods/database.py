"""Users whose passwords are in PostgreSQL, as bcrypt hashes; `unicorn-gateway users` makes them."""

from dataclasses import dataclass, field

from unicorn_store import Store, users
from unicorn_store.users import DATABASE, Account

from unicorn_gateway.user_api.authentication.method import Method, Parts
from unicorn_gateway.user_api.authentication.passwords import Passwords


def make(parts: Parts) -> Method:
    return Database(parts.store)


@dataclass(eq=False)
class Database(Method):
    store: Store
    passwords: Passwords = field(default_factory=Passwords)

    async def by_password(self, name: str, password: str) -> Account | None:
        account = await users.by_name(self.store, name)
        mine = account if account is not None and account.method == DATABASE else None
        return mine if await self.passwords.fits(password, mine.password_hash if mine else None) else None

    async def close(self) -> None:
        self.passwords.close()

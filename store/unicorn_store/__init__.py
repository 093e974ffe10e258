"""PostgreSQL: named SQL, migrations, notifications, retention. The only place with SQL. Decides nothing about experiments."""

from unicorn_store.listening import listen
from unicorn_store.logins import make_login
from unicorn_store.migrating import migrate
from unicorn_store.pool import Connection, Store, connect

__all__ = ["Connection", "Store", "connect", "listen", "make_login", "migrate"]

"""Accounts of the user API. A password is known here by its bcrypt hash only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from unicorn_store.pool import Store, statements

DATABASE = "database"  # the method of accounts whose password is here


@dataclass(frozen=True, slots=True)
class Account:
    """`generation`: stands in its tokens; a lower one is revoked. `method`: who knows the password."""

    id: UUID
    name: str
    method: str
    password_hash: str | None
    kubernetes_user: str
    namespace: str
    groups: tuple[str, ...]
    access_tags: tuple[str, ...]
    sudo: bool
    generation: int
    created: datetime
    password_changed: datetime


@dataclass(frozen=True, slots=True)
class NewAccount:
    name: str
    kubernetes_user: str
    namespace: str
    groups: Sequence[str] = ()
    access_tags: Sequence[str] = ()
    sudo: bool = False


async def add(store: Store, new: NewAccount, password_hash: str) -> Account | None:
    """None: the name, or the Kubernetes user, is taken. Each function here raises StoreUnavailable."""
    return await _one(store, "users_add", **_columns(new), method=DATABASE, password_hash=password_hash)


async def meet(store: Store, new: NewAccount, method: str, password_changed: datetime | None = None) -> Account | None:
    """The account of somebody whom another method has found, made at the first meeting, with groups, tags and sudo as they
    are now. A password that was changed since the last meeting revokes the tokens.

    None: the name, or the Kubernetes user, is that of an account of another method.
    """
    return await _one(store, "users_meet", **_columns(new), method=method, password_changed=password_changed)


async def by_name(store: Store, name: str) -> Account | None:
    return await _one(store, "users_by_name", name=name)


async def by_id(store: Store, id: UUID) -> Account | None:
    return await _one(store, "users_by_id", id=id)


async def every(store: Store) -> list[Account]:
    """By name."""
    async with store.connection() as connection:
        return [_account(row) async for row in statements().users_list(connection)]


async def set_password(store: Store, name: str, password_hash: str) -> Account | None:
    """Revokes all tokens. None: there is no such account with a password here."""
    return await _one(store, "users_set_password", name=name, password_hash=password_hash)


async def revoke(store: Store, name: str) -> Account | None:
    """Its tokens end; None: there is no such account."""
    return await _one(store, "users_revoke", name=name)


async def change(
    store: Store,
    name: str,
    *,
    namespace: str | None = None,
    groups: Sequence[str] | None = None,
    access_tags: Sequence[str] | None = None,
    sudo: bool | None = None,
) -> Account | None:
    """None leaves a field as it is; answers None where there is no such account."""
    tags = None if access_tags is None else list(access_tags)
    listed = None if groups is None else list(groups)
    return await _one(store, "users_change", name=name, namespace=namespace, groups=listed, access_tags=tags, sudo=sudo)


async def remove(store: Store, name: str) -> Account | None:
    return await _one(store, "users_remove", name=name)


async def _one(store: Store, statement: str, **values: Any) -> Account | None:
    async with store.connection() as connection:
        row = await getattr(statements(), statement)(connection, **values)
    return None if row is None else _account(row)


def _columns(new: NewAccount) -> dict[str, Any]:
    return {
        "name": new.name,
        "kubernetes_user": new.kubernetes_user,
        "namespace": new.namespace,
        "groups": list(new.groups),
        "access_tags": list(new.access_tags),
        "sudo": new.sudo,
    }


def _account(row: Mapping[str, Any]) -> Account:
    return Account(
        id=row["id"],
        name=row["name"],
        method=row["method"],
        password_hash=row["password_hash"],
        kubernetes_user=row["kubernetes_user"],
        namespace=row["namespace"],
        groups=tuple(row["groups"]),
        access_tags=tuple(row["access_tags"]),
        sudo=row["sudo"],
        generation=row["generation"],
        created=row["created_at"],
        password_changed=row["password_changed_at"],
    )

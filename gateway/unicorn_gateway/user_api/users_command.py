"""`unicorn-gateway users …`: the accounts whose passwords are in PostgreSQL. A password comes from a prompt or from stdin."""

import argparse
import asyncio
import getpass
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Sequence

from unicorn_core.access import check_tag
from unicorn_core.errors import Problem, Refused
from unicorn_core.naming import is_dns_label
from unicorn_store import Store, connect, users
from unicorn_store import dsn as dsns
from unicorn_store.users import Account, NewAccount

from unicorn_gateway.user_api.authentication import passwords
from unicorn_gateway.user_api.authentication.method import USER_PREFIX

_LONGEST = 128


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The verbs, below `users`. Each sets `run`."""
    help = "accounts whose passwords are in the database of UNICORN_DATABASE_URL"
    parser = commands.add_parser("users", help=help, description=help)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    add = _verb(verbs, "add", _add, "make an account; the password is asked for, or read from standard input")
    add.add_argument("--namespace", required=True, help="home: where the mediator puts its experiments")
    _properties(add)
    add.add_argument("--hash", action="store_true", help="a bcrypt hash is read, such as netunicorn keeps, not a password")
    change = _verb(verbs, "change", _change, "change what is named; a list replaces the one before")
    change.add_argument("--namespace")
    _properties(change)
    change.add_argument("--no-sudo", dest="sudo", action="store_false", default=None)
    password = _verb(verbs, "password", _password, "set another password: all tokens of the account end")
    password.add_argument("--hash", action="store_true", help="a bcrypt hash, not a password")
    _verb(verbs, "revoke", _revoke, "end all tokens of the account")
    _verb(verbs, "remove", _remove, "delete the account; its experiments stay")
    listing = verbs.add_parser("list", help="all accounts, those too that other methods have met")
    listing.set_defaults(run=_list)


def run(options: argparse.Namespace) -> int:
    """Raises Refused, StoreUnavailable, Broken."""
    return asyncio.run(_run(options))


async def _run(options: argparse.Namespace) -> int:
    store = await connect(os.environ.get(dsns.VARIABLE), application_name="unicorn-users", max_size=1)
    try:
        verb: Callable[[Store, argparse.Namespace], Awaitable[None]] = options.run
        await verb(store, options)
    finally:
        await store.close()
    return 0


async def _add(store: Store, options: argparse.Namespace) -> None:
    groups, tags = options.group or [], options.access_tag or []
    _refuse([*_check_name(options.name), *_check(options.namespace, groups, tags)])
    new = NewAccount(
        name=options.name,
        kubernetes_user=USER_PREFIX + options.name,
        namespace=options.namespace,
        groups=groups,
        access_tags=tags,
        sudo=bool(options.sudo),
    )
    if await users.by_name(store, new.name) is not None:  # before a password is asked for
        raise _taken(new.name)
    if await users.add(store, new, _read_hash(options)) is None:
        raise _taken(new.name)
    role = ["create", "rolebinding", _binding(new.name), "--clusterrole=unicorn-user", f"--user={new.kubernetes_user}"]
    _say(f"added {new.name}, who is the user {new.kubernetes_user} to Kubernetes. To let them run experiments:")
    _say(shlex.join(["kubectl", "-n", new.namespace, *role]))


async def _change(store: Store, options: argparse.Namespace) -> None:
    _refuse(_check(options.namespace, options.group or (), options.access_tag or ()))
    changed = await users.change(
        store,
        options.name,
        namespace=options.namespace,
        groups=_without_empty(options.group),
        access_tags=_without_empty(options.access_tag),
        sudo=options.sudo,
    )
    _say(_line(_there(changed, options.name)))


async def _password(store: Store, options: argparse.Namespace) -> None:
    account = _there(await users.by_name(store, options.name), options.name)
    if account.method != users.DATABASE:
        raise Refused(Problem("NAME", f"the password of {account.name} is known by {account.method} only", "change it there"))
    _there(await users.set_password(store, options.name, _read_hash(options)), options.name)
    _say(f"{options.name} has a new password; the tokens until now are revoked")


async def _revoke(store: Store, options: argparse.Namespace) -> None:
    _there(await users.revoke(store, options.name), options.name)
    _say(f"the tokens of {options.name} are revoked")


async def _remove(store: Store, options: argparse.Namespace) -> None:
    _there(await users.remove(store, options.name), options.name)
    _say(f"removed {options.name}")


async def _list(store: Store, options: argparse.Namespace) -> None:
    for account in await users.every(store):
        _say(_line(account))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _line(account: Account) -> str:
    more = [f"namespace={account.namespace}", f"method={account.method}"]
    more += [f"groups={','.join(account.groups)}"] if account.groups else []
    more += [f"accessTags={','.join(account.access_tags)}"] if account.access_tags else []
    more += ["sudo"] if account.sudo else []
    return "  ".join([f"{account.name:24}", *more, f"since {account.created:%Y-%m-%d}"])


def _read_hash(options: argparse.Namespace) -> str:
    """Never from the command line: others on this machine see that."""
    what = "bcrypt hash" if options.hash else "password"
    if sys.stdin.isatty():
        given = getpass.getpass(f"New {what}: ")
        if not options.hash and getpass.getpass("Again: ") != given:
            raise Refused(Problem("password", "is not the same both times", "write it again"))
    else:
        given = sys.stdin.readline().rstrip("\r\n")
    return passwords.check_hash(given.strip()) if options.hash else passwords.hash_new(given)


def _check_name(name: str) -> list[Problem]:
    if 0 < len(name) <= _LONGEST and name.isprintable() and name == name.strip():
        return []
    return [Problem("NAME", "is no user name", f"at most {_LONGEST} printable characters, no space at either end", name)]


def _check(namespace: str | None, groups: Sequence[str], tags: Sequence[str]) -> list[Problem]:
    problems = []
    if namespace is not None and not is_dns_label(namespace):
        problems.append(Problem("--namespace", "is no name of a namespace", "lower-case letters, digits and hyphens", namespace))
    problems += [
        Problem("--group", "is no group", "printable characters, no space at either end", group)
        for group in groups
        if not group.isprintable() or group != group.strip()
    ]
    return problems + [problem for tag in tags if tag for problem in check_tag(tag, "--access-tag")]


def _refuse(problems: list[Problem]) -> None:
    if problems:
        raise Refused(problems)


def _there(account: Account | None, name: str) -> Account:
    if account is None:
        raise Refused(Problem("NAME", "there is no such account", "`unicorn-gateway users list` shows all", name))
    return account


def _taken(name: str) -> Refused:
    return Refused(Problem("NAME", "this name is taken", "another one, or: users change, users password", name))


def _without_empty(listed: list[str] | None) -> list[str] | None:
    """`--group ''` empties the list."""
    return None if listed is None else [one for one in listed if one]


def _binding(name: str) -> str:
    return name if is_dns_label(name) else "unicorn-user"


def _properties(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--group", action="append", help=f"in Kubernetes {USER_PREFIX}GROUP; may be repeated")
    parser.add_argument("--access-tag", action="append", help="sees nodes with it, or with none; may be repeated")
    parser.add_argument("--sudo", action="store_true", default=None, help="may pass additionalArguments to container engines")


def _verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[Store, argparse.Namespace], Awaitable[None]],
    text: str,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text)
    parser.add_argument("name", metavar="NAME")
    parser.set_defaults(run=run)
    return parser

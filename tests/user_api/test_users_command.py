"""`unicorn-gateway users`: accounts without SQL, passwords never on a command line."""

import asyncio
import os
import sys

import pytest
from unicorn_store import users
from user_parts import PASSWORD, quick_hash

pytestmark = pytest.mark.database


@pytest.fixture
def run(migrated):
    """With these words and this on standard input: exit code, and all it says."""

    async def run(*words, given=PASSWORD + "\n"):
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "unicorn_gateway", "users", *words),
            env={"PATH": os.environ["PATH"], "UNICORN_DATABASE_URL": migrated + "?role=unicorn_user_gateway"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await running.communicate(given.encode())
        assert PASSWORD.encode() not in said
        return running.returncode, said.decode()

    return run


async def test_an_account_from_its_beginning_to_its_end(run, api, store):
    code, said = await run("add", "ann", "--namespace", "lab", "--group", "students", "--access-tag", "red", "--sudo")
    assert code == 0, said
    assert said.endswith("kubectl -n lab create rolebinding ann --clusterrole=unicorn-user --user=netunicorn:ann\n")
    account = await users.by_name(store, "ann")
    assert (account.kubernetes_user, account.namespace, account.groups) == ("netunicorn:ann", "lab", ("students",))
    assert (account.access_tags, account.sudo) == (("red",), True)
    user = await api.logged_in("ann")
    assert await run("password", "ann", given="another long one\n") == (
        0,
        "ann has a new password; the tokens until now are revoked\n",
    )
    assert (await user.call("GET", "/api/v1/verify_token")).status == 401
    user = await api.logged_in("ann", "another long one")
    assert (await run("revoke", "ann"))[0] == 0
    assert (await user.call("GET", "/api/v1/verify_token")).status == 401
    code, said = await run("change", "ann", "--no-sudo", "--access-tag", "", "--namespace", "lab-2")
    assert code == 0, said
    account = await users.by_name(store, "ann")
    assert (account.access_tags, account.sudo, account.groups, account.namespace) == ((), False, ("students",), "lab-2")
    assert "ann" in (await run("list"))[1]
    assert (await run("remove", "ann"))[0] == 0
    assert await run("list") == (0, "")


async def test_a_hash_of_netunicorns_is_taken_as_it_is(run, api):
    code, said = await run("add", "old hand", "--namespace", "lab", "--hash", given=quick_hash("x") + "\n")
    assert code == 0, said
    assert "'--user=netunicorn:old hand'" in said
    await api.logged_in("old hand", "x")


@pytest.mark.parametrize(
    ("words", "given", "says"),
    [
        (["add", "ann"], PASSWORD, "--namespace"),
        (["add", "ann", "--namespace", "Lab"], PASSWORD, "--namespace: is no name of a namespace"),
        (["add", " ann", "--namespace", "lab"], PASSWORD, "NAME: is no user name"),
        (["add", "ann", "--namespace", "lab"], "short", "password: is too short"),
        (["add", "ann", "--namespace", "lab"], "", "password: is too short"),
        (["add", "ann", "--namespace", "lab"], "x" * 73, "password: is too long"),
        (["add", "ann", "--namespace", "lab", "--hash"], "not a hash", "password hash: is not one of bcrypt"),
        (["add", "ann", "--namespace", "lab", "--access-tag", "a,b"], PASSWORD, "--access-tag: is not an access tag"),
        (["password", "nobody"], PASSWORD, "there is no such account"),
        (["revoke", "nobody"], "", "there is no such account"),
        (["remove", "nobody"], "", "there is no such account"),
        (["change", "nobody", "--sudo"], "", "there is no such account"),
    ],
)
async def test_what_is_refused(run, words, given, says):
    code, said = await run(*words, given=given + "\n")
    assert code == 2, said
    assert says in said
    assert "Traceback" not in said


async def test_a_name_is_given_once(run):
    await run("add", "ann", "--namespace", "lab")
    code, said = await run("add", "ann", "--namespace", "lab")
    assert (code, "this name is taken" in said) == (2, True)

"""A serialized graph that hangs while it is loaded, in an environment that stands for netunicorn's."""

import pytest
from conftest import reaches


@pytest.fixture
async def hanging(start, faults, workdir):
    """An agent whose graph never gets loaded."""
    (workdir / "cloudpickle.py").write_text(
        "import time\ndef loads(content):\n    open('loading', 'w').close()\n    time.sleep(600)\ndef dumps(value): return b''\n"
    )
    (workdir / "netunicorn").mkdir()
    (workdir / "netunicorn" / "__init__.py").touch()
    (workdir / "netunicorn" / "base.py").touch()
    agent = await start(token=await faults.assign_serialized(b"a pickle", keep_alive=4.0))

    async def loads():
        return (workdir / "loading").exists()

    await reaches(loads)
    return agent


async def test_cancelled_while_it_loads(hanging, faults):
    await faults.cancel(hanging.token)
    result = await hanging.result()
    assert (result["outcome"], result["reason"]) == ("Failure", "Cancelled")


ENDS = [(410, "InstanceSuperseded", 4), (410, "Revoked", 4), (401, "Unauthenticated", 3), (404, "NotFound", 3)]


@pytest.mark.parametrize(("status", "reason", "code"), ENDS, ids=[row[1] for row in ENDS])
async def test_not_wanted_any_more_while_it_loads(hanging, faults, status, reason, code):
    faults.answer(status, reason)
    assert await hanging.ends() == code

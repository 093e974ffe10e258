"""The example notebook, run as `make demo EXAMPLE=client` runs it: twice."""

import asyncio
import sys

import netunicorn_venv
import pytest
from mediator_lab import NODES, Lab
from notebooks import PASSWORD
from unicorn_devcluster.demo import notebook

pytestmark = pytest.mark.cluster


async def test_the_notebook_runs_again_and_again(lab: Lab) -> None:
    environment = {"PATH": "/usr/bin:/bin", "UNICORN_ENDPOINT": lab.url, "UNICORN_LOGIN": "ada", "UNICORN_PASSWORD": PASSWORD}
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            netunicorn_venv.python(), "-I", notebook.SCRIPT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=sys.stderr
        )
        said = (await process.communicate())[0].decode()
        assert process.returncode == 0, said
        assert said.splitlines()[0] == f"{len(NODES)} nodes: {', '.join(NODES)}"
        assert f"Median of {len(NODES)}: late by" in said

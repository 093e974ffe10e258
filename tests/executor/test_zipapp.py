"""The agent as one file, run by the node's own Python."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import unicorn_executor
import unicorn_graph
from executor_graphs import chain, python
from unicorn_executor import build


async def test_it_runs_with_the_systems_python(start, zipapp):
    system = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    graph = chain(
        a={"run": "echo x"},
        b={"script": "import sys\nresult = [sys.executable, previous['a'][-1]['value']['exitCode']]"},
        c=python("json:dumps", {}),
    )
    agent = await start(graph, command=[system, str(zipapp)])
    results = (await agent.result())["results"]
    assert results["b"][0]["value"] == [system, 0]
    assert results["c"][0]["value"] == "{}"


async def test_a_tasks_garbage_is_collected(start, zipapp):
    """The agent collects none while it loads, and the first worker is its fork."""
    agent = await start(chain(a={"script": "import gc\nresult = gc.isenabled()"}), command=[sys.executable, str(zipapp)])
    assert (await agent.result())["results"]["a"][0]["value"] is True


def interpreters():
    """Version -> path of the Pythons from 3.9 on that are found here, under their names or pyenv's; the tests' own is one."""
    candidates = [sys.executable, *filter(None, (shutil.which(f"python3.{minor}") for minor in range(9, 20)))]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip()
        candidates += map(str, Path(root).glob("versions/3.*/bin/python"))
    found = {}
    for path in candidates:
        command = [path, "-c", "import sys; print(*sys.version_info[:2], sys.executable)"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)  # a name may stand for none
        if asked.returncode == 0:
            major, minor, executable = asked.stdout.split(maxsplit=2)
            if int(minor) >= 9:
                found.setdefault(f"{major}.{minor}", executable.strip())
    return found


async def test_it_runs_with_every_python_that_is_here(start, gateway, zipapp):
    """3.9 is the oldest: where the machine has none, `test_it_needs_no_more_than_python_3_9` reads the source instead."""
    large = "result = [list(sys.version_info[:2]), 'x' * 20_000]"
    graph = chain(
        run={"run": "echo x"},
        script={"script": f"import sys\n{large}", "timeoutSeconds": 60.0},
        python=python("json:dumps", {}),
        flag={"flag": {"add": "n"}, "retry": {"limit": 1, "backoffSeconds": 0.1}},
        fails={"script": "import os; os._exit(3)", "retry": {"limit": 1, "backoffSeconds": 0.1}},
    )
    for version, path in interpreters().items():
        agent = await start(graph, command=[path, str(zipapp)])
        result = await agent.result(60)
        results = {task: entries[0] for task, entries in result["results"].items()}
        assert results["run"]["value"]["stdout"] == "x\n", version
        assert f"3.{results['script']['value'][0][1]}" == version
        assert results["python"]["value"] == "{}", version
        assert results["flag"]["outcome"] == "Success", version
        assert results["fails"]["reason"] == "Crashed", version
        assert len(await agent.events("TaskFinished", task="fails")) == 2, version


async def test_files_in_the_working_directory_do_not_hide_the_standard_library(start, zipapp, workdir):
    (workdir / "json.py").write_text("raise RuntimeError('not the one you are looking for')\n")
    (workdir / "mine.py").write_text("def f():\n    return 'mine'\n")
    agent = await start(chain(a=python("mine:f")), command=[sys.executable, str(zipapp)])
    assert (await agent.result())["results"]["a"][0]["value"] == "mine"


def test_the_same_sources_give_the_same_bytes(zipapp, tmp_path):
    build.build(tmp_path / "again.pyz")
    assert hashlib.sha256((tmp_path / "again.pyz").read_bytes()).digest() == hashlib.sha256(zipapp.read_bytes()).digest()


@pytest.mark.parametrize("package", [unicorn_executor, unicorn_graph])
def test_it_needs_no_more_than_python_3_9(package):
    vermin = Path(sys.executable).with_name("vermin")
    command = [vermin, "--quiet", "--no-tips", "-t=3.9-", "--violations", "--eval-annotations", package.__path__[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "UNICORN_GATEWAY is ''"),
        ({"UNICORN_GATEWAY": "ftp://x"}, "UNICORN_GATEWAY is 'ftp://x'"),
        ({"UNICORN_GATEWAY": "http://127.0.0.1:9"}, "there is no usable token"),
        (
            {"UNICORN_GATEWAY": "http://127.0.0.1:9", "UNICORN_TOKEN_FILE": "/no/such"},
            "UNICORN_TOKEN_FILE cannot be read: No such file",
        ),
        ({"UNICORN_GATEWAY": "http://127.0.0.1:9", "UNICORN_TOKEN": "a\nb"}, "there is no usable token"),
        (
            {"UNICORN_GATEWAY": "https://127.0.0.1:9", "UNICORN_TOKEN": "t", "UNICORN_CA_FILE": "/no/such"},
            "UNICORN_CA_FILE cannot be used",
        ),
    ],
)
def test_a_wrong_setting_is_one_readable_line(zipapp, settings, says, tmp_path):
    command = [sys.executable, str(zipapp)]
    done = subprocess.run(command, env=settings, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "asking" not in line]
    assert says in line

"""What other users of the machine execute."""

import subprocess
from pathlib import Path

from unicorn_devcluster import paths, wheels


def test_the_agent_is_built_once_and_readable_for_all() -> None:
    file = wheels.agent_file()
    before = file.stat()
    assert wheels.agent_file() == file
    assert file.stat() == before
    assert _as_nobody("/usr/bin/python3", "-c", f"import zipfile; print(zipfile.is_zipfile('{file}'))") == "True"


def test_an_interpreter_with_packages_can_be_executed_by_all() -> None:
    python = wheels.interpreter(["iniconfig"])
    assert wheels.interpreter(["iniconfig"], _unexpected) == python
    assert _as_nobody(str(python), "-c", "import iniconfig; print(iniconfig.__file__)").startswith(str(python.parents[1]))


def _as_nobody(*command: str) -> str:
    user = {"user": "nobody", "group": "nogroup", "extra_groups": []} if paths.is_root() else {}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path("/"), **user)  # type: ignore[call-overload]
    return str(done.stdout.strip())


def _unexpected(text: str) -> None:
    raise AssertionError(text)

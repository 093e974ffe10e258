"""`python -m unicorn_executor.build OUT.pyz`: the agent as one file, the same bytes from the same sources and Python.

Beside each module lies its byte code for the Python that builds: where the nodes have the same minor version, an agent need not
compile itself at each start, twice (agent and worker; 0.2 s of CPU together). Other versions pass it over.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import unicorn_graph

import unicorn_executor

_START = b"""\
import gc
gc.disable()  # until everything is imported: none of it is garbage
from unicorn_executor.__main__ import run
run()
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file knows


def build(target: Path) -> None:
    scratch = target.with_name(f"{target.name}.{os.getpid()}.new")
    with tempfile.TemporaryDirectory() as tree, open(scratch, "wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # stored: deflate differs from one zlib to the next
            _add(archive, "__main__.py", _START)
            _copy_and_compile(Path(tree))
            for path in sorted(Path(tree).rglob("*.py*")):
                _add(archive, str(path.relative_to(tree)), path.read_bytes())
    scratch.chmod(0o755)
    os.replace(scratch, target)


def _copy_and_compile(tree: Path) -> None:
    """Our packages with `x.pyc` beside each `x.py`; compiled apart: byte code depends on what was loaded before."""
    for package in (unicorn_executor, unicorn_graph):
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, tree / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["-q", "-b", "--invalidation-mode", "unchecked-hash", "-s", str(tree)]
    command = [sys.executable, "-I", "-m", "compileall", *options, str(tree)]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "0"})  # noqa: S603


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


if __name__ == "__main__":
    build(Path(sys.argv[1]))

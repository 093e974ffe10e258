"""What the images install: the locked dependencies and the project as wheels, the agent as a zipapp. Made on this machine."""

import hashlib
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from . import locks, paths, tools

_ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "core", "executor", "builder", "store", "connectors", "operator", "gateway")
AGENT_SOURCES = ("core/unicorn_graph", "executor")
BUILDER_SOURCES = ("builder",)

_SYSTEM = "/usr/bin/python3"
IMAGES_PYTHON = "3.11"  # of their base


def lock() -> str:
    """The locked versions, one a line, of what the project needs when it runs."""
    return (_ROOT / "requirements.lock").read_text() + "\n".join(_needed())


def dependencies(log: tools.Log) -> Path:
    """A directory with the wheels of the locked dependencies for the images' Python, fetched once. Raises ToolError."""
    target = paths.cache() / f"wheels-{hashlib.sha256(lock().encode()).hexdigest()[:16]}"
    if target.exists():
        return target
    log("Fetching the wheels of the dependencies: usually takes 10 to 30 s.")
    draft = Path(tempfile.mkdtemp(prefix=".wheels-", dir=paths.cache()))
    try:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", *_for_images()]
        tools.run(*pip, "--dest", draft, "--constraint", _constraints(draft), *_needed())
        draft.joinpath("constraints.txt").unlink()
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def installed(requirements: Sequence[str]) -> Path:
    """A directory with these as the images' Python imports them, whichever Python this machine has. Raises ToolError."""
    parts = [*sorted(requirements), (_ROOT / "requirements.lock").read_text(), IMAGES_PYTHON]
    target = paths.cache() / f"packages-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
    with locks.held(target.with_suffix(".lock")):
        if not target.exists():
            draft = Path(tempfile.mkdtemp(prefix=".packages-", dir=paths.cache()))
            with tempfile.TemporaryDirectory() as scratch:
                pip = [sys.executable, "-m", "pip", "install", "--quiet", *_for_images(), "--target", str(draft)]
                tools.run(*pip, "--constraint", _constraints(Path(scratch)), *requirements)
            draft.chmod(0o755)
            draft.rename(target)
    return target


def project(directory: Path) -> None:
    """Build the project's own wheel into this directory. Raises ToolError."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    tools.run(*pip, "--wheel-dir", directory, _ROOT)


def agent_file() -> Path:
    """The agent's zipapp, where every uid can read it. Raises ToolError."""
    target = paths.shared() / f"agent-{content(AGENT_SOURCES)}" / "executor.pyz"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        tools.run(sys.executable, "-m", "unicorn_executor.build", target)  # appears at once and complete
    return target


def interpreter(requirements: Sequence[str], log: tools.Log = print) -> Path:
    """A python with these installed, at their locked versions if they have one, that every uid can execute.

    Made from /usr/bin/python3: our own may lie in a closed home. Raises ToolError.
    """
    parts = [*sorted(requirements), (_ROOT / "requirements.lock").read_text(), tools.run(_SYSTEM, "-VV")]
    home = paths.shared() / f"python-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:16]}"
    done = home / "complete"  # a virtual environment can't be moved to its name when it is ready
    with locks.held(home.with_suffix(".lock")):
        if not done.exists():
            log(f"Making a virtual environment for other users with {' '.join(requirements)}: usually takes 10 s.")
            shutil.rmtree(home, ignore_errors=True)
            tools.run(_SYSTEM, "-m", "venv", "--without-pip", home)
            with tempfile.TemporaryDirectory() as scratch:
                pip = [sys.executable, "-m", "pip", "--python", str(home / "bin/python"), "install", "--quiet"]
                tools.run(*pip, "--constraint", _constraints(Path(scratch)), *requirements)
            done.touch()
    return home / "bin/python"


def content(sources: Iterable[str]) -> str:
    """A hash of these files and folders of the project."""
    digest = hashlib.sha256()
    for source in sources:
        top = _ROOT / source
        for file in sorted([top] if top.is_file() else top.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(_ROOT)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def _for_images() -> list[str]:
    """pip's options for their Python."""
    options = ["--only-binary=:all:", "--python-version", IMAGES_PYTHON, "--implementation", "cp"]
    for tag in ("manylinux_2_17", "manylinux_2_28", "manylinux_2_34"):
        options += ["--platform", f"{tag}_{platform.machine()}"]
    return options


def _needed() -> list[str]:
    wanted: list[str] = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return wanted


def _constraints(directory: Path) -> Path:
    """The lock without what pip takes for more than a constraint."""
    path = directory / "constraints.txt"
    lines = [line for line in (_ROOT / "requirements.lock").read_text().splitlines() if re.match(r"[a-z0-9]", line)]
    path.write_text("\n".join(lines))
    return path

"""The example that is a notebook of netunicorn's own client, as a script."""

import subprocess

from ..cluster import Cluster
from ..tools import Log
from . import examples, installation

NAMES = ("client", "notebook")  # make demo EXAMPLE=…
SCRIPT = examples.ROOT / "notebook" / "notebook.py"
_VARIABLES = ("UNICORN_ENDPOINT", "UNICORN_LOGIN", "UNICORN_PASSWORD")


def run(cluster: Cluster, log: Log) -> int:
    """By a Python that has netunicorn's released packages and nothing of ours. Returns its exit code. Raises ToolError."""
    environment = {name: cluster.exports[name] for name in _VARIABLES}
    command = [installation.netunicorn_python(log), "-I", str(SCRIPT)]
    return subprocess.run(command, env={"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", **environment}, check=False).returncode

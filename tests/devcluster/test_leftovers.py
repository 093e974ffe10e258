"""What a killed test session left goes with the next one; what a living one has stays."""

import os
import subprocess

import pytest
from unicorn_devcluster import leftovers, paths
from unicorn_devcluster.postgres import Postgres


@pytest.mark.cluster  # beside those whose sessions remove what is left, too
def test_only_what_dead_sessions_left_is_removed():
    process = subprocess.Popen(["true"])
    process.wait()
    dead = Postgres.start(paths.shared() / "postgres" / f"test-{process.pid}-left", fast=True)
    alive = Postgres.start(paths.shared() / "postgres" / f"test-{os.getpid()}-mine", fast=True)
    try:
        assert f"PostgreSQL test-{process.pid}-left" in leftovers.remove()
        assert dead.pid is None
        assert not dead.directory.exists()
        assert alive.pid
    finally:
        alive.remove()
        dead.remove()

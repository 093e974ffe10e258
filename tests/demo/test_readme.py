"""The README says only what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from unicorn_devcluster.demo import examples, notebook

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_its_commands_are_targets_with_a_description():
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "demo-down", "test", "lint", "bench"} <= named
    assert named <= TARGETS


def test_make_help_lists_every_target():
    said = subprocess.run(["make", "-C", str(ROOT), "--no-print-directory", "help"], capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in said.stdout.splitlines()} == TARGETS


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_it_lists_every_example():
    listed = [*examples.names(), notebook.SCRIPT.parent.name]
    assert sorted(re.findall(r"^\| \[([a-z-]+)\]\(examples/\1\)", README, re.MULTILINE)) == sorted(listed)


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_its_modules_can_be_run(module):
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr

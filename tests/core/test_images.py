"""What names an image, what its layers share, and what a builder is given."""

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import replace

import pytest
from unicorn_core.images import (
    BuildInputs,
    BuildReport,
    BuildResult,
    FileContent,
    agent_archive,
    build_hash,
    content_hash,
    context,
    steps,
)

AGENT = b"an agent"
INPUTS = BuildInputs(
    base="registry.example/lab/base@sha256:" + "1" * 64,
    platform="linux/amd64",
    agent_sha256=hashlib.sha256(AGENT).hexdigest(),
    apt=("iperf3", "tcpdump"),
    pip=("requests",),
    files=(FileContent("/etc/x", b"x"), FileContent("/etc/y", b"y")),
    commands=("make", "make install"),
)


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"base": "registry.example/lab/base@sha256:" + "2" * 64}, "another base"),
        ({"platform": "linux/arm64"}, "another platform"),
        ({"agent_sha256": "0" * 64}, "another agent"),
        ({"apt": ("iperf3",)}, "a package less"),
        ({"apt": ("iperf3 tcpdump",)}, "one odd name is not two names"),
        ({"apt": (), "pip": ("iperf3", "tcpdump", "requests")}, "another package manager"),
        ({"commands": ("make install", "make")}, "another order"),
        ({"commands": ("make", "make install", "")}, "a command more"),
        ({"commands": ("make\nmake install",)}, "one command is not two"),
        ({"files": (FileContent("/etc/x", b"y"), FileContent("/etc/y", b"y"))}, "another content"),
        ({"files": (FileContent("/etc/z", b"x"), FileContent("/etc/y", b"y"))}, "another path"),
        ({"files": (FileContent("/etc/x", b"y"), FileContent("/etc/y", b"x"))}, "contents exchanged"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_all_that_changes_the_image_changes_its_hash(change, because):
    assert build_hash(replace(INPUTS, **change)) != build_hash(INPUTS), because


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({}, "nothing random or temporal is in it"),
        ({"base": "mirror.example:5000/base@sha256:" + "1" * 64}, "the same base from elsewhere"),
        ({"commands": ("sudo make", "make install")}, "a leading sudo is taken away"),
        ({"files": INPUTS.files[::-1]}, "files are a map by path, and a map has no order"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_does_not_change_the_image_does_not_change_its_hash(change, because):
    assert build_hash(replace(INPUTS, **change)) == build_hash(INPUTS), because


def test_the_hash_is_stable_across_versions():
    """If this fails, all images of all users are built anew: raise RECIPE, and mean it."""
    plain = BuildInputs(base="b@sha256:" + "1" * 64, platform="linux/amd64", agent_sha256="2" * 64, commands=("true",))
    assert build_hash(plain)[:12] == "bcc67d1095c6"


def test_a_changed_last_command_shares_all_layers_but_its_own():
    ours = [step.layer for step in steps(INPUTS)]
    other = [step.layer for step in steps(replace(INPUTS, commands=("make", "make uninstall")))]
    assert [step.title for step in steps(INPUTS)] == ["python", "apt", "pip", "files", "commands[0]", "commands[1]"]
    assert ours[:5] == other[:5]
    assert ours[5] != other[5]


def test_a_new_agent_is_another_image_of_the_same_layers():
    other = replace(INPUTS, agent_sha256="0" * 64)
    assert steps(other) == steps(INPUTS)
    assert build_hash(other) != build_hash(INPUTS)


def test_what_is_not_asked_for_is_no_step():
    bare = BuildInputs(base=INPUTS.base, platform="linux/amd64", agent_sha256=INPUTS.agent_sha256)
    assert [(step.number, step.title) for step in steps(bare)] == [(1, "python")]


@pytest.mark.parametrize(
    ("written", "run"),
    [
        ("sudo apt install x", "apt install x"),
        ("sudo sudo x", "sudo x"),
        (" sudo x", " sudo x"),
        ("sudoku", "sudoku"),
        ("make && sudo make install", "make && sudo make install"),
    ],
)
def test_a_leading_sudo_is_removed_and_nothing_else(written, run):
    step = steps(replace(INPUTS, commands=(written,)))[-1]
    assert step.run == ("/bin/sh", "-c", run)
    assert step.text == run


def test_packages_are_arguments_and_never_a_part_of_a_script():
    apt, pip = steps(INPUTS)[1:3]
    assert apt.run[3:] == ("apt", "iperf3", "tcpdump")
    assert "iperf3" not in apt.run[2]
    assert pip.run[3:] == ("pip", "requests")
    assert "requests" not in pip.run[2]


def test_the_content_hash_is_that_of_a_set():
    assert content_hash(["a", "b"]) == content_hash(["b", "a"]) != content_hash(["a"]) != "a"


def test_a_base_without_a_digest_is_a_fault_of_ours():
    with pytest.raises(ValueError, match="bears no digest"):
        replace(INPUTS, base="debian:12")


def test_summaries_are_one_line():
    long = steps(replace(INPUTS, commands=("echo a\n\techo b", "x" * 1000)))
    assert long[4].summary == "commands[0]: echo a echo b"
    assert len(long[5].summary) == 200
    assert long[5].text == "x" * 1000


def test_a_context_has_flat_names_and_says_all_that_a_builder_needs():
    made = context(INPUTS, "registry.example/unicorn", plain_http=["registry.example"], no_cache=True)
    assert set(made) == {"build.json", "files.tar.gz"}
    order = json.loads(made["build.json"])
    assert (order["base"], order["platform"]) == (INPUTS.base, "linux/amd64")
    assert order["plainHttp"] == ["registry.example"]
    assert order["cache"] is False
    assert [step["image"] for step in order["steps"]] == [
        f"registry.example/unicorn:layer-{step.layer}" for step in steps(INPUTS)
    ]
    assert made == context(INPUTS, "registry.example/unicorn", plain_http=["registry.example"], no_cache=True)
    assert "files.tar.gz" not in context(replace(INPUTS, files=()), "registry.example/unicorn")


def test_files_in_another_order_make_the_same_context():
    reversed_files = replace(INPUTS, files=INPUTS.files[::-1])
    assert context(reversed_files, "r.example/unicorn") == context(INPUTS, "r.example/unicorn")


def test_a_context_holds_files_under_exactly_their_names():
    paths = ["/etc/a b", "/etc/$HOME", "/etc/'\"\\", "/etc/two\nlines", "/etc/é☃", "/" + "/".join(["d" * 200] * 4), "/-rf"]
    files = tuple(FileContent(path, path.encode()) for path in paths)
    made = context(replace(INPUTS, files=files), "r.example/unicorn")
    assert members(gzip.decompress(made["files.tar.gz"])) == {path.lstrip("/"): (path.encode(), 0o644) for path in paths}
    assert members(agent_archive(AGENT)) == {"unicorn": (None, 0o755), "unicorn/executor.pyz": (AGENT, 0o555)}


def members(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = {entry.name: opened.extractfile(entry) for entry in opened}
        return {entry.name: (file and file.read(), entry.mode) for entry, file in zip(opened, files.values(), strict=True)}


def test_a_report_is_read():
    text = json.dumps(
        {"result": "CommandFailed", "step": 4, "title": "commands[0]", "command": "false", "exitCode": 1, "tail": ["a"]}
    )
    report = BuildReport.from_json(text)
    assert (report.result, report.step, report.exit_code, report.tail) == (BuildResult.COMMAND_FAILED, 4, 1, ("a",))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"result": "Fine"}', '{"result": "Built", "step": "x"}', "OOMKilled"])
def test_rubbish_is_no_report(text):
    with pytest.raises(ValueError, match="no report of a build"):
        BuildReport.from_json(text)

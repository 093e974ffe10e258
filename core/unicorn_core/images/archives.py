"""Files as a tar that is unpacked over an image."""

import io
import posixpath
import tarfile
from collections.abc import Iterable

from unicorn_core.images.inputs import AGENT_FILE, FileContent


def archive(files: Iterable[FileContent], mode: int, directories: Iterable[str] = ()) -> bytes:
    """Without further directories: those of the base keep their owners and modes. A name in a tar means nothing but itself."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as made:
        for directory in directories:
            entry = tarfile.TarInfo(directory.lstrip("/"))
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            made.addfile(entry)
        for file in files:
            entry = tarfile.TarInfo(file.path.lstrip("/"))
            entry.size, entry.mode = len(file.content), mode
            made.addfile(entry, io.BytesIO(file.content))
    return raw.getvalue()


def agent_archive(agent: bytes) -> bytes:
    """What is laid over the image that a builder leaves."""
    return archive([FileContent(AGENT_FILE, agent)], mode=0o555, directories=[posixpath.dirname(AGENT_FILE)])

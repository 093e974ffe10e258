"""Any name that a user may give, and the legal resource name beside it."""

import re
import secrets
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

from unicorn_core.naming import ANNOTATION_NAME

from unicorn_gateway.problems import ProblemError

LONGEST = 1024
_SLUG = 54  # with hyphen and suffix it is a DNS label
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
Object = Mapping[str, Any]


def name_in(raw_segment: str) -> str | None:
    """The name in a segment of a path as it was sent; None: it holds a slash, which no route of netunicorn's takes. A plus is a
    plus: netunicorn's client writes it for a space, and lists the experiment so."""
    name = unquote(raw_segment)
    return None if "/" in name else name


def is_storable(name: str) -> bool:
    """No name that holds what PostgreSQL cannot store was ever given."""
    return not any(one == "\0" or unicodedata.category(one) == "Cs" for one in name)


def check_name(name: str) -> None:
    """Raises ProblemError 400."""
    if len(name) > LONGEST or not name.strip() or any(unicodedata.category(one) in ("Cc", "Cs") for one in name):
        raise ProblemError(
            400, "Malformed", f"An experiment's name has 1 to {LONGEST} characters, and no control characters among them"
        )


def resource_name(name: str, suffix: str) -> str:
    """What of the name a resource may be called, and a suffix that makes it unique."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_SLUG].strip("-")
    return f"{slug or 'experiment'}-{suffix}"


def new_suffix() -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(8))


def shown_names(objects: Iterable[Object], taken: Mapping[str, str]) -> dict[str, Object]:
    """Each living Experiment under the name that the client knows it by. `taken`: name -> metadata.uid, as recorded.

    Else it is what its annotation says, oldest first, and metadata.name where another has that name already.
    """
    living = [one for one in objects if not one["metadata"].get("deletionTimestamp")]
    recorded = {uid: name for name, uid in taken.items()}
    shown: dict[str, Object] = {}
    others = []
    for one in living:
        name = recorded.get(one["metadata"]["uid"])
        if name is None:
            others.append(one)
        else:
            shown[name] = one
    for one in sorted(others, key=lambda one: (one["metadata"]["creationTimestamp"], one["metadata"]["name"])):
        annotated = (one["metadata"].get("annotations") or {}).get(ANNOTATION_NAME)
        for name in (annotated, one["metadata"]["name"], f"{one['metadata']['name']} ({one['metadata']['uid']})"):
            if name and name not in shown and name not in taken:
                shown[name] = one
                break
    return shown

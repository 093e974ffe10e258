"""Contexts of netunicorn's client, {connector: {key: value}}: kept in Secrets that go with their Experiment, never read here."""

import json
from collections.abc import Mapping

from unicorn_core.errors import ApiRefused, Conflict, NotFound
from unicorn_kube import KubeClient
from unicorn_kube.resource import SECRETS

from unicorn_gateway import bodies
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import texts
from unicorn_gateway.user_api.mediator.messages import Context
from unicorn_gateway.user_api.mediator.owning import Object, owner_reference

NEW, OLD = "netunicorn-authentication-context", "netunicorn-auth-context"
TYPE = "netunicorn.io/contexts"
_LIMIT = 256 * 1024


def of_headers(headers: Mapping[str, str]) -> Context | None:
    """What the client calls its authentication context. The released client sends it under the new name, where netunicorn's
    mediator never looked, so that what is wrong there is left aside; under the old name it raises ProblemError 400."""
    if (old := headers.get(OLD)) not in (None, "", "null"):
        context = _context(old)
        if context is None:
            raise ProblemError(
                400, "Malformed", f"Couldn't parse the context: {OLD} must be {{connector: {{key: value}}}} in JSON"
            )
        return context
    return _context(headers.get(NEW)) or None


def of_body(body: bytes) -> Context | None:
    """The optional context of `start` and `cancel`. Raises ProblemError 422."""
    if not body.strip() or body.strip() == b"null":
        return None
    context = _context(body.decode(errors="replace"))
    if context is None:
        raise ProblemError(422, "Invalid", "the context must be {connector: {key: value}}")
    return context


def _context(text: str | None) -> Context | None:
    try:
        value = bodies.storable(json.loads(text or ""))
        bodies.require_json(value)
    except (ValueError, RecursionError, ProblemError):
        return None
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        return None
    return value


def require_small(contexts: Mapping[str, Context | None]) -> None:
    """Raises ProblemError 400 for more than a Secret is to hold."""
    if sum(map(len, _told(contexts).values())) > _LIMIT:
        raise texts.declined(f"Contexts are larger than {_LIMIT} bytes")


async def keep(kube: KubeClient, item: Object, purpose: str, contexts: Mapping[str, Context | None]) -> None:
    """A Secret `<experiment>-<purpose>`, made once; none where all contexts are empty. Raises ProblemError 400."""
    require_small(contexts)
    told = _told(contexts)
    if not told:
        return
    namespace, name = item["metadata"]["namespace"], f"{item['metadata']['name']}-{purpose}"
    metadata = {"name": name, "namespace": namespace, "ownerReferences": [owner_reference(item)]}
    body = {"apiVersion": "v1", "kind": "Secret", "type": TYPE, "metadata": metadata, "stringData": told}
    try:
        await kube.create(SECRETS, body, namespace)
    except Conflict:
        pass  # kept before
    except (ApiRefused, NotFound) as error:
        raise texts.declined(f"Kubernetes refuses the contexts: {error}") from error


def _told(contexts: Mapping[str, Context | None]) -> dict[str, str]:
    return {name: json.dumps(context) for name, context in contexts.items() if context}

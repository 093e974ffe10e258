"""AdmissionReview -> its answer, by the rules of unicorn_core.admission. Pure."""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unicorn_core.admission import CheckConfig, Requester, asks_for_arguments, check_user, review, user_annotations
from unicorn_core.errors import Problem
from unicorn_core.text import plain

from unicorn_operator import finalizers

Request = Mapping[str, Any]
Answer = dict[str, Any]

_SHOWN = 10
_MESSAGE_LIMIT = 8192


@dataclass(frozen=True, slots=True)
class Rules:
    check_config: CheckConfig
    trusted_users: Collection[str] = ()


def mutate(request: Request, rules: Rules) -> Answer:
    """Writes whose experiment it is, and which nodes they may have; into a new one the finalizer too, which the operator would
    add with a write of its own."""
    patch = _annotated(request, rules) + _finalized(request)
    if not patch:
        return _allowed(request)
    encoded = base64.b64encode(json.dumps(patch).encode()).decode()
    return {**_allowed(request), "patchType": "JSONPatch", "patch": encoded}


def _annotated(request: Request, rules: Rules) -> list[Answer]:
    missing = user_annotations(request["object"], request.get("oldObject"), _requester(request, rules))
    patch: list[Answer] = []
    if missing and not (request["object"].get("metadata") or {}).get("annotations"):
        patch.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    for name, value in missing.items():
        key = name.replace("~", "~0").replace("/", "~1")
        patch.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": value})
    return patch


def _finalized(request: Request) -> list[Answer]:
    if request.get("oldObject") is not None or finalizers.has(request["object"]):
        return []
    return [finalizers.addition(request["object"])]


def arguments_to_ask_for(request: Request, rules: Rules) -> list[str]:
    """Paths for which it must be asked whether this user may; the user API has asked already."""
    if _requester(request, rules).trusted:
        return []
    return asks_for_arguments(request["object"], request.get("oldObject"))


def validate(request: Request, rules: Rules, forbidden: Sequence[str] = ()) -> Answer:
    """`forbidden`: those of `arguments_to_ask_for` that this user may not write."""
    new, old = request["object"], request.get("oldObject")
    problems = [_forbidden(path, request) for path in forbidden] + review(new, old, rules.check_config)
    if new.get("kind") == "Experiment":
        problems = check_user(new, old, _requester(request, rules)) + problems
    return _denied(request, problems) if problems else _allowed(request)


def _requester(request: Request, rules: Rules) -> Requester:
    user = request["userInfo"]
    username = str(user.get("username") or "")
    return Requester(username, tuple(user.get("groups") or ()), username in rules.trusted_users)


def _forbidden(path: str, request: Request) -> Problem:
    message = f"{request['userInfo'].get('username', '')} may not pass arguments to container engines"
    return Problem(path, message, f"remove it, or have ClusterRole unicorn-sudo in namespace {request.get('namespace', '')}")


def _allowed(request: Request) -> Answer:
    return {"uid": request["uid"], "allowed": True}


def _denied(request: Request, problems: list[Problem]) -> Answer:
    kind = request["kind"]["kind"]
    shown = problems[:_SHOWN]
    causes = [
        {"reason": "FieldValueInvalid", "field": plain(problem.path), "message": plain(_without_path(problem))}
        for problem in shown
    ]
    status = {
        "code": 422,
        "reason": "Invalid",
        "message": plain(f'{kind} "{request.get("name", "")}" is invalid: {_message(problems)}', _MESSAGE_LIMIT),
        "details": {
            "group": request["kind"]["group"],
            "kind": kind,
            "name": request.get("name", ""),
            "causes": causes,
        },
    }
    return {"uid": request["uid"], "allowed": False, "status": status}


def _without_path(problem: Problem) -> str:
    """kubectl shows field and message side by side."""
    return str(problem).removeprefix(f"{problem.path}: ")


def _message(problems: list[Problem]) -> str:
    if len(problems) == 1:
        return str(problems[0])
    lines = [f"{len(problems)} problems", *(f"- {problem}" for problem in problems[:_SHOWN])]
    return "\n".join(lines + ([f"- and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []))

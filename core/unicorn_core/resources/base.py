"""What all resource models stand on: the base classes, loading, dumping, and the small types that several kinds use."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from unicorn_core.errors import Problem, Refused
from unicorn_core.resources.characters import check_characters


class Model(BaseModel):
    """Part of a spec: snake_case here, camelCase in manifests; unknown fields are refused; optional means absent, never null."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )

    @classmethod
    def _aliases(cls) -> set[str]:
        return {field.alias or name for name, field in cls.model_fields.items()}

    @model_validator(mode="before")
    @classmethod
    def _no_nulls(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        nulls = [name for name, value in data.items() if value is None and name in cls._aliases()]
        if nulls:
            error = PydanticCustomError("null", "is null; leave the field out")
            raise ValidationError.from_exception_data(
                cls.__name__, [InitErrorDetails(type=error, loc=(name,), input=None) for name in nulls]
            )
        return data


class StatusModel(Model):
    """Part of a status: what a newer version wrote is read over."""

    model_config = ConfigDict(extra="ignore")

    @model_serializer(mode="wrap")
    def _slim(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if value not in ("", [], {}, ())}


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
PATTERNS = {DNS_LABEL: "write at most 63 lower-case letters, digits and inner hyphens"}
BOUNDS = {
    "greater_than_equal": ("is too small", "write at least {}"),
    "less_than_equal": ("is too large", "write at most {}"),
    "less_than": ("is too large", "write less than {}"),
    "string_too_short": ("is too short", "write at least {} characters"),
    "string_too_long": ("is too long", "write at most {} characters"),
    "too_short": ("has too few items", "write at least {}"),
    "too_long": ("has too many items", "write at most {}"),
}
BOUND_NAMES = ("ge", "le", "lt", "min_length", "max_length")

M = TypeVar("M", bound=BaseModel)


def load(model: type[M], document: Mapping[str, Any], at: str = "spec") -> M:
    """The model of a document as it stands in a manifest. `Refused` carries a Problem for each field that is wrong."""
    if problems := check_characters(document, at):
        raise Refused(problems)
    try:
        return model.model_validate(document, by_alias=True, by_name=False)
    except ValidationError as invalid:
        raise Refused(problems_of(invalid, model, at)) from invalid


def dump(model: BaseModel) -> dict[str, Any]:
    """The document of a model: camelCase, absent instead of null, only JSON values."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def problems_of(invalid: ValidationError, model: type[BaseModel], at: str) -> list[Problem]:
    """pydantic's errors as Problems, in the words of a manifest."""
    errors = invalid.errors(include_url=False)
    return [_problem(error, model, at) for error in errors if not _is_echo(error)]


def _is_echo(error: Any) -> bool:
    """A list counted without its wrong items, which have errors of their own."""
    return bool(error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"])


def path_of(at: str, location: Iterable[int | str]) -> str:
    """`spec`, (`deployments`, 0, `nodes`) -> `spec.deployments[0].nodes`."""
    path = at
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else step
    return path


def _problem(error: Any, model: type[BaseModel], at: str) -> Problem:
    location = [step for step in error["loc"] if step != "[key]"]
    path, kind, context = path_of(at, location), error["type"], error.get("ctx", {})
    if kind == "missing":
        return Problem(path, "is missing", "add it")
    if kind == "null":
        return Problem(path, "is null", "leave the field out")
    if kind == "extra_forbidden":
        return Problem(path, "is not a field", _fields_near(location, model))
    if kind == "enum":
        return Problem(path, "is not one of the values", f"write {context['expected']}", error["input"])
    if kind == "value_error":
        return Problem(path, str(context["error"]), "", None)
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return Problem(path, "is not an object", "write fields below it", error["input"])
    if kind in ("list_type", "tuple_type"):
        return Problem(path, "is not a list", "write each item with a leading '- '", error["input"])
    if kind == "string_type":
        return Problem(path, "is not a string", "put it in quotes", error["input"])
    if kind == "string_pattern_mismatch":
        pattern = context["pattern"]
        return Problem(path, "is not well-formed", PATTERNS.get(pattern, f"it must match {pattern}"), error["input"])
    if kind in BOUNDS:
        (limit,) = (value for name, value in context.items() if name in BOUND_NAMES)
        message, expected = BOUNDS[kind]
        return Problem(path, message, expected.format(limit), error["input"])
    text = error["msg"]
    return Problem(path, text[:1].lower() + text[1:], "", error["input"])


def _fields_near(location: list[int | str], model: type[BaseModel]) -> str:
    """What the author may have meant by an unknown field."""
    *parents, unknown = location
    holder = _model_at(parents, model)
    if holder is None:
        return "remove it"
    names = [field.alias or name for name, field in holder.model_fields.items()]
    near = difflib.get_close_matches(str(unknown), names, n=1)
    return f"did you mean {near[0]}?" if near else f"its fields are {', '.join(names)}"


def _model_at(location: list[int | str], model: type[BaseModel]) -> type[BaseModel] | None:
    for step in location:
        if isinstance(step, int):
            continue
        field = next((field for name, field in model.model_fields.items() if step in (field.alias, name)), None)
        inner = _models_in(field.annotation) if field else None
        if inner is None:
            return None
        model = inner
    return model


def _models_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in getattr(annotation, "__args__", ()) if (found := _models_in(part))), None)

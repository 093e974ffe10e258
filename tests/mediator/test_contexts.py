"""Contexts: where they are looked for, and what is wrong with them."""

import pytest
from unicorn_gateway.problems import ProblemError
from unicorn_gateway.user_api.mediator import contexts

GOOD = '{"lab": {"token": "x"}}'
HEADERS = [
    ({}, None, "none"),
    ({contexts.NEW: GOOD}, {"lab": {"token": "x"}}, "where the released client sends it"),
    ({contexts.OLD: GOOD}, {"lab": {"token": "x"}}, "where netunicorn's mediator reads it"),
    ({contexts.OLD: GOOD, contexts.NEW: "{}"}, {"lab": {"token": "x"}}, "what is empty says nothing"),
    ({contexts.OLD: "null", contexts.NEW: GOOD}, {"lab": {"token": "x"}}, "what is null says nothing"),
    ({contexts.NEW: "{}"}, None, "an empty one"),
    ({contexts.NEW: "{"}, None, "a wrong one there is left aside"),
    ({contexts.NEW: '{"lab": "x"}'}, None, "also one of another form"),
]


@pytest.mark.parametrize(("headers", "expected", "because"), HEADERS, ids=[row[-1] for row in HEADERS])
def test_in_headers(headers, expected, because) -> None:
    assert contexts.of_headers(headers) == expected, because


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"lab": 1}', '{"lab": {"x": Infinity}}'])
def test_a_wrong_one_in_the_old_header_is_400(text: str) -> None:
    with pytest.raises(ProblemError) as problem:
        contexts.of_headers({contexts.OLD: text})
    assert problem.value.status == 400


@pytest.mark.parametrize(
    ("body", "expected"), [(b"", None), (b"null", None), (b" \n", None), (GOOD.encode(), {"lab": {"token": "x"}})]
)
def test_in_a_body(body, expected) -> None:
    assert contexts.of_body(body) == expected


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b'{"lab": []}', b"\xff", b"[" * 100_000])
def test_a_wrong_body_is_422(body: bytes) -> None:
    with pytest.raises(ProblemError) as problem:
        contexts.of_body(body)
    assert problem.value.status == 422

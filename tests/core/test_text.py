"""Foreign text before it is shown."""

import pytest
from unicorn_core.text import LOG_LINE, LOG_LINES, last_lines, plain


@pytest.mark.parametrize(
    ("why", "lines", "expected"),
    [
        ("nothing was said", [], []),
        ("all of a short one", ["a", "", "b"], ["a", "", "b"]),
        ("no colours, no other direction", ["\x1b[31mred\u202e"], ["[31mred"]),
        ("one line stays one", ["a\vb"], ["a b"]),
        ("a long line is cut at its end", ["x" * 500, "y"], ["x" * (LOG_LINE - 1) + "…", "y"]),
        ("the first are left out", [f"line {number}" for number in range(80)], [f"line {number}" for number in range(30, 80)]),
    ],
)
def test_the_end_of_a_log(why, lines, expected):
    assert last_lines(lines) == expected, why


def test_fifty_long_lines_fit_into_a_status():
    text = "\n".join(last_lines(["é" * 1000] * 1000))
    assert len(text.splitlines()) == LOG_LINES
    assert len(text) <= 8192


def test_plain_text_is_bounded():
    assert plain("x" * 2000) == "x" * 1023 + "…"

"""Every reason that the code writes is listed, with a sentence for the reference."""

import ast
import re
from pathlib import Path

import pytest
from unicorn_core.reasons import CONDITIONS, REASONS
from unicorn_core.resources import reference

ROOT = Path(__file__).parents[2]
WORD = re.compile(r"[A-Z][A-Za-z]+")
# Calls that carry a reason to a person. What they say beside it is no single CamelCase word.
SPEAKERS = {"Failed", "Unknown", "Exited", "Running", "Health", "Unreachable", "Waiting", "finish", "condition"}
LISTED = {word.value for words in (*CONDITIONS.values(), *REASONS.values()) for word in words}
STATUSES = {"True", "False", "Unknown"}


def said():
    for room in ("core/unicorn_core/planning", "connectors/unicorn_connectors", "operator/unicorn_operator"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
                name = getattr(call.func, "id", getattr(call.func, "attr", ""))
                words = [*call.args, *(keyword.value for keyword in call.keywords)] if name in SPEAKERS else []
                for word in words:
                    if isinstance(word, ast.Constant) and isinstance(word.value, str) and WORD.fullmatch(word.value):
                        yield word.value, f"{path.relative_to(ROOT)}:{word.lineno}"


def test_all_are_listed():
    assert {word: place for word, place in said() if word not in LISTED | STATUSES} == {}, "add them to unicorn_core/reasons.py"


@pytest.mark.parametrize("words", [*CONDITIONS.values(), *REASONS.values()], ids=lambda words: words.__name__)
def test_each_is_a_word_with_a_sentence(words):
    for word in words:
        assert WORD.fullmatch(word.value)
        assert word.doc[0].isupper() or word.doc.startswith(("netunicorn", "deadlines", "spec."))
        assert word.doc.endswith(".")
        assert word.name.replace("_", "").lower() == word.value.lower()


def test_the_reference_is_fresh(capsys):
    assert reference.main(["--check", str(ROOT / "docs" / "reference.md")]) == 0, capsys.readouterr().err


def test_every_family_is_in_the_reference():
    text = reference.reference()
    assert [
        word for words in (*CONDITIONS.values(), *REASONS.values()) for word in words if f"| `{word.value}` |" not in text
    ] == []

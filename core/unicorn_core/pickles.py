"""What pickles of netunicorn's client and executor say, read opcode by opcode: nothing is loaded, imported or executed.

An opcode names its effect and carries its argument; these readers look at names and arguments only. Whoever made the bytes
may lie about himself, and about nothing else.
"""

import itertools
import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from unicorn_core.reasons import ExecutorReason

_Operation = tuple[str, Any]  # the opcode's name, its argument


def _effect(code: pickletools.OpcodeInfo) -> tuple[int, int]:
    """How many it takes from the stack (below a mark, where it takes all down to one) and how many it gives."""
    before = code.stack_before
    taken = before.index(pickletools.markobject) if pickletools.markobject in before else len(before)
    return taken, len(code.stack_after)


OPCODES = 2_000_000  # of one pickle; a report with 100 000 lines of log has 200 000
_STRING = "a string"  # what we call whatever puts one on the stack
_STRINGS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_GETS = frozenset({"BINGET", "LONG_BINGET"})
_PUTS = frozenset({"BINPUT", "LONG_BINPUT"})
_SILENT = frozenset({"PROTO", "FRAME"})
_FILLING = frozenset({"MARK", "APPEND", "APPENDS", "STOP"})
_TO_MARK = frozenset(code.name for code in pickletools.opcodes if pickletools.markobject in code.stack_before)
_EFFECTS = {_STRING: (0, 1), **{code.name: _effect(code) for code in pickletools.opcodes}}
_OBJECT = 2  # on the stack while an outermost object gets its attributes: itself, and the dictionary of them
_FALSE = (("NEWFALSE", None), ("NONE", None), ("BININT1", 0))
_UNREADABLE = "Failure", str(ExecutorReason.UNREADABLE_REPORT)


@dataclass(frozen=True, slots=True)
class ReadReport:
    """What netunicorn's executor reports: the pickle of [Result, [line of its log]]."""

    outcome: str  # Success | Failure
    reason: str  # of a Failure
    log: list[str] | None  # None: no list of lines was found at its end, or not within OPCODES


def read_report(content: bytes) -> ReadReport:
    """Never raises: what is no report of netunicorn's executor is a Failure `UnreadableReport`."""
    outcome, log = _UNREADABLE, None
    try:
        operations = _operations(content)
        outcome = _outcome(operations)
        log = _last_list(operations)
    except ValueError:  # cut off, too long, or no pickle; the outcome that was read before stands
        pass
    return ReadReport(*outcome, log)


def reads_report_results(content: bytes) -> bool:
    """Whether the executors of this pickled execution graph report results. Never raises; unreadable: they do."""
    try:
        return _attributes(content).get("report_results") not in _FALSE
    except (ValueError, IndexError):  # IndexError: it takes more from the stack than there is
        return True


def _attributes(content: bytes) -> dict[str, _Operation]:
    """Of the outermost object: by its name what put each on the stack, the last opcode of it. Raises ValueError, IndexError."""
    attributes, stack, marks = dict[str, _Operation](), list[_Operation](), list[int]()
    for operation in _operations(content):
        name = operation[0]
        taken, given = _EFFECTS[name]
        if name == "MARK":
            marks.append(len(stack))
            continue
        if name in _TO_MARK:
            at = marks.pop()
            if name == "SETITEMS" and at == _OBJECT:
                pairs = zip(stack[at::2], stack[at + 1 :: 2], strict=False)
                attributes.update((key[1], value) for key, value in pairs if key[0] == _STRING)
            del stack[at:]
        elif name == "SETITEM" and len(stack) == _OBJECT + 2 and not marks and stack[-2][0] == _STRING:
            attributes[stack[-2][1]] = stack[-1]
        if taken > len(stack):
            raise ValueError("it takes more from the stack than there is")
        del stack[len(stack) - taken :]
        stack += [operation] * given
    return attributes


def _operations(content: bytes) -> Iterator[_Operation]:
    """What is done to the stack, with what stands in the memo in place of references to it, as far as it is a string.

    Raises ValueError at what is no pickle, and after OPCODES. Memory follows the bytes that are there, not what they claim.
    """
    memo, memoized, last = dict[Any, str](), 0, None
    for opcode, argument, _ in itertools.islice(pickletools.genops(content), OPCODES):
        name = opcode.name
        if name == "MEMOIZE" or name in _PUTS:
            if last is not None:
                memo[memoized if name == "MEMOIZE" else argument] = last
            memoized += 1
            continue
        if name in _SILENT:
            continue
        last = argument if name in _STRINGS else memo.get(argument) if name in _GETS else None
        yield (_STRING, last) if last is not None else (name, argument)
        if name == "STOP":
            return
    raise ValueError("too many opcodes")


def _outcome(operations: Iterator[_Operation]) -> tuple[str, str]:
    """Outcome and reason, from the first member of the outermost list."""
    if [name for name, _ in itertools.islice(operations, 2)] != ["EMPTY_LIST", "MARK"]:
        return _UNREADABLE
    first, argument = next(operations)
    if first == "NONE":
        return "Failure", str(ExecutorReason.GRAPH_UNLOADABLE)
    begin = [(first, argument), *itertools.islice(operations, 2)]
    if begin == [(_STRING, "returns.result"), (_STRING, "Success"), ("STACK_GLOBAL", None)]:
        return "Success", ""
    if begin == [(_STRING, "returns.result"), (_STRING, "Failure"), ("STACK_GLOBAL", None)]:
        return "Failure", str(ExecutorReason.TASK_FAILED)
    return _UNREADABLE


def _last_list(operations: Iterator[_Operation]) -> list[str] | None:
    """The strings of the list that was begun last, if nothing else is in it."""
    strings: list[str] | None = None
    for name, argument in operations:
        if name == "EMPTY_LIST":
            strings = []
        elif name == _STRING and strings is not None:
            strings.append(argument)
        elif name not in _FILLING:
            strings = None
    return strings

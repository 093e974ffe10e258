"""A report fits into what Kubernetes keeps of a termination message, and is read as it was written."""

import pytest
from unicorn_builder.report import LIMIT, Report
from unicorn_core.images import BuildReport


@pytest.mark.parametrize(
    ("report", "because"),
    [
        (Report("CommandFailed", tail=["x" * 5000] * 50), "long lines"),
        (
            Report("CommandFailed", tail=["☃" * 500] * 50, command="☃" * 32768, message="\x1b" * 10000),
            "characters of six bytes each",
        ),
        (Report("CommandFailed", tail=["𝄞" * 500] * 50, command="𝄞" * 32768), "twelve bytes each"),
        (Report("CommandFailed", tail=['"\\' * 1000] * 50), "characters that are escaped"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_it_always_fits(report, because):
    written = report.to_json()
    assert len(written.encode()) <= LIMIT, because
    read = BuildReport.from_json(written)
    assert read.tail[-1][:3] == report.tail[-1][:3], "the last lines are those that are kept"


def test_nothing_is_lost_that_fits():
    lines = [f"line {number}" for number in range(50)]
    read = BuildReport.from_json(Report("CommandFailed", "", 2, "why", 3, "commands[0]", "exit 0", 0, lines).to_json())
    assert (read.cached, read.message, read.step, read.title, read.command, read.exit_code) == (
        2,
        "why",
        3,
        "commands[0]",
        "exit 0",
        0,
    )
    assert read.tail == tuple(lines)

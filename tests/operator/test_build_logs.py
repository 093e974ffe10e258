"""What of a build's log is shown in a status."""

import pytest
from unicorn_operator.images.builders import log_of_last_step

MIRROR = "E: Failed to fetch http://deb.example/pool/main/i/iperf3/iperf3_3.12-1_amd64.deb  404  Not Found"


@pytest.mark.parametrize(
    ("why", "log", "expected"),
    [
        ("nothing was said", "", []),
        ("before the first step", "unicorn: starts from x\nTraceback\n", ["Traceback"]),
        ("the last step's lines", "unicorn: step 1/2 apt\nGet:1\nunicorn: step 2/2 commands[0]\na\nb\n", ["a", "b"]),
        ("without the builder's own", f"unicorn: step 1/2 apt\n{MIRROR}\nunicorn: failed (CommandFailed): x\n", [MIRROR]),
        ("a step that said nothing", "unicorn: step 1/2 apt\nGet:1\nunicorn: step 2/2 pip\n", []),
    ],
)
def test_the_lines_of_the_last_step(why, log, expected):
    assert log_of_last_step(log) == expected, why

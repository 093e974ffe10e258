"""The token of netunicorn's executor travels in the path: no line of the log has it."""

import json

import pytest
import structlog
from structlog.testing import CapturingLogger
from unicorn_gateway.logs import redacted
from v1_parts import serialized, v1_agent

pytestmark = pytest.mark.database


async def test_tokens_in_paths_stay_out_of_the_access_log(gateway, operator, monkeypatch):
    logger = CapturingLogger()
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=lambda *_: logger)
    monkeypatch.setattr("unicorn_gateway.executor_api.app._access", structlog.get_logger("access"))
    try:
        (executor,) = await serialized(operator, b"graph")
        agent = await v1_agent(gateway, operator, executor)
        assert (await agent.graph()).status == 200
        for path in (f"/x/{agent.token}/nothing", f"/x/{agent.token}x/api/v1/executor/pipeline?executor_id={executor}"):
            async with gateway.http.get(gateway.url + path) as answer:
                assert answer.status in (401, 404)
    finally:
        structlog.reset_defaults()
    said = [json.loads(call.args[0]) for call in logger.calls]
    assert len(said) >= 3
    assert agent.token not in json.dumps(said)
    assert agent.token.split(".")[2] not in json.dumps(said)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/x/a.b.c/api/v1/executor/result", "/x/-/api/v1/executor/result"),
        ("/x/a.b.c", "/x/-"),
        ("//x//a.b.c/api", "/x/-/api"),
        ("/x/", "/x/-"),
        ("/api/v1/experiment/x", "/api/v1/experiment/x"),
        ("/xyz/a", "/xyz/a"),
    ],
)
def test_what_a_log_shows_of_a_path(path, shown):
    assert redacted(path) == shown

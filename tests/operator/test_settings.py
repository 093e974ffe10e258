"""Settings: read from the environment, wrong ones refused by name, all of them documented."""

from datetime import timedelta
from pathlib import Path

import pytest
from unicorn_core.errors import Refused
from unicorn_operator import settings

DOCS = Path(__file__).parents[2] / "docs" / "operator-settings.md"


@pytest.fixture(autouse=True)
def _bare(monkeypatch):
    import os

    for name in os.environ:
        if name.startswith("UNICORN_"):
            monkeypatch.delenv(name)


def test_the_documentation_is_what_the_code_says():
    assert DOCS.read_text() == settings.describe(), "run: unicorn-operator settings > docs/operator-settings.md"
    assert all(field.description for field in settings.Settings.model_fields.values())


def test_they_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("UNICORN_RESYNC_INTERVAL", "1m30s")
    monkeypatch.setenv("UNICORN_WATCH_NAMESPACES", "a, b,")
    monkeypatch.setenv("UNICORN_ALLOW_LOCAL", "true")
    monkeypatch.setenv("UNICORN_DATABASE_URL", "postgresql://a:secret-word@h/d")
    loaded = settings.load()
    assert loaded.resync_interval == timedelta(seconds=90)
    assert loaded.watch_namespaces == ("a", "b")
    assert loaded.allow_local is True
    assert loaded.dsn == "postgresql://a:secret-word@h/d"
    assert "secret-word" not in repr(loaded)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("UNICORN_RESYNC_INTERVAL", "soon", "30s"),
        ("UNICORN_WORKERS", "0", "greater than or equal to 1"),
        ("UNICORN_HEALTH_PORT", "99999", "65535"),
        ("UNICORN_LOG_LEVEL", "loud", "debug"),
        ("UNICORN_ALLOW_LOCAL", "perhaps", "boolean"),
    ],
)
def test_wrong_ones_are_named(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(Refused) as refused:
        settings.load()
    assert name in str(refused.value)
    assert said in str(refused.value)


def test_all_wrong_ones_are_named_at_once(monkeypatch):
    monkeypatch.setenv("UNICORN_WORKERS", "0")
    monkeypatch.setenv("UNICORN_LOG_FORMAT", "xml")
    with pytest.raises(Refused) as refused:
        settings.load()
    assert len(refused.value.problems) == 2


def test_files_that_cannot_be_read(tmp_path):
    missing = str(tmp_path / "missing")
    with pytest.raises(Refused, match="UNICORN_AGENT_PATH"):
        settings.Settings(agent_path=missing).agent_sha256()
    with pytest.raises(Refused, match="UNICORN_GATEWAY_CA_FILE"):
        settings.Settings(gateway_ca_file=missing).gateway_ca()
    agent = tmp_path / "agent"
    agent.write_bytes(b"agent")
    assert settings.Settings(agent_path=str(agent)).agent_sha256().startswith("d4f0bc5a29de06b5")

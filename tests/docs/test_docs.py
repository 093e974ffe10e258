"""What a user can set, see or call is documented; the pages that are generated have tests beside their generators."""

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from unicorn_connectors.fake import FakeConfig
from unicorn_connectors.kubernetes.config import KubernetesConfig
from unicorn_connectors.local.config import LocalConfig
from unicorn_gateway.executor_api.metrics import Metrics as GatewayMetrics
from unicorn_gateway.settings import ExecutorSettings
from unicorn_gateway.user_api import openapi as user_openapi
from unicorn_gateway.user_api.authentication import methods
from unicorn_gateway.user_api.authentication.directory import LdapSettings
from unicorn_gateway.user_api.authentication.methods.kubernetes import KubernetesSettings
from unicorn_gateway.user_api.metrics import Metrics as UserMetrics
from unicorn_gateway.user_api.routes import ROUTES
from unicorn_gateway.user_api.settings import UserSettings
from unicorn_operator.cache import Caches
from unicorn_operator.metrics import Metrics as OperatorMetrics
from unicorn_operator.queue import WorkQueue

DOCS = Path(__file__).parents[2] / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("config", [LocalConfig, KubernetesConfig, FakeConfig])
def test_every_field_of_a_connectors_config_is_documented(config: type[BaseModel]) -> None:
    for name, field in config.model_fields.items():
        assert f"`{field.alias or name}`" in page("connectors.md"), f"{config.__name__}.{field.alias or name}"


def test_every_metric_is_documented() -> None:
    operator = OperatorMetrics()
    operator.look_at(WorkQueue(), Caches())
    text = operator.text().decode() + GatewayMetrics().text().decode() + UserMetrics().text().decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE unicorn_")}
    names = {name for name in names if not name.endswith("_created")}
    assert names == set(re.findall(r"^\| `(unicorn_\w+)`", page("metrics.md"), re.MULTILINE))


def test_every_route_is_in_the_protocol() -> None:
    for path in json.loads(page("openapi-executor.json"))["paths"]:
        assert path.rstrip("/").removesuffix("{sha256}").removesuffix("/barrier") in page("executor-protocol.md"), path


def test_every_setting_of_the_gateway_is_documented() -> None:
    documented = set(re.findall(r"^\| `(UNICORN_\w+)`", page("gateway-settings.md"), re.MULTILINE))
    classes: tuple[type[BaseSettings], ...] = (ExecutorSettings, UserSettings, KubernetesSettings, LdapSettings)
    there = {f"{each.model_config['env_prefix']}{name.upper()}" for each in classes for name in each.model_fields}
    assert documented == there


def test_every_method_of_authentication_and_every_verb_for_users_is_documented() -> None:
    text = page("user-api.md")
    for module in pkgutil.iter_modules(methods.__path__):
        assert f"| `{module.name}` |" in text, module.name
    command = [sys.executable, "-m", "unicorn_gateway", "users", "--help"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    verbs = re.findall(r"^    (\w+) ", said, re.MULTILINE)
    assert {"add", "password"} <= set(verbs)
    for verb in verbs:
        assert f"unicorn-gateway users {verb}" in text, verb


def test_the_kept_document_of_the_user_api_is_current() -> None:
    stale = "stale: python -m unicorn_gateway.user_api.openapi > docs/openapi-user.json"
    assert page("openapi-user.json") == user_openapi.text(), stale


def test_every_route_of_the_user_api_is_told_of() -> None:
    """v1's in the page for those who come from netunicorn, v2's with the records."""
    for route in ROUTES:
        where = "records-api.md" if route.path.startswith("/v2/") else "user-api.md"
        last = route.path.removeprefix("/v2/namespaces/{namespace}/experiments")
        if where == "records-api.md" or not route.authenticated:
            assert last in page(where), route.name


def test_links_between_the_pages_lead_somewhere() -> None:
    for path in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} -> {target}"

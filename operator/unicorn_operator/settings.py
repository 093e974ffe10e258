"""The operator's settings: environment variables UNICORN_*."""

import hashlib
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from unicorn_core.durations import format_duration, parse_duration
from unicorn_core.errors import Problem, Refused


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration), NoDecode]


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class Settings(BaseSettings):
    """Each field is the variable UNICORN_<FIELD>. Durations as in manifests: 30s, 5m."""

    model_config = SettingsConfigDict(env_prefix="UNICORN_", frozen=True, extra="ignore")

    database_url: SecretStr = Field(SecretStr(""), description="postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    login_database_url: SecretStr = Field(
        SecretStr(""), description="For `database login` only: another process's URL, whose user is made"
    )
    kubeconfig: str = Field("", description="A kubeconfig; empty: $KUBECONFIG, the pod's ServiceAccount, ~/.kube/config")
    namespace: str = Field("", description="Where the operator's Lease and Secrets are; empty: that of the kubeconfig or pod")
    identity: str = Field("", description="This replica's name in the Lease; empty: host name and a random part")
    watch_namespaces: Annotated[tuple[str, ...], BeforeValidator(_names), NoDecode] = Field(
        (), description="Comma-separated; empty: all namespaces. The webhooks judge what is in these"
    )

    gateway_endpoint: str = Field("", description="The executor gateway as nodes see it, where a Connector says nothing else")
    gateway_ca_file: str = Field("", description="PEM certificates to trust for an https gateway_endpoint")
    agent_path: str = Field("", description="The agent's zipapp, as the gateway serves it; its SHA-256 is pinned in orders")
    agent_image: str = Field("", description="The image whose init container brings the agent into a pod")
    default_image: str = Field("", description="For deployments without an Environment, where the node takes images")

    builder: Literal["", "job", "local"] = Field(
        "",
        description="What builds images: `job` (Jobs in the operator's namespace), `local` (buildah beside it); empty: nothing",
    )
    build_registry: str = Field("", description="HOST[:PORT]/PREFIX: the repository that built images are pushed to")
    build_registry_secret: str = Field(
        "", description="A Secret (dockerconfigjson) in the operator's namespace, to push with; executors never see it"
    )
    build_registry_credentials_file: str = Field("", description="The same as a file, where there is no such Secret")
    plain_http_registries: Annotated[tuple[str, ...], BeforeValidator(_names), NoDecode] = Field(
        (), description="Comma-separated HOST[:PORT] of registries without TLS"
    )
    registry_ca_file: str = Field("", description="PEM certificates to trust for registries, beside the system's")
    resolve_images: bool = Field(
        True, description="Whether registries are asked for the digests of images; otherwise these are used as they are named"
    )
    default_base: str = Field("", description="What a build starts from where the Environment names no base")
    builder_image: str = Field("", description="For `job`: the image with the builder")
    build_concurrency: int = Field(4, ge=1, le=256, description="Builds at the same time; namespaces take turns")
    build_deadline: Duration = Field(timedelta(hours=1), description="How long a build may run")
    build_service_account: str = Field(
        "",
        description="For `job`: a ServiceAccount without rights in the operator's namespace; empty: its default, without a token",
    )
    build_memory: str = Field("2Gi", description="For `job`: the memory that a build may use")
    build_storage: str = Field("16Gi", description="For `job`: the disk that a build may use")
    build_host_network: bool = Field(
        False, description="For `job`: whether builds use their node's network: where pods have no way out"
    )

    allow_local: bool = Field(False, description="Whether Connectors of type local may run processes beside the operator")
    state_directory: str = Field("/var/lib/netunicorn-operator", description="Where such a connector keeps its files")

    signing_key_file: str = Field("", description="Ed25519 private key (PEM), made at the first start; empty: a Secret")
    signing_public_file: str = Field("", description="Where the gateway's public keys are written; empty: a ConfigMap")

    health_host: str = Field("127.0.0.1", description="Where /healthz, /readyz and /metrics listen")
    health_port: int = Field(8081, ge=0, le=65535, description="0: any free port")

    webhook: bool = Field(True, description="Whether admission webhooks are served and registered")
    webhook_host: str = Field("0.0.0.0", description="Where the webhooks listen")  # noqa: S104 the API server calls from afar
    webhook_port: int = Field(9443, ge=0, le=65535, description="0: any free port")
    webhook_url: str = Field("", description="https://host:port under which the API server reaches them; or")
    webhook_service: str = Field("", description="the Service in the operator's namespace that leads to them")
    webhook_service_port: int = Field(443, ge=1, le=65535, description="Its port")
    webhook_certificate_directory: str = Field("", description="tls.crt, tls.key, ca.crt; empty: a Secret of our own")
    webhook_trusted_users: Annotated[tuple[str, ...], BeforeValidator(_names), NoDecode] = Field(
        (), description="Comma-separated user names that may create experiments for others: the user API's ServiceAccount"
    )

    workers: int = Field(32, ge=1, le=512, description="Passes at the same time")
    database_connections: int = Field(16, ge=2, le=200, description="Connections to PostgreSQL at most")
    resync_interval: Duration = Field(timedelta(minutes=5), description="How often everything is listed again")
    retention_records: Duration = Field(timedelta(days=365), description="How long records are kept after an experiment's end")
    retention_logs: Duration = Field(timedelta(days=30), description="How long log chunks are kept after their arrival")
    log_format: Literal["json", "plain"] = Field("json", description="json or plain")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning or error")

    @property
    def dsn(self) -> str:
        return self.database_url.get_secret_value()

    def agent_sha256(self) -> str:
        """Of the agent's zipapp; empty when none is named. Raises Refused. Reads a file."""
        return hashlib.sha256(self.agent()).hexdigest() if self.agent_path else ""

    def agent(self) -> bytes:
        """The agent's zipapp, which is named. Raises Refused. Reads a file."""
        try:
            return Path(self.agent_path).read_bytes()
        except OSError as error:
            raise Refused(Problem("UNICORN_AGENT_PATH", f"cannot read {self.agent_path}: {error.strerror}", "a file")) from error

    def gateway_ca(self) -> str:
        """PEM, or empty. Raises Refused. Reads a file."""
        if not self.gateway_ca_file:
            return ""
        try:
            return Path(self.gateway_ca_file).read_text()
        except OSError as error:
            problem = Problem("UNICORN_GATEWAY_CA_FILE", f"cannot read {self.gateway_ca_file}: {error.strerror}", "a file")
            raise Refused(problem) from error

    def replica(self, random_part: str) -> str:
        return self.identity or f"{socket.gethostname()}_{random_part}"


def load() -> Settings:
    """From the environment. Raises Refused, a Problem for each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        problems = []
        for entry in error.errors(include_url=False, include_input=False):
            name = "UNICORN_" + str(entry["loc"][0]).upper()
            context = entry.get("ctx") or {}
            problems.append(Problem(name, str(context.get("error") or entry["msg"])))
        raise Refused(problems) from error


def describe() -> str:
    """All settings as a table in Markdown: docs/operator-settings.md."""
    lines = [
        "# Settings of the operator",
        "",
        "Environment variables. Durations are written as in manifests: 30s, 5m. Generated: `unicorn-operator settings`.",
        "",
        "| variable | default | |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, SecretStr):
            shown = "required" if name == "database_url" else ""
        elif isinstance(default, timedelta):
            shown = f"`{format_duration(default)}`"
        else:
            shown = f"`{str(default).lower() if isinstance(default, bool) else default}`" if default not in ("", ()) else ""
        lines.append(f"| `UNICORN_{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines) + "\n"


def stop_with(error: Exception) -> int:
    """One readable line on stderr; the exit code of a start that cannot succeed by waiting."""
    sys.stderr.write(f"unicorn-operator: {error}\n")
    return 2

"""What the webhooks need to know."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from unicorn_core.errors import Problem, Refused

_CONFIGURATION = "unicorn-operator"


def configuration_name(namespace: str, watched: Sequence[str]) -> str:
    """Of the webhook configurations: an operator that watches some namespaces has its own, beside those of others."""
    return f"{_CONFIGURATION}-{namespace}" if watched else _CONFIGURATION


@dataclass(frozen=True, slots=True)
class AdmissionSettings:
    """`url` or `service`: how the API server reaches us. Raises Refused for neither and for both."""

    namespace: str  # the operator's: its Service and Secret
    watched: tuple[str, ...] = ()  # the namespaces whose objects are judged; empty: all
    host: str = "0.0.0.0"  # noqa: S104 the API server calls from afar
    port: int = 9443  # 0: any free port
    url: str = ""  # https://10.88.0.1:9443; without a port: the one that is listened on
    service: str = ""
    service_port: int = 443
    certificate_directory: str = ""  # tls.crt, tls.key, ca.crt, as cert-manager's Secret is mounted; empty: our own Secret
    secret: str = "unicorn-operator-webhook"  # noqa: S105 a name
    trusted_users: tuple[str, ...] = ()  # user names that may create for another user: the user API's ServiceAccount

    def __post_init__(self) -> None:
        if bool(self.url) == bool(self.service):
            problem = Problem("UNICORN_WEBHOOK_URL", "must be set, or UNICORN_WEBHOOK_SERVICE", "exactly one of them")
            raise Refused(problem)
        if self.url and (urlsplit(self.url).scheme != "https" or not urlsplit(self.url).hostname):
            raise Refused(Problem("UNICORN_WEBHOOK_URL", "is not a URL that the API server calls", "https://host:port", self.url))

    @property
    def configuration(self) -> str:
        """The name of both webhook configurations."""
        return configuration_name(self.namespace, self.watched)

    @property
    def names(self) -> tuple[str, ...]:
        """What the certificate is for: DNS names and IP addresses."""
        if self.url:
            return (urlsplit(self.url).hostname or "",)
        base = f"{self.service}.{self.namespace}.svc"
        return (base, f"{base}.cluster.local")

    def reached_at(self, path: str, port: int) -> dict[str, object]:
        """`clientConfig` of a webhook, without its caBundle. `port`: the one that is listened on."""
        if self.service:
            service = {"namespace": self.namespace, "name": self.service, "port": self.service_port, "path": path}
            return {"service": service}
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if _is_ipv6(parts.hostname or "") else parts.hostname
        return {"url": f"https://{host}:{parts.port or port}{path}"}


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False

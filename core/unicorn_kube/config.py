"""How to reach a Kubernetes API: from a kubeconfig, or from inside a pod."""

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from unicorn_core.errors import Problem, Refused

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_FILES = (("cluster", "certificate-authority"), ("user", "client-certificate"), ("user", "client-key"), ("user", "tokenFile"))
_PROGRAMS = ("exec", "auth-provider")


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """One server and one identity. `token_file` is read again when it changes (projected tokens expire)."""

    server: str  # without a trailing slash
    namespace: str = "default"
    ca: bytes = b""  # PEM; empty: the system's
    verify: bool = True
    server_name: str = ""  # the name in the server's certificate, where it is not the address
    client_certificate: bytes = field(default=b"", repr=False)
    client_key: bytes = field(default=b"", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""

    @staticmethod
    def load(path: str | os.PathLike[str] | None = None) -> "KubeConfig":
        """The given kubeconfig, else $KUBECONFIG, else the pod's ServiceAccount, else ~/.kube/config. Raises Refused."""
        chosen = path or os.environ.get("KUBECONFIG")
        if chosen:
            return KubeConfig._from_file(Path(chosen))
        if (_SERVICE_ACCOUNT / "token").exists() and "KUBERNETES_SERVICE_HOST" in os.environ:
            return KubeConfig._in_cluster()
        return KubeConfig._from_file(Path.home() / ".kube" / "config")

    @staticmethod
    def parse(text: str | bytes, *, untrusted: bool = False, directory: Path | None = None) -> "KubeConfig":
        """The current context of a kubeconfig. Raises Refused.

        Credential programs are never run. `untrusted`: written by a user, so that it may name no file of ours either.
        `directory`: what relative file names mean.
        """
        entry = _current(text)
        for part, key in [(part, key) for part in ("user",) for key in _PROGRAMS if key in entry[part]]:
            raise _refused(f"{part}.{key}", "credential programs are not run", "a token or a client certificate")
        if untrusted:
            for part, key in [(part, key) for part, key in _FILES if entry[part].get(key)]:
                raise _refused(f"{part}.{key}", "files cannot be named here", f"embed it: {key}-data, or token")
        return _build(entry, directory or Path())

    @staticmethod
    def _from_file(path: Path) -> "KubeConfig":
        try:
            text = path.read_bytes()
        except OSError as error:
            raise Refused(Problem("KUBECONFIG", f"cannot read {path}: {error.strerror}", "the path of a kubeconfig")) from error
        return KubeConfig.parse(text, directory=path.parent)

    @staticmethod
    def _in_cluster() -> "KubeConfig":
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        return KubeConfig(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            namespace=(_SERVICE_ACCOUNT / "namespace").read_text().strip(),
            ca=(_SERVICE_ACCOUNT / "ca.crt").read_bytes(),
            token_file=str(_SERVICE_ACCOUNT / "token"),
        )

    def ssl_context(self) -> ssl.SSLContext | None:
        """None for plain HTTP. Raises Refused for certificates and keys that cannot be read."""
        if not self.server.startswith("https:"):
            return None
        try:
            context = ssl.create_default_context(cadata=self.ca.decode() if self.ca else None)
            if not self.verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if self.client_certificate:
                with tempfile.NamedTemporaryFile() as file:  # 0600; the ssl module takes files only
                    file.write(self.client_certificate + b"\n" + self.client_key)
                    file.flush()
                    context.load_cert_chain(file.name)
        except (ssl.SSLError, ValueError) as error:
            raise _refused("certificates", f"cannot be used: {error}", "PEM data of a certificate and its key") from error
        return context


def _refused(path: str, message: str, expected: str) -> Refused:
    return Refused(Problem(f"kubeconfig.{path}", message, expected), reason="InvalidKubeconfig")


def _current(text: str | bytes) -> dict[str, Mapping[str, Any]]:
    """`cluster`, `user` and `context` of the current context."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        # The error would show the text, which has secrets in it.
        raise _refused("", "is not YAML", "a kubeconfig") from error
    if not isinstance(document, dict):
        raise _refused("", "is not a kubeconfig", "a mapping with clusters, users, contexts and current-context")
    context = _named(document, "contexts", document.get("current-context"), "context")
    return {
        "context": context,
        "cluster": _named(document, "clusters", context.get("cluster"), "cluster"),
        "user": _named(document, "users", context["user"], "user") if context.get("user") else {},
    }


def _named(document: Mapping[str, Any], section: str, name: Any, key: str) -> Mapping[str, Any]:
    entries = document.get(section)
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict) and name and entry.get("name") == name:
            found = entry.get(key)
            return found if isinstance(found, dict) else {}
    raise _refused(section, f"there is no entry named {name!r}", "current-context names a context, and that a cluster and a user")


def _build(entry: Mapping[str, Mapping[str, Any]], directory: Path) -> KubeConfig:
    cluster, user = entry["cluster"], entry["user"]
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise _refused("cluster.server", "is missing or no URL", "https://host:port")
    if cluster.get("proxy-url"):
        raise _refused("cluster.proxy-url", "is not supported", "a server that is reached directly")
    token_file = user.get("tokenFile")
    return KubeConfig(
        server=server.rstrip("/"),
        namespace=entry["context"].get("namespace") or "default",
        ca=_data(cluster, "certificate-authority", "cluster", directory),
        verify=not cluster.get("insecure-skip-tls-verify"),
        server_name=cluster.get("tls-server-name") or "",
        client_certificate=_data(user, "client-certificate", "user", directory),
        client_key=_data(user, "client-key", "user", directory),
        token=user.get("token") or "",
        token_file=str(directory / token_file) if token_file else "",
    )


def _data(entry: Mapping[str, Any], key: str, part: str, directory: Path) -> bytes:
    if encoded := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise _refused(f"{part}.{key}-data", "is not base64", "base64 of PEM") from error
    if not entry.get(key):
        return b""
    try:
        return (directory / str(entry[key])).read_bytes()
    except OSError as error:
        raise _refused(f"{part}.{key}", f"cannot read it: {error.strerror}", "the path of a PEM file") from error

import base64

import pytest
import yaml
from unicorn_core.errors import Refused
from unicorn_kube import KubeConfig


def a_kubeconfig(user=None, cluster=None):
    return yaml.safe_dump(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "lab"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://10.0.0.1:6443/", **(cluster or {})}}],
            "users": [{"name": "u", "user": {"token": "SECRET", **(user or {})}}],
        }
    )


def test_the_current_context_is_read():
    config = KubeConfig.parse(a_kubeconfig(cluster={"certificate-authority-data": base64.b64encode(b"PEM").decode()}))
    assert (config.server, config.namespace, config.token, config.ca) == ("https://10.0.0.1:6443", "lab", "SECRET", b"PEM")
    assert "SECRET" not in repr(config)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (a_kubeconfig(user={"exec": {"command": "sh"}}), "user.exec"),
        (a_kubeconfig(user={"auth-provider": {"name": "gcp"}}), "user.auth-provider"),
        (a_kubeconfig(user={"client-key": "/etc/shadow"}), "user.client-key"),
        (a_kubeconfig(user={"client-certificate": "x"}), "user.client-certificate"),
        (a_kubeconfig(user={"tokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token"}), "user.tokenFile"),
        (a_kubeconfig(cluster={"certificate-authority": "/etc/passwd"}), "cluster.certificate-authority"),
        (a_kubeconfig(cluster={"server": "file:///etc"}), "cluster.server"),
        (a_kubeconfig(cluster={"certificate-authority-data": "%%%"}), "cluster.certificate-authority-data"),
        ("- a\n- b", "kubeconfig."),
        ("{", "kubeconfig."),
        ("users: []", "contexts"),
    ],
)
def test_what_a_user_may_not_write_is_refused_by_its_path(text, path):
    with pytest.raises(Refused) as refused:
        KubeConfig.parse(text, untrusted=True)
    assert path in refused.value.problems[0].path
    assert "SECRET" not in str(refused.value)


def test_files_are_relative_to_a_trusted_kubeconfig(tmp_path, monkeypatch):
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    file = tmp_path / "config"
    file.write_text(a_kubeconfig(cluster={"certificate-authority": "ca.pem"}))
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert KubeConfig.load().ca == b"PEM"


def test_a_missing_kubeconfig_is_one_readable_line(tmp_path):
    with pytest.raises(Refused, match=r"cannot read .*nothing: No such file"):
        KubeConfig.load(tmp_path / "nothing")


def test_a_broken_certificate_is_refused():
    config = KubeConfig.parse(a_kubeconfig(cluster={"certificate-authority-data": base64.b64encode(b"PEM").decode()}))
    with pytest.raises(Refused):
        config.ssl_context()

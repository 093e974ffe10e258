"""The webhooks' life: replicas, certificates, registration, absence. Each test starts its own and takes them away again."""

import json
from datetime import timedelta

import pytest

pytestmark = pytest.mark.cluster

API = "netunicorn.io/v1alpha1"


def a_manifest(kind, name="it", annotations=None, **spec):
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "annotations": annotations or {}}, "spec": spec}


def an_experiment(name="it", annotations=None, **spec):
    deployment = {"name": "d", "nodes": {"count": 1}, "pipelineRef": {"name": "p"}}
    return a_manifest("Experiment", name, annotations, **{"deployments": [deployment], **spec})


def test_without_an_answer_nothing_is_created_but_status_and_deletion_go_on(serve, kubectl):
    with serve() as server:
        kubectl.apply(an_experiment())
        server.stop()
        assert "failed calling webhook" in kubectl.refused("apply", "-f", "-", manifest=an_experiment(priority=1))
        status = json.dumps({"status": {"phase": "Running"}})
        kubectl("patch", "exp/it", "--subresource=status", "--type=merge", "-p", status)
        kubectl("delete", "exp/it", "--wait=false")
        kubectl("patch", "exp/it", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')  # as a person would, in need
        kubectl("wait", "--for=delete", "exp/it", "--timeout=20s")
    kubectl.apply(an_experiment())  # and when it is unregistered, nobody is asked


def test_the_operators_own_service_account_is_not_asked(serve, kubectl, kubectl_as, kubeconfig_of):
    operator = f"system:serviceaccount:{kubectl.namespace}:operator"
    with serve(kubeconfig_of("operator"), namespace=kubectl.namespace):
        bad = an_experiment(deadlines={"run": "0s"})
        assert "is too short" in kubectl.refused("apply", "-f", "-", manifest=bad)
        kubectl_as(operator).apply(bad)


def test_an_operator_of_some_namespaces_judges_those_alone_and_beside_others(serve, kubectl):
    bad = an_experiment(deadlines={"run": "0s"})
    with serve(namespace="default", watched=("elsewhere",)) as other:
        assert other.settings.configuration == "unicorn-operator-default"
        kubectl.apply(bad)
        with serve(namespace=kubectl.namespace, watched=(kubectl.namespace, "elsewhere")):
            assert "is too short" in kubectl.refused("apply", "-f", "-", manifest={**bad, "metadata": {"name": "second"}})
            assert kubectl.get("validatingwebhookconfiguration", other.settings.configuration)


def test_replicas_share_a_certificate_and_mend_what_is_taken_away(serve, kubectl, monkeypatch, eventually):
    monkeypatch.setattr("unicorn_operator.admission.serving.UPKEEP", timedelta(seconds=0.2))
    configuration = "validatingwebhookconfiguration/unicorn-operator"
    with serve(namespace=kubectl.namespace) as one, serve(namespace=kubectl.namespace) as other:
        assert one.port != other.port
        before = kubectl.get("secret", "unicorn-operator-webhook")["data"]["ca.crt"]

        kubectl("delete", configuration)
        eventually(lambda: kubectl.get(configuration)["webhooks"][0]["clientConfig"]["caBundle"] == before)

        kubectl("delete", "secret", "unicorn-operator-webhook")
        eventually(lambda: _ca(kubectl, configuration) not in ("", before))
        assert "is too short" in kubectl.refused("apply", "-f", "-", manifest=an_experiment(deadlines={"run": "0s"}))


def _ca(kubectl, configuration):
    return kubectl.get(configuration)["webhooks"][0]["clientConfig"].get("caBundle", "")


def test_a_port_in_use_is_said_in_words(serve, crds):
    with (
        serve() as server,
        pytest.raises(AssertionError, match="UNICORN_WEBHOOK_PORT: cannot listen on"),
        serve(port=server.port),
    ):
        raise RuntimeError("two servers on one port")

"""The last of this folder: everything goes, also while an experiment runs."""

from unicorn_devcluster import manifests
from unicorn_kube.resource import PODS


async def test_nothing_is_left(kit, installation):
    nodes = {"matchExpressions": [{"key": "site", "operator": "In", "values": ["away"]}], "count": 1}
    pipeline = {"stages": [{"name": "long", "tasks": [{"name": "long", "run": "sleep 600"}]}]}
    spec = {"deployments": [{"name": "d", "nodes": nodes, "pipeline": pipeline}]}
    experiment = await kit.apply(
        {"apiVersion": "netunicorn.io/v1alpha1", "kind": "Experiment", "metadata": {"name": "long"}, "spec": spec}
    )
    await experiment.reaches("Running", seconds=180, running=1)
    manifests.delete(installation.cluster)
    assert (await kit.kube.list(PODS, kit.namespace)).items == []
    for kind in ("crd", "clusterrole", "clusterrolebinding", "validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
        names = installation.cluster.run("get", kind, "--output", "name").splitlines()
        assert not [name for name in names if "unicorn" in name], kind
    assert not installation.cluster.run("get", "namespace", manifests.NAMESPACE, "--ignore-not-found")

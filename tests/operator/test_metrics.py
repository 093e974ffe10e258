"""What is counted."""

import pytest
from unicorn_operator.metrics import resource_of


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/api/v1/namespaces/lab/pods/p/log", "pods"),
        ("/api/v1/namespaces/lab/pods", "pods"),
        ("/api/v1/pods", "pods"),
        ("/api/v1/namespaces/lab", "namespaces"),
        ("/api/v1/namespaces", "namespaces"),
        ("/apis/netunicorn.io/v1alpha1/namespaces/lab/experiments/e/status", "experiments"),
        ("/apis/netunicorn.io/v1alpha1/experiments", "experiments"),
        ("/apis/coordination.k8s.io/v1/namespaces/lab/leases/unicorn-operator", "leases"),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x", "customresourcedefinitions"),
        ("/version", "version"),
    ],
)
def test_the_resource_in_a_path(path, resource):
    assert resource_of(path) == resource

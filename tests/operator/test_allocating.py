"""On which terms executors are recorded."""

import pytest
from unicorn_core.resources import ExperimentSpec, load
from unicorn_operator.experiments.allocating import _terms


@pytest.mark.parametrize(
    ("together", "executors", "released"), [(True, 2, False), (True, 1, True), (False, 2, True), (False, 1, True)]
)
def test_the_gateway_releases_who_has_nobody_to_wait_for(together: bool, executors: int, released: bool) -> None:
    pipeline = {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]}
    deployment = {"name": "d", "nodes": {"count": executors}, "pipeline": pipeline}
    spec = load(ExperimentSpec, {"deployments": [deployment], "start": {"together": together}})
    assert _terms(spec, {"d": {"reportResults": True}}, executors)["d"].release_on_check_in is released

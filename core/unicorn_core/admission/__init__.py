"""The rules for what users write: pure functions from a spec to Problems. The webhook and the reconcilers use the same ones.

They judge only what the object itself says, never whether something it names exists, so that `kubectl apply -f dir/` works in
any order. A script is parsed, never executed.
"""

from unicorn_core.admission.arguments import asks_for_arguments
from unicorn_core.admission.connector import CheckConfig, check_connector
from unicorn_core.admission.environment import check_environment
from unicorn_core.admission.experiment import check_agent, check_experiment
from unicorn_core.admission.pipeline import check_pipeline
from unicorn_core.admission.review import review
from unicorn_core.admission.targetnode import check_target_node
from unicorn_core.admission.user import Requester, check_user, user_annotations

__all__ = [
    "CheckConfig",
    "Requester",
    "asks_for_arguments",
    "check_agent",
    "check_connector",
    "check_environment",
    "check_experiment",
    "check_pipeline",
    "check_target_node",
    "check_user",
    "review",
    "user_annotations",
]

"""The experiment reconciler: observe, plan, apply, write. The plan is core's; nothing here waits for a node."""

from unicorn_operator.experiments.reconcile import reconcile

__all__ = ["reconcile"]

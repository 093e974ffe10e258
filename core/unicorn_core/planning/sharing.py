"""Which namespaces may use a connector, and nothing else."""

from collections.abc import Mapping

from unicorn_core.resources.connector import ConnectorSpec, LabelOperator, LabelRequirement, LabelSelector, NamespacesFrom


def may_use(connector: ConnectorSpec, home: str, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether experiments of `namespace`, which has these labels, may use this connector of namespace `home`."""
    if namespace == home:
        return True
    shared = connector.sharing.namespaces
    match shared.from_:
        case NamespacesFrom.ALL:
            return True
        case NamespacesFrom.SELECTOR:
            return shared.selector is not None and selects(shared.selector, labels)
        case _:
            return False


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """As Kubernetes does: all requirements hold; an empty selector takes everything."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(_holds(requirement, labels) for requirement in selector.match_expressions)


def _holds(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    match requirement.operator:
        case LabelOperator.IN:
            return labels.get(requirement.key) in requirement.values
        case LabelOperator.NOT_IN:
            return labels.get(requirement.key) not in requirement.values
        case LabelOperator.EXISTS:
            return requirement.key in labels
        case LabelOperator.DOES_NOT_EXIST:
            return requirement.key not in labels

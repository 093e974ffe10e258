"""One module per deployment system, the fake, and the registry that finds them. On core (and kube) only.

A new connector: a module here (or in any package) with a `ConnectorType`, an entry point in the group `unicorn.connectors`,
and a line in the contract suite, tests/connectors/test_contract.py.
"""

"""Records v2: what is left of a namespace's experiments, running or gone, under /v2/namespaces/{namespace}/.

Reads PostgreSQL only; what a user may is what RBAC says of Experiments. Cancelling changes the Experiment, or an executor's row.
"""

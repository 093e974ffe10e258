"""`python -m unicorn_devcluster.demo [EXAMPLE]`: a whole installation on this machine, and an example that runs on it.

installation: cluster, PostgreSQL, operator, gateway, Connectors. examples: the folders. running: apply and follow.
display: what a person sees. Nothing here is needed to deploy the project: that is manifests/.
"""

"""A Kubernetes and a PostgreSQL for demo and tests, on any machine. Not part of the product."""

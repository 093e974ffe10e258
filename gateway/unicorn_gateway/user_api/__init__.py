"""The API of the users: netunicorn's mediator v1, records v2, authentication. Shares nothing with the process of the executors.

Who somebody is, authentication says; what they may, Kubernetes' RBAC (SubjectAccessReview). It never impersonates anybody.
"""

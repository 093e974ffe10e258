"""Who somebody is. `Authentication` is what the rest of the API uses; a way to find out is a module in methods/."""

from unicorn_gateway.user_api.authentication.authentication import Authentication
from unicorn_gateway.user_api.authentication.method import Method, Parts

__all__ = ["Authentication", "Method", "Parts"]

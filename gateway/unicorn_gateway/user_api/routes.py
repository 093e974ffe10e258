"""The table of routes: what the application serves, and what the OpenAPI document says. A part of the API adds its own table."""

from unicorn_gateway.user_api import public
from unicorn_gateway.user_api.authentication import routes as authentication
from unicorn_gateway.user_api.mediator import routes as mediator
from unicorn_gateway.user_api.records import routes as records
from unicorn_gateway.user_api.routing import Route

ROUTES: tuple[Route, ...] = (
    *authentication.ROUTES,
    *mediator.ROUTES,
    *records.ROUTES,
    *public.ROUTES,
)

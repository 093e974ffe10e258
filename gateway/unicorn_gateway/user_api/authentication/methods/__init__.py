"""The ways to find out who somebody is, one a module. UNICORN_AUTHENTICATION names them."""

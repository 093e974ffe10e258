"""The API of the executors: PostgreSQL is all it needs."""

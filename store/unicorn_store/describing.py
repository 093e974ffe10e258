"""The schema of a database, read from PostgreSQL's catalogue, in one normal form: what schema.sql holds."""

import psycopg
from unicorn_core.errors import StoreUnavailable

from unicorn_store import dsn as dsns

_HEAD = "-- The sum of migrations/. Generated: python -m unicorn_store dump > store/unicorn_store/schema.sql\n"

_TYPES = """
SELECT format('CREATE TYPE unicorn.%s AS ENUM (%s);', t.typname,
              string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder))
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid WHERE t.typnamespace = 'unicorn'::regnamespace
GROUP BY t.typname ORDER BY t.typname
"""
_TABLES = """
SELECT c.relname,
       ARRAY(SELECT format('%s %s', a.attname, format_type(a.atttypid, a.atttypmod))
                    || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
                    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
             FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname),
       ARRAY(SELECT 'CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
             FROM pg_constraint WHERE conrelid = c.oid AND contype <> 'n' ORDER BY conname),
       coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
FROM pg_class c
WHERE c.relnamespace = 'unicorn'::regnamespace AND c.relkind = 'r' AND c.relname !~ '^_?yoyo'
ORDER BY c.relname
"""
_INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) || ';' FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
WHERE c.relnamespace = 'unicorn'::regnamespace AND t.relname !~ '^_?yoyo'
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)
ORDER BY c.relname
"""
_FUNCTIONS = """
SELECT trim(pg_get_functiondef(p.oid)) || ';' FROM pg_proc p WHERE p.pronamespace = 'unicorn'::regnamespace ORDER BY p.proname
"""
_TRIGGERS = """
SELECT pg_get_triggerdef(g.oid) || ';' FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
WHERE c.relnamespace = 'unicorn'::regnamespace AND NOT g.tgisinternal ORDER BY g.tgname
"""


def describe(dsn: str | None) -> str:
    """All types, tables, indexes, functions and triggers of schema `unicorn`. Blocks. Raises Refused, StoreUnavailable."""
    dsn = dsns.check(dsn)
    try:
        with psycopg.connect(dsn, connect_timeout=5) as connection:

            def texts(query: str) -> list[str]:
                return [row[0] for row in connection.execute(query.encode())]

            tables = [
                f"CREATE TABLE unicorn.{name} (\n    " + ",\n    ".join([*columns, *constraints]) + f"\n){options};"
                for name, columns, constraints, options in connection.execute(_TABLES.encode())
            ]
            parts = [*texts(_TYPES), *tables, *texts(_INDEXES), *texts(_FUNCTIONS), *texts(_TRIGGERS)]
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"PostgreSQL at {dsns.address(dsn)}: {' '.join(str(error).split())}") from error
    return _HEAD + "\n" + "\n\n".join(parts) + "\n"

"""`python -m unicorn_store migrate | dump`, on the database of UNICORN_DATABASE_URL."""

import argparse
import os
import sys

from unicorn_core.errors import UnicornError

from unicorn_store import dsn as dsns
from unicorn_store.describing import describe
from unicorn_store.migrating import migrate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m unicorn_store", description=__doc__)
    parser.add_argument("verb", choices=["migrate", "dump"], help="dump: print the schema as schema.sql keeps it")
    verb = parser.parse_args().verb
    dsn = os.environ.get(dsns.VARIABLE)
    try:
        if verb == "dump":
            sys.stdout.write(describe(dsn))
        else:
            for name in migrate(dsn):
                sys.stdout.write(f"applied {name}\n")
    except UnicornError as error:
        sys.stderr.write(f"unicorn-store: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

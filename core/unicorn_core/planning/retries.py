"""How long to wait before an operation is tried again, and nothing else."""

from datetime import timedelta

FIRST = timedelta(milliseconds=500)
LONGEST = timedelta(seconds=30)


def retry_delay(tries: int) -> timedelta:
    """After `tries` earlier tries: doubling from half a second to half a minute."""
    return min(FIRST * (1 << min(tries, 10)), LONGEST)

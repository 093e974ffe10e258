"""Environments become images: references to digests, and builds, each once for whoever asks.

`Images` answers how an environment stands and asks for what is missing; `BuildRunner`, of the leader only, carries builds out
with a `Builder`. Nothing here knows what an experiment is beyond a name that waits.
"""

from unicorn_operator.images.asking import Asker, Images, Look, Wanted
from unicorn_operator.images.making import Parts, check, made

__all__ = ["Asker", "Images", "Look", "Parts", "Wanted", "check", "made"]

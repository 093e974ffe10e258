"""How a registry wants to be shown who asks: Basic, or Bearer tokens that its token service gives out."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_SCHEME = re.compile(r"\s*([A-Za-z0-9!#$%&'*+.^_`|~-]+)(?:\s+|$)")
_PARAMETER = re.compile(r"""\s*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s",]+))\s*(?:,|$)""")
_LEAST_SECONDS = 60.0  # of a token whose service says nothing or less: the specification's default
_EARLY_SECONDS = 10.0  # before its end a token is not used any more
_TOKENS = 2000


@dataclass(frozen=True, slots=True)
class Challenge:
    """One `WWW-Authenticate`: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """Of all headers, in order. What is not understood is left out."""
    found = []
    for header in headers:
        rest = header
        while match := _SCHEME.match(rest):
            rest = rest[match.end() :]
            parameters = {}
            while parameter := _PARAMETER.match(rest):
                name, quoted, bare = parameter.groups()
                parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                rest = rest[parameter.end() :]
            found.append(Challenge(match.group(1).lower(), parameters))
    return found


@dataclass
class Tokens:
    """Bearer tokens by what they were asked for, until they expire. Bounded."""

    _held: dict[tuple[object, ...], tuple[str, float]] = field(default_factory=dict, repr=False)

    def get(self, key: tuple[object, ...]) -> str:
        """Empty when there is none."""
        token, until = self._held.get(key, ("", 0.0))
        return token if time.monotonic() < until else ""

    def keep(self, key: tuple[object, ...], token: str, seconds: float) -> None:
        now = time.monotonic()
        if len(self._held) >= _TOKENS:
            self._held = {each: held for each, held in self._held.items() if held[1] > now}
        if len(self._held) < _TOKENS:
            self._held[key] = (token, now + max(seconds, _LEAST_SECONDS) - _EARLY_SECONDS)

    def forget(self, key: tuple[object, ...]) -> None:
        self._held.pop(key, None)

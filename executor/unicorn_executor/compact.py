"""JSON as it travels."""

from __future__ import annotations

import json
from typing import Any


def encode(document: Any) -> bytes:
    """Compact JSON in UTF-8. Raises ValueError for NaN and for lone surrogates, TypeError for what JSON has no words for."""
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

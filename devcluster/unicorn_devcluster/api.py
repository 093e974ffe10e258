"""A few calls on the cluster's API while it comes up. For everything else there is kubectl."""

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ApiError(Exception):
    """The API server did not answer, or not with success; the message has what it said."""


class Api:
    """The API server of an embedded cluster, as its admin."""

    def __init__(self, address: str, port: int, pki: Path) -> None:
        self._address, self._port = address, port
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def get(self, path: str) -> Any:
        """The object at this path, or the text where it is not JSON. Raises ApiError."""
        return self._call("GET", path, None)

    def create(self, path: str, content: Mapping[str, Any]) -> None:
        """Create it in this collection unless it is there. Raises ApiError."""
        try:
            self._call("POST", path, json.dumps(content))
        except ApiError as error:
            if "AlreadyExists" not in str(error):
                raise

    def _call(self, method: str, path: str, body: str | None) -> Any:
        connection = http.client.HTTPSConnection(self._address, self._port, timeout=5, context=self._context)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiError(f"{method} {path}: {response.status} {text[:500]}")
        return json.loads(text) if text.startswith("{") else text

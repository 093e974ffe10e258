"""Flag tasks: the experiment's flags over the gateway, each in a thread that can be stopped."""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from unicorn_executor.gateway import Gateway, GatewayError, Reply, Stopped

WAIT = 25  # seconds that the gateway holds a poll
OPERATION = 1  # the only one of a flag task's run

Result = dict[str, Any]  # {"outcome", "value"?, "error"?, "reason"?}


class FlagTask:
    """One try of a flag task. `done` is called in its thread with the result, or with the error that ends the executor."""

    def __init__(self, gateway: Gateway, flag: Mapping[str, Any], run: int, done: Callable[[Any], None]) -> None:
        self._gateway = gateway
        self._flag = flag
        # A task run writes once: neither a repeated request nor another try, whose first may have got through, writes again.
        self._mark = {"run": run, "operation": OPERATION}
        self._done = done
        threading.Thread(target=self._run, name=f"flag-{run}", daemon=True).start()

    def stop(self) -> None:
        self._gateway.stop()

    def _run(self) -> None:
        try:
            self._done(self._perform())
        except Stopped:
            pass  # nobody waits for it any more
        except GatewayError as error:
            self._done(error)
        except Exception as error:
            self._done(_failure(f"{type(error).__name__}: {error}"))
        finally:
            self._gateway.close()

    def _perform(self) -> Result:
        flag = self._flag
        if "set" in flag:
            given = {key: flag[key] for key in ("text", "integer") if flag.get(key) is not None}
            return _value(self._gateway.call("PUT", _path(flag["set"]), {**given, **self._mark}))
        if "add" in flag:
            return _value(self._gateway.call("POST", _path(flag["add"]), {"add": flag.get("amount", 1), **self._mark}))
        if "get" in flag:
            return _value(self._gateway.call("GET", _path(flag["get"])))
        if "wait" in flag:
            return self._wait()
        if "barrier" in flag:
            return self._barrier()
        return _failure(f"unknown flag operation: {', '.join(flag)}")

    def _wait(self) -> Result:
        path = _path(self._flag["wait"])
        reply = self._gateway.call("GET", path)
        while reply.status == 200 and not self._holds(reply.document):
            query = urllib.parse.urlencode({"wait": WAIT, "version": reply.document["version"]})
            reply = self._gateway.call("GET", f"{path}?{query}", wait=WAIT)
        return _value(reply)

    def _holds(self, flag: Mapping[str, Any]) -> bool:
        wanted = self._flag
        if "text" in wanted and flag["text"] != wanted["text"]:
            return False
        if "integer" in wanted and flag["integer"] != wanted["integer"]:
            return False
        if "atLeast" in wanted:
            return bool(flag["integer"] >= wanted["atLeast"])
        # Without a wish: until somebody has written it.
        return "text" in wanted or "integer" in wanted or bool(flag["version"] > 0)

    def _barrier(self) -> Result:
        path = _path(self._flag["barrier"])
        reply = self._gateway.call("POST", path, {"barrier": True, **self._mark})
        query = urllib.parse.urlencode({"wait": WAIT, **self._mark})
        while reply.status == 200 and not reply.document["open"]:
            reply = self._gateway.call("GET", f"{path}/barrier?{query}", wait=WAIT)
        if reply.status != 200:
            return _failure(reply.describe())
        return {"outcome": "Success", "value": {"members": reply.document["members"]}}


def _path(name: str) -> str:
    return f"/v2/flags/{urllib.parse.quote(name, safe='')}"


def _value(reply: Reply) -> Result:
    if reply.status != 200:
        return _failure(reply.describe())
    return {"outcome": "Success", "value": {"text": reply.document["text"], "integer": reply.document["integer"]}}


def _failure(error: str) -> Result:
    return {"outcome": "Failure", "error": error, "reason": "FlagFailed"}

"""What the operator and the gateway would have written, for tests of the records."""

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from unicorn_devcluster.cluster import Cluster
from unicorn_store import Store
from user_parts import Answer, Running, User

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class Lab:
    """A namespace, a user who may read and change there, and what the operator and the gateway would have written."""

    api: Running
    store: Store
    cluster: Cluster
    namespace: str
    user: User
    _made: list[UUID] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"/v2/namespaces/{self.namespace}/experiments"

    async def get(self, path: str = "", **query: Any) -> Answer:
        return await self.user.call("GET", self.path + path, params=query)

    async def items(self, path: str = "", **query: Any) -> list[Any]:
        """Of one page; it is the last."""
        answer = await self.get(path, **query)
        assert answer.status == 200, answer.body
        assert "continue" not in answer.body
        return answer.body["items"]

    async def all(self, path: str = "", **query: Any) -> list[Any]:
        """Page by page."""
        found: list[Any] = []
        while True:
            answer = await self.get(path, **query)
            assert answer.status == 200, answer.body
            assert len(answer.body["items"]) <= query["limit"]
            found += answer.body["items"]
            if "continue" not in answer.body:
                return found
            query["continue"] = answer.body["continue"]

    async def experiment(self, name: str = "e", age: int = 0, **columns: Any) -> UUID:
        """`age`: minutes before noon."""
        uid = uuid4()
        values = {
            "uid": uid,
            "namespace": self.namespace,
            "name": name,
            "user_name": "netunicorn:ann",
            "attempt": 1,
            "phase": "Running",
            "message": "",
            "spec": {"deployments": []},
            "status": {"phase": "Running"},
            "created_at": NOON - timedelta(minutes=age),
            **columns,
        }
        await self.insert("experiment", **values)
        return uid

    async def executor(
        self, uid: UUID, deployment: str = "d", index: int = 0, position: int | None = None, **columns: Any
    ) -> UUID:
        id = uuid4()
        if position is not None and index == 0:
            await self.insert(
                "snapshot", experiment_uid=uid, attempt=1, deployment=deployment, position=position, graph={}, body={}
            )
        more = {"state": "Running", "node_name": f"node-{index}", "keep_alive": timedelta(minutes=10), **columns}
        await self.insert("executor", id=id, experiment_uid=uid, deployment=deployment, index=index, **{"attempt": 1, **more})
        return id

    async def insert(self, table: str, **values: Any) -> None:
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        async with self.store.connection() as connection:
            await connection.execute(f"INSERT INTO unicorn.{table} ({', '.join(values)}) VALUES ({places})", *values.values())

    async def execute(self, statement: str, *arguments: Any) -> Any:
        async with self.store.connection() as connection:
            return await connection.fetchval(statement, *arguments)

    async def log(self, id: UUID, seq: int, content: str, task: str | None = None, stream: str = "agent") -> None:
        run = None if task is None else 1
        await self.insert("log_chunk", executor_id=id, seq=seq, task=task, run=run, stream=stream, wall=1.5e9, content=content)


def bind(cluster: Cluster, namespace: str, role: str, user: str) -> None:
    name = f"test-{secrets.token_hex(4)}"
    cluster.run("create", "rolebinding", name, f"--clusterrole={role}", f"--user={user}", "--namespace", namespace)

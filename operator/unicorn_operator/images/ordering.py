"""What a builder is told about one run: the files of its context, and the credentials that it needs."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from unicorn_core.errors import Problem, Refused, Waiting
from unicorn_core.images import BuildInputs, context
from unicorn_core.planning.builds import OpenBuild, bases

from unicorn_operator.images.builders import BuildOrder, name_of
from unicorn_operator.images.credentials import CredentialReader, for_build
from unicorn_operator.registry import Credentials, Reference

CONTEXT_LIMIT = 900 * 1024  # bytes, as base64 within an object of Kubernetes


@dataclass(frozen=True, slots=True)
class OrderMaker:
    repository: Reference  # where images go
    credentials: CredentialReader
    plain_http: Collection[str]

    async def of(self, build: OpenBuild, inputs: BuildInputs) -> BuildOrder:
        """`build.requests`: of those alone who wait for it. Raises Waiting, Refused, Broken."""
        inputs, users = await self._base(build, inputs)
        files = context(inputs, self.repository.name, plain_http=sorted(self.plain_http), no_cache=build.fresh)
        if (size := sum(len(content) for content in files.values()) * 4 // 3) > CONTEXT_LIMIT:
            raise Refused(Problem("spec.build", f"is {size} bytes", f"at most {CONTEXT_LIMIT}; use smaller files"))
        credentials = for_build(await self.credentials.push(), users, Reference.parse(inputs.base))
        return BuildOrder(name_of(build), build.platform, files, credentials)

    async def _base(self, build: OpenBuild, inputs: BuildInputs) -> tuple[BuildInputs, Credentials]:
        """One and the same digest, from where somebody who waits pulls it, with their credentials for just that place."""
        problem: Waiting | Refused | None = None
        for one in bases(build):
            try:
                credentials = await self.credentials.of_user(one.namespace, one.pull_secret, "spec.build.pullSecretRef")
            except (Waiting, Refused) as error:
                problem = problem or error
                continue
            return replace(inputs, base=one.base or inputs.base), credentials
        if problem is not None:
            raise problem
        return inputs, Credentials()

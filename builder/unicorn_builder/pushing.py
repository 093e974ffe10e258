"""Layers go to the registry while the next step runs. To lose one costs a later build time, and nothing else."""

from concurrent.futures import Future, ThreadPoolExecutor

from unicorn_builder.buildah import Buildah, BuildahError
from unicorn_builder.log import Log


class Pushing:
    def __init__(self, buildah: Buildah, log: Log) -> None:
        self._buildah, self._log = buildah, log
        self._thread = ThreadPoolExecutor(max_workers=1)  # one: later layers refer to what earlier ones have brought

    def layer(self, image: str) -> None:
        self._thread.submit(self._try, image)

    def result(self, image: str) -> str:
        """Its digest, when all before it are through. Raises BuildahError."""
        pushed: Future[str] = self._thread.submit(self._buildah.push, image)
        return pushed.result()

    def finish(self) -> None:
        """Wait for the layers: a build that failed is soon repeated."""
        self._thread.shutdown()

    def abandon(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _try(self, image: str) -> None:
        try:
            self._buildah.push(image)
        except BuildahError as error:
            self._log.mark(f"this layer was not kept for later builds: {error}")

"""One build from its order to its report."""

import re
from dataclasses import replace
from pathlib import Path

from unicorn_builder.buildah import Buildah, BuildahError, Failed
from unicorn_builder.log import Log
from unicorn_builder.order import Order, Step
from unicorn_builder.pushing import Pushing
from unicorn_builder.report import Report
from unicorn_builder.sharing import Users, one_at_a_time

_PYTHON = re.compile(r"python3\.(\d+)")
_PATH = ("usr/local/bin", "usr/bin", "bin")


class Build:
    """`report` is what would be said if it ended now."""

    def __init__(self, order: Order, work: Path, log: Log) -> None:
        self._order, self._work, self._log = order, work, log
        self._users = Users(work)
        self._buildah = Buildah(work, order.plain_http)
        self._pushing = Pushing(self._buildah, log)
        self._container = ""
        self.report = Report("Broken")

    def run(self) -> None:
        if self._users.alone:
            self._tidy()
        self._users.share()
        done = self._reuse() if self._order.cache else 0
        self.report = replace(self.report, cached=done)
        if done == len(self._order.steps) or (self._take_base(done) and self._steps(done)):
            self._publish()
        self._pushing.finish()

    def close(self) -> None:
        """Leave nothing running; after `run` there is nothing."""
        self._pushing.abandon()
        if self._container:
            try:
                self._buildah.remove(self._container)
            except BuildahError as error:
                self._log.mark(f"the container stays: {error}")
        self._buildah.close()
        self._users.leave()

    def _tidy(self) -> None:
        try:
            self._buildah.tidy()
        except BuildahError as error:  # what a builder that was killed left may still be in use
            self._log.mark(f"not all that earlier builds left could be removed: {error}")

    def _reuse(self) -> int:
        """How many of the first steps were done before: here, or as the registry knows."""
        here = self._buildah.images()
        for step in reversed(self._order.steps):
            try:
                if step.image not in here:
                    self._buildah.pull(step.image, self._order.platform)
            except BuildahError as error:
                if (result := error.result("")) == "":
                    continue
                self._log.mark(f"layers of earlier builds cannot be looked up ({result}): {error}")
                return 0
            self._log.mark(f"steps 1 to {step.number} were done before: {step.title} is the last of them")
            return step.number
        return 0

    def _take_base(self, done: int) -> bool:
        image = self._order.steps[done - 1].image if done else self._order.base
        try:
            self._log.mark(f"starts from {image}")
            if not done:
                self._buildah.pull(image, self._order.platform)
            self._container = self._buildah.start(image, self._order.platform)
        except BuildahError as error:
            self._fail(error.result("BaseNotFound"), str(error))
            return False
        return True

    def _steps(self, done: int) -> bool:
        for step in self._order.steps[done:]:
            self._log.start_step(step.number, len(self._order.steps), step.summary)
            self.report = replace(self.report, step=step.number, title=step.title, command=step.text)
            with one_at_a_time(self._work, step.image):
                if self._order.cache and self._buildah.has(step.image):
                    self._log.mark("another build has done this step meanwhile")
                    self._buildah.remove(self._container)
                    self._go_on_from(step)
                elif not self._do(step):
                    return False
        return True

    def _do(self, step: Step) -> bool:
        try:
            if step.title == "python" and has_python(self._buildah.root(self._container)):
                self._log.mark("the base has a Python")
                if step is not self._order.steps[-1]:  # else this is the result
                    return True
            elif step.run:
                self._buildah.run(self._container, step.run, self._log)
            else:
                self._buildah.add(self._container, self._order.context / step.add)
        except Failed as error:
            self._fail(_result(step, error), _why(error, self._order.platform), error.exit_code)
            return False
        self._buildah.commit(self._container, step.image, step.summary)
        self._go_on_from(step)
        return True

    def _go_on_from(self, step: Step) -> None:
        """The container before is gone; a new one begins at what this step has left, if there is more to do."""
        self._container = ""
        if step is not self._order.steps[-1]:
            self._container = self._buildah.start(step.image, self._order.platform)
            self._pushing.layer(step.image)

    def _publish(self) -> None:
        image = self._order.steps[-1].image
        self._log.mark(f"pushes {image}")
        try:
            digest = self._pushing.result(image)
        except BuildahError as error:
            self._fail(error.result("PushRefused", "PushRefused"), str(error))
            return
        self._log.mark(f"built {digest}")
        self.report = Report("Built", digest, self.report.cached)

    def _fail(self, result: str, message: str, exit_code: int | None = None) -> None:
        self._log.finish()
        self._log.mark(f"failed ({result}): {message}")
        self.report = replace(self.report, result=result, message=message, exit_code=exit_code, tail=self._log.tail)


def has_python(root: Path) -> bool:
    """Whether a Python of at least 3.9 lies in the usual places: told by names, so also for a platform that cannot run here."""
    for directory in _PATH:
        place = root / directory / "python3"
        name = _PYTHON.fullmatch(place.readlink().name if place.is_symlink() else "")
        if name and int(name[1]) >= 9 and (place.parent / name[0]).exists():
            return True
    return False


def _result(step: Step, error: Failed) -> str:
    if "exec format error" in error.unable:
        return "PlatformNotBuildable"
    return "PythonMissing" if step.title == "python" else "CommandFailed"


def _why(error: Failed, platform: str) -> str:
    if "exec format error" in error.unable:
        return f"this builder cannot run programs for {platform}: it has no emulation of it"
    if error.unable:
        return f"/bin/sh cannot be started in the image: {error.unable}"
    return f"ended with exit code {error.exit_code}"

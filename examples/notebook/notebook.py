"""A researcher's notebook as a script: netunicorn's released client, nothing of this project. `# %%` begins a cell.

It asks how evenly a fleet of nodes keeps time and how fast each node hashes, measured on all of them at the same moment.
"""

# %% Who we are, and where the server is
import os
import statistics
import time

from netunicorn.base import (
    Experiment,
    ExperimentStatus,
    FlagValues,
    Pipeline,
    ShellExecution,
    Success,
    Task,
    is_successful,
)
from netunicorn.client import RemoteClient
from netunicorn.client.remote import RemoteClientException
from netunicorn.library.tasks.basic import ShellCommand
from netunicorn.library.tasks.flags import AtomicIncrementFlagTask, WaitForExactFlagResultTask

NAME = "clocks-and-hashes"
FLEET = 6

client = RemoteClient(os.environ["UNICORN_ENDPOINT"], os.environ["UNICORN_LOGIN"], os.environ["UNICORN_PASSWORD"])
client.healthcheck()


# %% Our own measurements: classes of this notebook, pickled with the pipeline
class Clock(Task):
    """Wakes up every 50 ms for a second; how late, at worst, in milliseconds?"""

    def run(self):
        import time

        begin, late = time.monotonic(), 0.0
        for tick in range(1, 21):
            time.sleep(max(0.0, begin + tick * 0.05 - time.monotonic()))
            late = max(late, time.monotonic() - begin - tick * 0.05)
        return round(late * 1000, 2)


class Hash(Task):
    """MB/s of SHA-256."""

    def __init__(self, megabytes, *args, **kwargs):
        self.megabytes = megabytes
        super().__init__(*args, **kwargs)

    def run(self):
        import hashlib
        import time

        block, begin = bytes(1_000_000), time.perf_counter()
        for _ in range(self.megabytes):
            hashlib.sha256(block).digest()
        return Success(round(self.megabytes / (time.perf_counter() - begin)))


# %% The nodes
pool = client.get_nodes()
nodes = pool.filter(lambda node: node["site"] == "home" and ShellExecution in node.available_environments).take(FLEET)
print(f"{len(nodes)} nodes:", ", ".join(node.name for node in nodes))

# %% The pipeline: look around; count ourselves and wait for the starting gun; then measure, two tasks at a time
pipeline = (
    Pipeline(environment_definition=ShellExecution())
    .then(ShellCommand("uname -sr", name="system"))
    .then(AtomicIncrementFlagTask("ready"))
    .then(WaitForExactFlagResultTask("go", FlagValues(text_value="now"), sleep_time=0.1, attempts=600))
    .then([Clock(name="clock"), Hash(200, name="hash")])
)
experiment = Experiment().map(pipeline, nodes)


def wait_for(status):
    while (information := client.get_experiment_status(NAME)).status is not status:
        if information.status is ExperimentStatus.FINISHED:
            raise SystemExit(f"It ended too early: {information.execution_result}")
        time.sleep(0.1)
    return information


# %% Prepare, start
if NAME in client.get_experiments():
    if client.get_experiment_status(NAME).status is not ExperimentStatus.FINISHED:
        client.cancel_experiment(NAME)
        wait_for(ExperimentStatus.FINISHED)
    client.delete_experiment(NAME)
client.prepare_experiment(experiment, NAME)
prepared = wait_for(ExperimentStatus.READY).experiment
assert prepared is not None
assert all(deployment.prepared for deployment in prepared), [str(deployment.error) for deployment in prepared]
client.start_execution(NAME)

# %% All there? Go!
while True:
    try:
        if client.get_flag_values(NAME, "ready").int_value == len(nodes):
            break
    except RemoteClientException:
        pass  # nobody has counted yet
    time.sleep(0.1)
client.set_flag_values(NAME, "go", FlagValues(text_value="now"))
finished = wait_for(ExperimentStatus.FINISHED)

# %% What came of it
clocks, hashes = [], []
for told in finished.execution_result:
    if told.result is None:
        raise SystemExit(f"{told.node.name}: {told.error}")
    outcome, log = told.result
    if not is_successful(outcome):
        raise SystemExit(f"{told.node.name}: {outcome}\n{''.join(log)}")
    values = {task: results[-1].unwrap() for task, results in outcome.unwrap().items()}
    clocks.append(values["clock"])
    hashes.append(values["hash"])
    system = values["system"]
    system = system.decode().strip() if isinstance(system, bytes) else str(system).strip()
    print(f"  {told.node.name:12} {system:24} late by {values['clock']:6.2f} ms   {values['hash']:5} MB/s")
late, speed = statistics.median(clocks), statistics.median(hashes)
print(f"Median of {len(clocks)}: late by {late:.2f} ms, {speed:.0f} MB/s each, all at once.")

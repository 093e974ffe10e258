"""DockerImage deployments of the released client: built for it, and an image that has netunicorn's executor; both run in pods."""

import asyncio
from collections.abc import AsyncIterator, Callable

import netunicorn_venv
import pytest
from notebooks import Notebook
from unicorn_devcluster import images
from unicorn_devcluster.demo import installation
from unicorn_devcluster.stack import ROOT, Stack
from unicorn_store import connect
from user_parts import account

pytestmark = [pytest.mark.cluster, pytest.mark.pods, pytest.mark.timeout(600)]  # a build fetches packages from PyPI


@pytest.fixture
async def stack(make_stack: Callable[..., Stack]) -> Stack:
    """As the demo has it: images for the client are built on `demo-base`. ada is at home where the Connectors are."""
    made = await asyncio.to_thread(make_stack, "docker-images", webhook=True)
    await asyncio.to_thread(made.add_user_gateway, installation.user_settings(images.recorded(made.cluster)))
    run, home = made.cluster.run, made.namespaces[0]
    run("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "manifests" / "base" / "roles.yaml"))
    run("create", "rolebinding", "ada-runs", "-n", home, "--clusterrole=unicorn-user", "--user=netunicorn:ada")
    store = await connect(made.dsn, application_name="unicorn-test")
    try:
        await account(store, "ada", namespace=home)
    finally:
        await store.close()
    return made


@pytest.fixture
async def book(stack: Stack) -> AsyncIterator[Notebook]:
    notebook = await Notebook.open(netunicorn_venv.python())
    try:
        await notebook.log_in(stack.user_url, ada="ada")
        yield notebook
    finally:
        await notebook.close()


async def test_in_an_image_that_is_built_and_in_one_that_exists(stack: Stack, book: Notebook) -> None:
    prebuilt = await asyncio.to_thread(netunicorn_venv.image, stack.cluster)
    told = await book(f"""
def inside(image=None):
    return Pipeline(environment_definition=DockerImage(image=image)).then(ShellCommand("echo $HOSTNAME", name="where"))

nodes = on(ada, 3, "kubernetes")
experiment = Experiment()
for node, image in zip(nodes, (None, None, {prebuilt!r})):
    experiment.append(node, inside(image))
ada.prepare_experiment(experiment, "images")
information = wait(ada, "images", ExperimentStatus.READY, seconds=400)
prepared = [(one.prepared, str(one.error)) for one in information.experiment]
ada.start_execution("images")
information = wait(ada, "images", ExperimentStatus.FINISHED, seconds=120)
assert all(one.result for one in information.execution_result), [str(one.error) for one in information.execution_result]
said = [one.result[0].unwrap()["where"][0].unwrap() for one in information.execution_result]
result = [prepared, [text.decode() if isinstance(text, bytes) else text for text in said]]
""")
    prepared, said = told
    assert prepared == [[True, "None"]] * 3
    assert len(set(said)) == 3
    assert all(name.startswith("unicorn-") for name in said), "each in a pod of its own"
    builds = await _builds(stack)
    assert builds == 1, "two deployments with one environment"


async def _builds(stack: Stack) -> int:
    store = await connect(stack.dsn, application_name="unicorn-test")
    try:
        async with store.connection() as connection:
            count: int = await connection.fetchval("SELECT sum(run) FROM unicorn.environment_build")
            return count
    finally:
        await store.close()

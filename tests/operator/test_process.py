"""The process from outside: what it says when it cannot start, what it waits for, how it recovers."""

import asyncio
import signal
import socket
from pathlib import Path

import pytest
import yaml
from unicorn_core.errors import ApiRefused, ApiUnavailable
from unicorn_kube import KubeClient
from unicorn_kube.resource import CONFIG_MAPS, CONNECTORS, PIPELINES, SECRETS, TARGET_NODES, VALIDATING_WEBHOOKS
from unicorn_operator.admission import configuration_name, unregister
from unicorn_operator.cache import Caches
from unicorn_operator.key import Key
from unicorn_operator.queue import WorkQueue
from unicorn_operator.resync import fill
from unicorn_operator.watching import Inbox

from .conftest import eventually

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"UNICORN_DATABASE_URL": ""}, "UNICORN_DATABASE_URL: no database is named"),
        ({"UNICORN_DATABASE_URL": "mysql://x/y"}, "UNICORN_DATABASE_URL: not a postgresql:// URL"),
        ({"KUBECONFIG": "/nowhere"}, "cannot read /nowhere"),
        ({"UNICORN_WORKERS": "many"}, "UNICORN_WORKERS"),
        ({"UNICORN_RESYNC_INTERVAL": "soon"}, "UNICORN_RESYNC_INTERVAL"),
        ({"UNICORN_LOG_FORMAT": "xml"}, "UNICORN_LOG_FORMAT"),
    ],
)
async def test_wrong_settings_are_one_readable_line(operators, environment, said):
    process = operators.start(**environment)
    assert await process.ends() == 2
    text = process.log.read_text()
    assert said in text
    assert text.startswith("unicorn-operator: ")
    assert text.count("\n") == 1, text


async def test_version_and_migration(operators):
    process = operators.start("--version")
    assert await process.ends() == 0
    first, second = operators.start("database", "migrate"), operators.start("database", "migrate")
    assert await first.ends() == await second.ends() == 0
    assert "0001-initial" in first.log.read_text() + second.log.read_text()
    process = operators.start("database", "restored")
    assert await process.ends() == 0, process.log.read_text()


async def test_an_api_server_that_is_down_is_waited_for_with_its_reason(operators, api, tmp_path: Path):
    config = yaml.safe_load(Path(api.kubeconfig).read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{free.getsockname()[1]}"
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    process = operators.start(KUBECONFIG=str(path))
    await process.says("waiting for the Kubernetes API")
    status, text = process.probe("/readyz")
    assert status == 503
    assert "the Kubernetes API" in text
    assert process.probe("/healthz")[0] == 200, "to start it anew would help nobody"
    assert process.popen.poll() is None


async def test_a_database_that_is_down_is_waited_for_with_its_reason(operators):
    process = operators.start(UNICORN_DATABASE_URL="postgresql://nobody:secret-word@127.0.0.1:1/nothing")
    await process.says("waiting for PostgreSQL")
    assert process.probe("/readyz")[0] == 503
    assert "secret-word" not in process.log.read_text()


async def test_a_database_that_goes_away_and_comes_back(operators, lab, postgres):
    process = operators.start()
    await process.says('"leading"')
    postgres.stop()
    try:
        await process.says("no news from PostgreSQL")
        await lab.connector(config={"nodes": 1})
        await lab.reaches(CONNECTORS, "campus", "InventorySynced", "True")
        assert process.probe("/readyz")[0] == 503
    finally:
        postgres.restart()
    await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")

    async def ready():
        return process.probe("/readyz")[0] == 200

    await eventually(ready, "it is ready again")
    assert process.popen.poll() is None


async def test_metrics_and_keys(operators, lab):
    process = operators.start()
    await process.says('"leading"')
    await lab.connector(config={"nodes": 1})
    await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
    status, text = process.probe("/metrics")
    assert status == 200
    for name in (
        'unicorn_api_requests_total{method="PATCH",resource="targetnodes"}',
        'unicorn_objects{kind="TargetNode"} 1.0',
        'unicorn_queue_depth{state="ready"}',
        'unicorn_reconcile_seconds_count{kind="Connector",outcome="Done"}',
    ):
        assert name in text, name
    assert "private.pem" in (await lab.get(SECRETS, "unicorn-signing-key"))["data"]
    assert "public.json" in (await lab.get(CONFIG_MAPS, "unicorn-public-keys"))["data"]


async def test_an_api_server_that_is_restarted_is_found_again(operators, lab, api):
    if api.kind != "embedded":
        pytest.skip("the API server is not ours to restart")
    process = operators.start()
    await process.says('"leading"')
    await lab.connector(config={"nodes": 1})
    await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
    await asyncio.to_thread(api.restart, "kube-apiserver")

    async def answers():
        try:
            return await lab.kube.version()
        except ApiUnavailable:
            return None

    await eventually(answers, "the API server is back")
    if process.popen.poll() is not None:  # it was away for longer than a Lease lasts, on a slow machine
        assert process.popen.returncode == 4
        process = operators.start()  # as a Deployment does
    await lab.connector(config={"nodes": 2})
    await lab.reaches(TARGET_NODES, "campus.fake-1", "Ready", "True")
    await lab.kube.delete(CONNECTORS, lab.namespace, "campus")

    async def gone():
        return await lab.names(CONNECTORS) == []

    await eventually(gone, "the watches go on")
    assert process.popen.poll() is None


async def test_webhooks_are_served_and_the_end_of_the_process_ends_them(operators, lab, api):
    try:
        process = operators.start(
            UNICORN_WEBHOOK="true", UNICORN_WEBHOOK_PORT="0", UNICORN_WEBHOOK_URL=f"https://{api.host_address}"
        )
        await process.says("admission webhooks are served")
        with pytest.raises(ApiRefused, match=r"spec\.config\.nodez"):
            await lab.connector(config={"nodez": 3})
        await process.says('"leading"')
        await lab.connector(config={"nodes": 1})
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        assert process.probe("/readyz") == (200, "Leading\n")
        process.signal(signal.SIGTERM)
        assert await process.ends(10) == 0
    finally:
        await unregister(lab.kube, configuration_name(lab.namespace, [lab.namespace]))


async def test_a_standby_answers_admission_too(operators, lab, api):
    """Each replica that starts registers the port that it listens on; before a Service they would take turns."""
    environment = {"UNICORN_WEBHOOK": "true", "UNICORN_WEBHOOK_PORT": "0", "UNICORN_WEBHOOK_URL": f"https://{api.host_address}"}
    try:
        leader = operators.start(**environment)
        await leader.says('"leading"')
        await leader.says("admission webhooks are served")
        standby = operators.start(**environment)
        await standby.says("admission webhooks are served")
        registered = await lab.kube.get(VALIDATING_WEBHOOKS, None, configuration_name(lab.namespace, [lab.namespace]))
        port = registered["webhooks"][0]["clientConfig"]["url"].rsplit(":", 1)[1].partition("/")[0]
        assert f'"port": {port}' in standby.log.read_text()
        assert f'"port": {port}' not in leader.log.read_text()
        with pytest.raises(ApiRefused, match=r"spec\.config\.nodez"):
            await lab.connector(config={"nodez": 3})
        await lab.connector(config={"nodes": 1})
        await lab.reaches(TARGET_NODES, "campus.fake-0", "Ready", "True")
        assert not standby.said('"leading"'), "it stands by"
        assert standby.probe("/readyz")[0] == 200
    finally:
        for process in operators.started:
            process.signal(signal.SIGTERM)
            await process.ends(20)
        await unregister(lab.kube, configuration_name(lab.namespace, [lab.namespace]))


async def test_webhooks_without_an_address_are_refused_at_once(operators):
    process = operators.start(UNICORN_WEBHOOK="true")
    assert await process.ends() == 2
    assert "UNICORN_WEBHOOK_URL" in process.log.read_text().splitlines()[-1]


async def test_a_listing_mends_a_deletion_that_no_watch_showed(kube: KubeClient, lab):
    caches, queue = Caches(), WorkQueue()
    inbox = Inbox(caches, queue)
    await lab.apply("Pipeline", PIPELINES, "p", {"stages": [{"name": "s", "tasks": [{"name": "t", "run": "true"}]}]})
    await fill(kube, caches, inbox, (lab.namespace,))
    assert await queue.get() == Key("Pipeline", lab.namespace, "p")
    queue.done(Key("Pipeline", lab.namespace, "p"))

    async def missed():
        """The namespaces of other tests come and go meanwhile."""
        return [one for one in await fill(kube, caches, inbox, (lab.namespace,)) if not one.startswith("Namespace ")]

    assert await missed() == []
    await kube.delete(PIPELINES, lab.namespace, "p")
    assert await missed() == [f"Pipeline {lab.namespace}/p"]
    assert caches.pipelines.get(lab.namespace, "p") is None
    assert await queue.get() == Key("Pipeline", lab.namespace, "p"), "its pass sees that it is gone"

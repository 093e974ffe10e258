"""Whatever a task gives comes back equal, also where it looks like one of our own events."""

import json

from executor_graphs import chain
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

OUR_KEYS = ("kind", "blob", "text", "value", "notJson", "repr", "task", "run", "boot", "first", "events", "stored", "Log")
keys = st.sampled_from(OUR_KEYS) | st.text(max_size=5)
texts = st.sampled_from(('"blob":"', '{"kind":"Log"', '{"boot":', "\\u0000", "\n")) | st.text(max_size=20)
plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(given=st.lists(values, min_size=1, max_size=25))
async def test_values_come_back_equal(start, faults, given):
    tasks = {
        f"t{number}": {"script": f"import json\nresult = json.loads({json.dumps(value)!r})"} for number, value in enumerate(given)
    }
    agent = await start(chain(**tasks))
    result = await agent.result()
    assert [result["results"][task][0]["value"] for task in tasks] == given
    ends = {event["task"]: event["value"] for event in await agent.events("TaskFinished")}
    assert [ends[task] for task in tasks] == given


async def test_a_value_that_names_a_blob_is_no_event_that_does(start, gateway):
    agent = await start(chain(a={"script": "result = {'blob': 'x'}"}, b={"script": "result = [{'blob': 'y' * 20_000}]"}))
    result = await agent.result()
    assert result["results"]["a"][0]["value"] == {"blob": "x"}
    assert result["results"]["b"][0]["value"] == [{"blob": "y" * 20_000}]

"""Pipelines: stages become graphs, placeholders become values."""

import ast
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unicorn_core.errors import Refused
from unicorn_core.pipelines import RenderContext, check_params, compile_pipeline, param_values, placeholders, render
from unicorn_core.resources import ParamAssignment, PipelineSpec, load
from unicorn_graph import Scheduler, parse, problems


def a_task(name, **fields):
    return {"name": name, **(fields or {"run": "true"})}


def staged(*stages, **spec):
    return load(PipelineSpec, {"stages": [{"name": f"s{i}", "tasks": list(tasks)} for i, tasks in enumerate(stages)], **spec})


def one(**fields):
    """The compiled document of a pipeline of one task."""
    return compile_pipeline(staged([a_task("t", **fields)]))


def edges(document):
    return {(edge["from"], edge["to"]) for edge in document["edges"]}


@pytest.mark.parametrize(
    ("stages", "wanted", "because"),
    [
        ([["a"]], {("root", "a")}, "one task follows root"),
        ([["a", "b"]], {("root", "a"), ("root", "b")}, "a stage starts side by side"),
        ([["a"], ["b", "c"]], {("root", "a"), ("a", "b"), ("a", "c")}, "one before many needs no meeting"),
        ([["a", "b"], ["c"]], {("root", "a"), ("root", "b"), ("a", "c"), ("b", "c")}, "nor do many before one"),
        (
            [["a", "b"], ["c", "d"]],
            {("root", "a"), ("root", "b"), ("a", "s0/end"), ("b", "s0/end"), ("s0/end", "c"), ("s0/end", "d")},
            "many before many meet between",
        ),
    ],
)
def test_stages(stages, wanted, because):
    document = compile_pipeline(staged(*[[a_task(name) for name in names] for names in stages]))
    assert edges(document) == wanted, because
    assert problems(parse(document)) == []


def test_tasks_in_the_form_of_the_executor_protocol():
    document = compile_pipeline(
        staged(
            [
                a_task("ping", run="ping x", timeout="1m30s", retry={"limit": 2, "backoff": "500ms"}),
                a_task("fetch", python={"object": "m:C", "kwargs": {"n": 1}}),
                a_task("note", script="result = 1"),
                a_task("meet", flag={"barrier": "everyone", "timeout": "10m"}),
                a_task("count", flag={"add": "n"}),
                a_task("wait", flag={"wait": "n", "atLeast": 3}, retry={"limit": 1}),
            ],
            earlyStopping=False,
            reportResults=False,
        )
    )
    assert document["tasks"] == {
        "ping": {"run": "ping x", "timeoutSeconds": 90.0, "retry": {"limit": 2, "backoffSeconds": 0.5}},
        "fetch": {"python": {"object": "m:C", "args": [], "kwargs": {"n": 1}}},
        "note": {"script": "result = 1"},
        "meet": {"flag": {"barrier": "everyone"}, "timeoutSeconds": 600.0},
        "count": {"flag": {"add": "n", "amount": 1}},
        "wait": {"flag": {"wait": "n", "atLeast": 3}, "retry": {"limit": 1, "backoffSeconds": 0.0}},
    }
    assert (document["earlyStopping"], document["reportResults"]) == (False, False)


def test_a_graph_goes_through_as_it_is():
    graph = {
        "tasks": [a_task("a"), {"name": "join"}],
        "edges": [
            {"from": "root", "to": "a"},
            {"from": "a", "to": "join", "traverseOn": "Failure"},
            {"from": "join", "to": "root", "weak": True, "limit": 3},
        ],
    }
    document = compile_pipeline(load(PipelineSpec, {"graph": graph}))
    assert document["tasks"] == {"a": {"run": "true"}, "join": {}}
    assert document["edges"] == graph["edges"]


def test_what_the_client_serialized_is_not_compiled():
    graph = compile_pipeline(load(PipelineSpec, {"serialized": {"sha256": "0" * 64}}))
    assert graph == {"serialized": {"sha256": "0" * 64}}
    assert render(graph, RenderContext()) == graph


CONTEXT = RenderContext(
    params={"server": "10.0.0.1", "odd": "a b'; $(rm -rf /) $(node.name)"},
    node_name="rpi 1",
    node_properties={"location": "lab", "cores": 4, "tags": ["x"], "fast": True, "none": None},
    executor_index=3,
    experiment_name="hello",
)


@pytest.mark.parametrize(
    ("fields", "rendered", "because"),
    [
        ({"run": "ping $(params.server)"}, {"run": "ping 10.0.0.1"}, "a plain word stays plain"),
        ({"run": "echo $(node.name)"}, {"run": "echo 'rpi 1'"}, "quoted for the shell"),
        ({"run": "echo $(executor.index) $(experiment.name)"}, {"run": "echo 3 hello"}, "numbers are written out"),
        ({"run": "echo $(date) ${x} $(node -v)"}, {"run": "echo $(date) ${x} $(node -v)"}, "the shell's own stays"),
        ({"run": "echo $$(params.server)"}, {"run": "echo $(params.server)"}, "two dollars are one"),
        ({"run": "echo $$$(params.server)"}, {"run": "echo $$(params.server)"}, "the last two are one"),
        ({"run": "$(node.properties.cores)"}, {"run": "4"}, "a number of a property"),
        ({"run": "$(node.properties.tags)"}, {"run": "'[\"x\"]'"}, "a list is JSON"),
        ({"script": "result = $(node.name)"}, {"script": "result = 'rpi 1'"}, "a Python literal"),
        ({"script": "x = $(node.properties.fast)"}, {"script": "x = True"}, "a Python boolean"),
        ({"script": "x = $(executor.index) + 1"}, {"script": "x = 3 + 1"}, "a Python number"),
        (
            {"python": {"object": "m:f", "args": ["$(node.name)!", 1], "kwargs": {"a": {"b": ["$(params.server)"]}}}},
            {"python": {"object": "m:f", "args": ["rpi 1!", 1], "kwargs": {"a": {"b": ["10.0.0.1"]}}}},
            "text elsewhere, at any depth",
        ),
        ({"flag": {"set": "at-$(executor.index)", "text": "$(node.name)"}}, {"flag": {"set": "at-3", "text": "rpi 1"}}, "flags"),
    ],
)
def test_render(fields, rendered, because):
    assert render(one(**fields), CONTEXT)["tasks"]["t"] == rendered, because


def test_values_are_not_replaced_again():
    document = render(one(script="x = $(params.odd)"), CONTEXT)
    assert document["tasks"]["t"]["script"] == f"x = {CONTEXT.params['odd']!r}"


def test_rendering_leaves_the_compiled_document_alone():
    document = one(python={"object": "m:f", "kwargs": {"a": "$(node.name)"}})
    render(document, CONTEXT)
    assert document["tasks"]["t"]["python"]["kwargs"] == {"a": "$(node.name)"}


def test_a_property_that_the_node_lacks():
    with pytest.raises(Refused) as refused:
        render(one(run="echo $(node.properties.rack) $(node.properties.row)"), CONTEXT)
    problem, _ = refused.value.problems
    assert problem.path == "tasks.t.run"
    assert "node rpi 1 has no such property" in str(problem)
    assert "cores, fast, location, none, tags" in str(problem)


def test_placeholders_are_listed_with_their_places():
    document = compile_pipeline(
        staged([a_task("a", run="$(params.x) $(date) $$(params.y)"), a_task("b", flag={"set": "f", "text": "$(node.name)"})])
    )
    assert [(found.path, found.name) for found in placeholders(document)] == [
        ("tasks.a.run", "params.x"),
        ("tasks.b.flag.text", "node.name"),
    ]


def test_params():
    spec = staged([a_task("t")], params=[{"name": "server"}, {"name": "port", "default": "80"}])
    given_one = [ParamAssignment(name="server", value="x")]
    assert check_params(given_one, spec) == []
    assert param_values(given_one, spec) == {"server": "x", "port": "80"}
    (missing,) = check_params([], spec, at="spec.deployments[0].params")
    assert str(missing).startswith("spec.deployments[0].params: parameter server has neither a value nor a default")
    (unknown,) = check_params([*given_one, ParamAssignment(name="sever", value="x")], spec)
    assert (unknown.path, unknown.value) == ("spec.params[1].name", "sever")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_value_is_one_word_and_one_literal(value):
    context = RenderContext(params={"x": value})
    run = render(one(run="echo $(params.x)"), context)["tasks"]["t"]["run"]
    assert shlex.split(run, posix=True) == ["echo", value]
    script = render(one(script="x = $(params.x)"), context)["tasks"]["t"]["script"]
    assert ast.literal_eval(script.removeprefix("x = ")) == value


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_each_stage_starts_when_the_one_before_has_ended(sizes, random):
    spec = staged(*[[a_task(f"t{stage}-{number}") for number in range(size)] for stage, size in enumerate(sizes)])
    scheduler = Scheduler(parse(compile_pipeline(spec)))
    begun = scheduler.start()
    order = []
    while not scheduler.is_done:
        running = scheduler.running
        stages = {task[1] for task in running.values()}
        assert len(stages) == 1, "two stages run at a time"
        assert {run.task for run in begun} <= set(running.values())
        number = random.choice(sorted(running))
        order.append(running[number])
        begun = scheduler.finished(number, "Success")
    assert sorted(order) == sorted(task.name for stage in spec.stages for task in stage.tasks)
    assert [task[1] for task in order] == sorted(task[1] for task in order)
    assert scheduler.outcome.outcome == "Success"

"""Short ways to write graphs for tests."""


def chain(**tasks):
    """Tasks one after the other; names by keyword."""
    names = list(tasks)
    edges = [{"from": source, "to": target} for source, target in zip(["root", *names], names, strict=False)]
    return {"tasks": tasks, "edges": edges, "earlyStopping": True, "reportResults": True}


def parallel(**tasks):
    """Tasks side by side, then a join."""
    edges = [edge for name in tasks for edge in ({"from": "root", "to": name}, {"from": name, "to": "join"})]
    return {"tasks": {**tasks, "join": {}}, "edges": edges, "earlyStopping": True, "reportResults": True}


def python(path, *args, **kwargs):
    return {"python": {"object": path, "args": list(args), "kwargs": kwargs}}

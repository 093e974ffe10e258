"""The rules of docs/execution-graphs.md once more, written naively: everything is found out anew from what has happened so far.

Shares nothing with unicorn_graph.scheduler but the words. The history has entries ("start", node), ("end", node, outcome) and
("follow", edge index).
"""


class NaiveModel:
    def __init__(self, graph):
        self.graph = graph
        self.history = []
        self.stopped = False
        self.cancelled = False

    # -- what the history says

    def left(self, index, upto=None):
        """Whether an edge is still there after the first `upto` entries."""
        limit = self.graph.edges[index].limit
        return limit is None or self.history[:upto].count(("follow", index)) < limit

    def strong(self, upto=None):
        return [(e.source, e.target) for i, e in enumerate(self.graph.edges) if not e.weak and self.left(i, upto)]

    def below(self, node, upto=None):
        """All nodes at the end of a path of strong edges from `node`."""
        pairs = self.strong(upto)
        found = {target for source, target in pairs if source == node}
        while True:
            more = found | {target for source, target in pairs if source in found}
            if more == found:
                return found
            found = more

    def last_reset(self, node):
        """When the node last started, or something above it (as the edges were then) started again; -1: never."""
        starts = [(i, entry[1]) for i, entry in enumerate(self.history) if entry[0] == "start"]
        resets = [
            i for i, other in starts if other == node or (("start", other) in self.history[:i] and node in self.below(other, i))
        ]
        return max(resets, default=-1)

    def running(self):
        return {
            entry[1]
            for i, entry in enumerate(self.history)
            if entry[0] == "start" and not any(later[0] == "end" and later[1] == entry[1] for later in self.history[i:])
        }

    def has_finished(self, node):
        return any(entry[0] == "end" and entry[1] == node for entry in self.history[self.last_reset(node) + 1 :])

    def is_due(self, node):
        if node == "root" and not self.history:
            return True
        followed = [
            i for i, entry in enumerate(self.history) if entry[0] == "follow" and self.graph.edges[entry[1]].target == node
        ]
        return bool(followed) and max(followed) > self.last_reset(node)

    def missing(self, node):
        return [source for source, target in self.strong() if target == node and not self.has_finished(source)]

    def ready(self):
        return {node for node in self.graph.nodes if self.is_due(node) and node not in self.running() and not self.missing(node)}

    # -- what happens next

    def begin(self):
        """Starts what can start; the tasks among it."""
        begun = []
        while not self.stopped and not self.cancelled:
            ready, running = self.ready(), self.running()
            able = [node for node in self.graph.nodes if node in ready and not self.below(node) & (ready | running)]
            if not able:
                break
            node = able[0]
            self.history.append(("start", node))
            if self.graph.is_task(node):
                begun.append(node)
            else:
                self.history.append(("end", node, None))
                self.follow(node, None)
        return begun

    def follow(self, node, outcome):
        default = "Success" if self.graph.early_stopping else "Any"
        ways = [
            i
            for i, e in enumerate(self.graph.edges)
            if e.source == node and self.left(i) and (outcome is None or (e.traverse_on or default) in ("Any", outcome))
        ]
        self.history += [("follow", i) for i in ways]
        return ways

    def end(self, node, outcome):
        self.history.append(("end", node, outcome))
        if self.stopped or self.cancelled:
            return []
        if not self.follow(node, outcome) and outcome == "Failure" and self.graph.early_stopping:
            self.stopped = True
        return self.begin()

    def verdict(self):
        """None while something runs, then the outcome and why."""
        if self.running():
            return None
        if self.cancelled:
            return ("Failure", "Cancelled")
        if any(entry[0] == "end" and entry[2] == "Failure" for entry in self.history):
            return ("Failure", "TaskFailed")
        if any(self.is_due(node) for node in self.graph.nodes):
            return ("Failure", "Deadlock")
        return ("Success", None)

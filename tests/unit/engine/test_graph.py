"""The graph of a run, and what is made ready of it."""

from batchflow import ArrayBatch, Dataset, action
from batchflow.engine import ReadyGraph, RunGraph, RunOptions


class Numbers(ArrayBatch):
    @action
    def take_in(self, other):
        self.data = self.data + other.data
        return self

    @action
    def add(self, value):
        self.data = self.data + value
        return self


def graph_of(pipeline):
    options = RunOptions.parse(2, {"shuffle": False, "seed": 1}, endless=False)
    return RunGraph(pipeline._program(), options)


def test_a_prefix_is_made_ready_as_a_copy():
    inner = Dataset.from_arrays(Numbers, data=[10, 20, 30, 40]).p.add(0)
    outer = Dataset.from_arrays(Numbers, data=[1, 2, 3, 4])
    graph = graph_of(outer.p.join(inner).take_in())
    plain = dict(graph.prefix.__dict__)
    graph.marks_epochs = True
    ready = ReadyGraph(graph, None)
    assert graph.prefix.__dict__ == plain
    assert ready.prefix is not graph.prefix
    assert (graph.prefix.marks_epochs, ready.prefix.marks_epochs) == (False, True)


def test_one_graph_is_made_ready_twice_without_a_trace():
    graph = graph_of(Dataset.from_arrays(Numbers, data=[1, 2, 3, 4]).p.add(1))
    ticket = graph.schedule.ticket(1)
    made = [ReadyGraph(graph, None).prefix.make(ticket) for _ in range(2)]
    assert [batch.data.tolist() for batch in made] == [[3, 4], [3, 4]]
    assert [batch._closes for batch in made] == [False, False]

"""A source of the user's: what it must have, what becomes of what it reads, what errors say."""

import numpy as np
import pytest
from kit import Loose, Rows

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    Source,
)
from batchflow.testing import digest


class Squares:
    def __init__(self, n=20):
        self._n = n

    def __len__(self):
        return self._n

    def read(self, positions):
        return {"x": positions**2, "y": [f"item {i}" for i in positions]}


def test_an_object_with_len_and_read_is_a_source():
    assert isinstance(Squares(), Source)
    assert not isinstance([1, 2], Source)


@pytest.mark.parametrize("cls", [Rows, Loose])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": 1},
        {"shuffle": 1, "prefetch": 3},
        {"shuffle": 1, "executor": "processes", "n_workers": 1},
    ],
    ids=["direct", "shuffled", "threads", "processes"],
)
def test_batches_have_the_rows_of_their_items(cls, options):
    dataset = Dataset([f"id {i}" for i in range(20)], cls, source=Squares())
    seen = []
    for batch in dataset.gen_batch(6, **options):
        numbers = [int(item.split()[1]) for item in batch.indices]
        assert batch.x.tolist() == [i**2 for i in numbers]
        assert list(batch.y) == [f"item {i}" for i in numbers]
        seen += numbers
    assert sorted(seen) == list(range(20))


def test_subsets_splits_and_shards_read_their_own_rows():
    dataset = Dataset(20, Rows, source=Squares())
    subset = dataset.create_subset([7, 3])
    assert subset.next_batch(2).x.tolist() == [49, 9]
    test = dataset.split(0.5, shuffle=1).test
    assert [batch.x.tolist() for batch in test.gen_batch(10)] == [(test.indices**2).tolist()]
    shard = dataset.shard(1, 2)
    assert next(shard.gen_batch(10)).x.tolist() == [i**2 for i in range(10, 20)]
    assert dataset.create_batch([5]).x.tolist() == [25]


def test_the_stream_is_the_same_at_every_parallelism():
    pipeline = Dataset(20, Rows, source=Squares()).p.filter(B.x % 3 != 0).rebatch(4)

    def result(**options):
        return digest(*(batch.x for batch in pipeline.gen_batch(3, shuffle=1, **options)))

    assert result() == result(prefetch=4) == result(executor="processes", n_workers=2)


def test_a_batch_class_without_components_takes_data():
    class Numbers:
        def __len__(self):
            return 5

        def read(self, positions):
            return {"data": positions * 2}

    assert Dataset(5, ArrayBatch, source=Numbers()).next_batch(3).data.tolist() == [0, 2, 4]


def test_what_a_batch_does_to_its_rows_does_not_reach_a_source_that_gives_views():
    class Views:
        values = np.arange(6)

        def __len__(self):
            return 6

        def read(self, positions):
            rows = self.values[positions[0] : positions[-1] + 1]
            rows.flags.writeable = False
            return {"x": rows}

    for batch in Dataset(6, Rows, source=Views()).gen_batch(3):
        batch.x[:] = 99
    assert Views.values.tolist() == list(range(6))


class Wrong(Squares):
    def __init__(self, result):
        super().__init__()
        self._result = result

    def read(self, positions):
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


@pytest.mark.parametrize(
    ("result", "kind", "message"),
    [
        ([1, 2], ArgumentTypeError, "must return a mapping from components to rows, got list"),
        ({"z": [1]}, ArgumentTypeError, "a Rows has no component 'z'"),
        ({"x": np.arange(3)}, ArgumentValueError, r"expected 4 rows of 'x', got 3"),
        ({"x": 5}, ArgumentValueError, r"expected 4 rows of 'x', got None"),
    ],
)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_a_wrong_read_is_refused_with_its_positions(result, kind, message, prefetch):
    dataset = Dataset(20, Rows, source=Wrong(result))
    with pytest.raises(kind, match=message) as caught:
        next(dataset.gen_batch(4, prefetch=prefetch))
    assert "at the positions [0, 1, 2, 3]" in str(caught.value)
    assert any("batch 0, epoch 0" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    "options", [{}, {"prefetch": 2}, {"executor": "processes", "n_workers": 1}]
)
def test_a_read_that_fails_keeps_its_exception_with_positions_and_ids(options):
    dataset = Dataset([*"abcdefghijklmnopqrst"], Rows, source=Wrong(OSError("no such shard")))
    with pytest.raises(OSError, match="no such shard") as caught:
        next(dataset.gen_batch(4, **options))
    notes = "\n".join(caught.value.__notes__)
    assert "was read, at the positions [0, 1, 2, 3]" in notes
    assert "'a', 'b', 'c', 'd'" in notes
    assert "replay(0" in notes


@pytest.mark.parametrize(
    "source", [[1, 2], {"x": 1}, np.arange(5), object()], ids=lambda s: type(s).__name__
)
def test_what_is_no_source_is_refused(source):
    with pytest.raises(ArgumentTypeError, match=r"source\.read\(positions\)"):
        Dataset(5, Rows, source=source)


def test_a_source_of_another_length_is_refused():
    with pytest.raises(ArgumentValueError, match="the index has 5 items, the source 20 rows"):
        Dataset(5, Rows, source=Squares())


def test_preloaded_and_source_exclude_each_other():
    with pytest.raises(ArgumentTypeError, match="give preloaded or source"):
        Dataset(20, Rows, preloaded={"x": np.arange(20)}, source=Squares())

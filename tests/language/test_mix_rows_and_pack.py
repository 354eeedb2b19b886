"""Rows of several batches mixed, and several items in one row."""

import numpy as np
import pytest
from kit import Rows, rows

from batchflow import ArrayBatch, Batch, Dataset, SkipBatch, StopPipeline, action
from batchflow.errors import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    UnknownNameError,
)


class Growing(Rows):
    @action(expands=3)
    def triple(self):
        return self.repeat(3)

    @action
    def skip(self, number):
        if self.number == number:
            raise SkipBatch
        return self

    @action
    def stop(self, number):
        if self.number == number:
            raise StopPipeline
        return self


def sizes(run):
    return [len(batch) for batch in run]


def items(run):
    return [[item, *batch.source_ids.tolist()] for batch in run for item in [batch.epoch]]


def test_each_row_comes_once_in_its_epoch_and_batches_keep_their_sizes():
    pipeline = rows(10, cls=Growing).p.triple().mix_rows(2)
    batches = list(pipeline.gen_batch(4, n_epochs=2, seed=1))
    assert sizes(batches) == [12, 12, 6] * 2
    for epoch in (0, 1):
        of_epoch = [b for b in batches if b.epoch == epoch]
        assert sorted(i for b in of_epoch for i in b.source_ids) == sorted([*range(10)] * 3)
        assert {*of_epoch[0].source_ids} | {*of_epoch[1].source_ids} == {*range(8)}
        assert {*of_epoch[2].source_ids} == {8, 9}
    assert all(b.x.tolist() == b.source_ids.tolist() for b in batches)
    assert len({*batches[0].source_ids}) > 4  # rows of both batches
    assert [b.source_ids.tolist() for b in batches[:3]] != [
        b.source_ids.tolist() for b in batches[3:]
    ]


def test_source_numbers_and_length_are_known_and_only_a_window_is_read_ahead():
    seen = []

    class Seen(Growing):
        @action
        def note(self):
            seen.append(self.number)
            return self

    pipeline = rows(12, cls=Seen).p.note().mix_rows(2)
    run = pipeline.gen_batch(2)
    assert len(run) == 6
    assert next(run).source_numbers == (0, 1)
    assert seen == [0, 1]
    assert len(pipeline.rebatch(5).gen_batch(2)) == 3


def test_it_is_another_order_with_another_seed_and_the_same_with_the_same():
    def order(**options):
        return items(rows(10, cls=Growing).p.triple().mix_rows(3).gen_batch(4, **options))

    assert order(seed=1) == order(seed=1, prefetch=3) != order(seed=2)
    assert order(seed=1, n_epochs=2)[3:] == order(seed=1, first_epoch=1)


def test_a_skipped_batch_and_a_stop_leave_what_was_read():
    skipped = rows(8, cls=Growing).p.skip(3).mix_rows(3)
    assert sizes(skipped.gen_batch(2, n_epochs=2)) == [2] * 7
    assert [len(list(e)) for e in skipped.gen_batch(2, n_epochs=2).epochs()] == [3, 4]
    stopped = rows(8, cls=Growing).p.stop(1).mix_rows(3)
    assert sizes(stopped.gen_batch(2)) == [2]


def test_a_merge_of_the_class_that_loses_items_is_refused():
    class Losing(Growing):
        @classmethod
        def merge(cls, batches):
            return super().merge(batches[:1])

    with pytest.raises(ActionResultError, match="made 2 items of 4"):
        list(rows(4, cls=Losing).p.mix_rows(2).gen_batch(2))


# ---- pack


class Texts(Batch):
    components = "tokens", "labels", "segments", "places"


def texts(lengths, kind=list, cls=Texts):
    tokens = [kind(range(10 * i, 10 * i + n)) for i, n in enumerate(lengths)]
    column = np.empty(len(tokens), dtype=object)
    column[:] = tokens
    ids = [f"t{i}" for i in range(len(lengths))]
    return Dataset.from_arrays(cls, ids, tokens=column, labels=np.arange(len(lengths)))


def packed(dataset, size=100, **options):
    return list(dataset.p.pack(**options).gen_batch(size))


def test_items_go_into_the_first_row_with_room():
    (batch,) = packed(texts([3, 4, 1, 2]), length=5, src="tokens", segment="segments")
    assert batch.tokens.tolist() == [[0, 1, 2, 20, 0], [10, 11, 12, 13, 0], [30, 31, 0, 0, 0]]
    assert batch.segments.tolist() == [[1, 1, 1, 2, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert [list(map(int, row)) for row in batch.labels] == [[0, 2], [1], [3]]
    assert batch.source_ids.tolist() == [("t0", "t2"), ("t1",), ("t3",)]
    assert batch.tokens.dtype == int


def test_places_in_the_item_and_another_value():
    (batch,) = packed(texts([2, 1]), length=4, src="tokens", position="places", value=-1)
    assert batch.tokens.tolist() == [[0, 1, 10, -1]]
    assert batch.places.tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("kind", [list, tuple, lambda r: np.array(r), lambda r: np.array(r) / 2])
def test_every_element_comes_once_whatever_the_batches(kind):
    lengths = np.random.default_rng(1).integers(1, 9, 50)
    dataset = texts(lengths, kind)
    for size, batch_size in ((1, 3), (7, None), (50, 1)):
        run = dataset.p.pack(8, "tokens", batch_size=batch_size, segment="segments").gen_batch(size)
        batches = list(run)
        assert {len(batch) for batch in batches[:-1]} <= {batch_size or size}
        got = [x for b in batches for x in b.tokens[b.segments > 0].tolist()]
        assert sorted(got) == sorted(x for item in dataset.p.next_batch(50).tokens for x in item)


def test_components_of_like_length_are_packed_alike():
    class Both(ArrayBatch):
        components = "tokens", "targets"

    tokens = np.empty(3, object)
    tokens[:] = [np.arange(n) for n in (2, 3, 1)]
    targets = np.empty(3, object)
    targets[:] = [np.ones((n, 2)) * n for n in (2, 3, 1)]
    dataset = Dataset.from_arrays(Both, tokens=tokens, targets=targets)
    (batch,) = packed(dataset, length=4, src=("tokens", "targets"))
    assert batch.targets.shape == (2, 4, 2)
    assert batch.targets[0, :, 0].tolist() == [2, 2, 1, 0]
    targets[1] = np.ones((1, 2))
    with pytest.raises(ArgumentValueError, match="different lengths: 3, 1"):
        packed(
            Dataset.from_arrays(Both, tokens=tokens, targets=targets),
            4,
            length=4,
            src=Both.components,
        )


def test_no_row_has_items_of_two_epochs_and_the_length_is_not_known():
    pipeline = texts([2, 2, 2]).p.pack(4, "tokens", batch_size=5)
    batches = list(pipeline.gen_batch(2, n_epochs=2))
    assert [(b.epoch, b.source_ids.tolist()) for b in batches] == [
        (epoch, [("t0", "t1"), ("t2",)]) for epoch in (0, 1)
    ]
    with pytest.raises(TypeError):
        len(pipeline.gen_batch(2))
    assert list(pipeline.gen_batch(2, drop_last=True)) == []


def test_long_items_are_an_error_or_cut_or_split_by_choice():
    dataset = texts([5, 1])
    with pytest.raises(ArgumentValueError, match="'t0' has 5 elements, and a row has 2") as e:
        packed(dataset, length=2, src="tokens")
    assert any("replay(0" in note for note in e.value.__notes__)
    (cut,) = packed(dataset, length=2, src="tokens", long="cut")
    assert cut.tokens.tolist() == [[0, 1], [10, 0]]
    (split,) = packed(dataset, length=2, src="tokens", long="split")
    assert split.tokens.tolist() == [[0, 1], [2, 3], [4, 10]]


def test_items_without_elements_change_no_dtype():
    for lengths in ([2, 0, 1], [0, 2, 1], [0, 0, 3]):
        for size in (1, 3):
            for batch in texts(lengths).p.pack(3, "tokens").gen_batch(size):
                assert batch.tokens.dtype == np.int64
    batch = texts([0, 3]).p.pack(3, "tokens", value=-1).next_batch(1)
    assert batch.tokens.tolist() == [[10, 11, 12]]
    (alone,) = packed(texts([0]), length=2, src="tokens", value=7)
    assert alone.tokens.tolist() == [[7, 7]]


def test_what_only_some_batches_have_is_none_for_the_items_of_others():
    class Some(Texts):
        @action
        def forget(self):
            if self.number != 1:
                self.labels = None
            return self

    run = texts([1, 1, 1], cls=Some).p.forget().pack(9, "tokens").gen_batch(1)
    assert [batch.labels.tolist() for batch in run] == [[[None, 1, None]]]


def test_elements_of_different_shapes_are_refused():
    column = np.empty(2, object)
    column[:] = [np.zeros((2, 3)), np.zeros(2)]
    with pytest.raises(ArgumentValueError, match=r"different shapes: \(\), \(3,\)"):
        packed(Dataset.from_arrays(Texts, tokens=column), length=9, src="tokens")


@pytest.mark.parametrize("value", [-1, 300, "x", None])
def test_a_value_that_the_elements_cannot_hold_is_refused(value):
    dataset = texts([2], lambda r: np.array(r, np.uint8))
    with pytest.raises(ArgumentValueError, match="elements are uint8"):
        packed(dataset, length=9, src="tokens", value=value)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"length": 9, "src": ("tokens", "tokens")}, ArgumentValueError, "named twice"),
        ({"length": 9, "src": "tokens", "segment": "tokens"}, ArgumentValueError, "named twice"),
        (
            {"length": 9, "src": "tokens", "segment": "places", "position": "places"},
            ArgumentValueError,
            "'places' is named twice",
        ),
        ({"length": 0, "src": "tokens"}, ArgumentValueError, "at least 1"),
        ({"length": 2.0, "src": "tokens"}, ArgumentTypeError, "whole number"),
        ({"length": 9, "src": 3}, ArgumentTypeError, "names a component"),
        ({"length": 9, "src": ()}, ArgumentTypeError, "names a component"),
        ({"length": 9, "src": "tokens", "long": "drop"}, ArgumentValueError, "long is"),
        ({"length": 9, "src": "tokens", "segment": 1}, ArgumentTypeError, "name components"),
        ({"length": 9, "src": "token"}, UnknownNameError, "Did you mean 'tokens'"),
        ({"length": 9, "src": "labels"}, ArgumentTypeError, "no elements"),
        ({"length": 9, "src": "tokens", "value": 0.5}, ArgumentValueError, "no value of 'tokens'"),
    ],
)
def test_wrong_arguments_are_refused(options, error, told):
    with pytest.raises(error, match=told):
        packed(texts([1, 2]), **options)


def test_mix_rows_takes_a_number_of_batches():
    with pytest.raises(ArgumentValueError, match="at least 1"):
        rows(4).p.mix_rows(0)

"""Described orders: which items an epoch shows, how often, and next to which others."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Balanced,
    Batch,
    Bucketed,
    Dataset,
    Shuffle,
    Weighted,
    action,
)
from batchflow.index.orders.weighted import _AliasTable
from batchflow.interop.indexed import IndexedFeed

N = 103
LABELS = (np.arange(N) % 10 == 0).astype(int)  # 92 and 11
LENGTHS = np.random.default_rng(0).geometric(0.02, N)


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.integers(5, size=len(self))
        return self

    @action
    def fail(self):
        1 / 0  # noqa: B018

    @action
    def add_joined(self, other):
        self.x = self.x + other.x
        return self


class Source:
    """Rows that are read by position, each at most once, in blocks."""

    def __init__(self, n, blocks=None):
        self.n, self.blocks = n, blocks

    def __len__(self):
        return self.n

    def read(self, positions):
        assert len(set(positions.tolist())) == len(positions)
        return {"x": positions * 10, "y": positions % 2}


DATASET = Dataset.from_arrays(Rows, x=np.arange(N) * 10, y=LABELS)
ORDERS = [
    Weighted(np.arange(N)),
    Weighted(np.arange(N), n=37),
    Weighted(np.arange(N), n=50, replacement=False),
    Balanced("y"),
    Balanced(LABELS, batch=(8, 4)),
    Bucketed(LENGTHS, window=40),
    Shuffle(10, window=3),
    Shuffle(10),
    Shuffle(200, seed=5),
]
REPEATING = [*ORDERS[:2], *ORDERS[3:5]]


def read(dataset=DATASET, batch_size=12, **options):
    return [b.source_ids.tolist() for b in dataset.gen_batch(batch_size, **options)]


def flat(batches):
    return [item for batch in batches for item in batch]


# ---- what all have in common


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_rows_are_those_of_the_source_ids(order):
    for batch in DATASET.gen_batch(12, shuffle=order, seed=1):
        assert batch.x.tolist() == (batch.source_ids * 10).tolist()


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_epochs_differ_and_a_later_one_can_be_the_first(order):
    both = read(shuffle=order, seed=1, n_epochs=2)
    half = len(both) // 2
    assert both[:half] != both[half:]
    assert read(shuffle=order, seed=1, first_epoch=1) == both[half:]


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_batch_is_replayed_alone(order):
    batches = read(shuffle=order, seed=1, n_epochs=2)
    number = len(batches) // 2 + 1
    again = DATASET.p.replay(number, batch_size=12, shuffle=order, seed=1)
    assert again.source_ids.tolist() == batches[number]


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_shards_together_show_an_epoch(order):
    shards = [
        flat(read(DATASET.shard(k, 3), shuffle=order, seed=1, drop_last=False)) for k in range(3)
    ]
    assert sorted(flat(shards)) == sorted(flat(read(shuffle=order, seed=1)))


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_a_feed_has_as_many_batches_as_come(order):
    feed = DATASET.p.feed(12, (B.x,), shuffle=order, seed=1)
    expected = read(shuffle=order, seed=1)
    assert len(feed) == len(expected)
    assert [(x // 10).tolist() for ((x,),) in feed] == expected


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_keras_reads_the_same_batches_by_index(order):
    feed = DATASET.p.feed(12, (B.x,), shuffle=order, seed=1)
    by_index = IndexedFeed(feed._program, feed._options)
    expected = read(shuffle=order, seed=1)
    assert len(by_index) == len(expected)
    by_index.begin_epoch()
    for place in (2, 0, 1):
        ((x,),) = by_index.read(place)
        assert (x // 10).tolist() == expected[place]
    by_index.close()


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_threads_change_nothing(order):
    assert read(shuffle=order, seed=1, prefetch=4) == read(shuffle=order, seed=1)


@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[5]], ids=repr)
def test_processes_change_nothing(order):
    def values(**options):
        run = DATASET.p.noise().gen_batch(60, shuffle=order, seed=1, **options)
        return [(b.indices.tolist(), b.source_ids.tolist(), b.x.tolist()) for b in run]

    assert values(executor="processes", n_workers=1) == values()


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_orders_are_values(order):
    other = pickle.loads(pickle.dumps(order))
    assert other == order
    assert hash(other) == hash(order)
    assert copy.deepcopy(order) == order
    assert read(shuffle=other, seed=1) == read(shuffle=order, seed=1)
    assert all(order != another for another in ORDERS if another is not order)
    with pytest.raises(AttributeError, match="frozen"):
        order.seed = 3


def test_the_arrays_of_a_description_are_its_own():
    weights = np.ones(N)
    order = Weighted(weights)
    weights[:] = 0
    assert order == Weighted(np.ones(N))


@pytest.mark.parametrize("make", [Weighted, Bucketed], ids=["Weighted", "Bucketed"])
def test_a_seed_of_its_own_goes_before_that_of_the_run(make):
    order = make(LENGTHS, seed=7)
    assert read(shuffle=order, seed=1) == read(shuffle=order, seed=2)
    assert read(shuffle=order) == read(shuffle=make(LENGTHS), seed=7)


@pytest.mark.parametrize("order", REPEATING, ids=repr)
def test_where_items_may_repeat_each_batch_counts_its_items(order):
    for batch in DATASET.gen_batch(12, shuffle=order, seed=1):
        assert batch.indices.tolist() == list(range(len(batch)))


@pytest.mark.parametrize("order", [ORDERS[2], *ORDERS[5:]], ids=repr)
def test_where_nothing_repeats_ids_stay(order):
    for batch in DATASET.gen_batch(12, shuffle=order, seed=1):
        assert batch.indices.tolist() == batch.source_ids.tolist()


def test_a_source_reads_each_row_of_a_batch_once():
    dataset = Dataset(N, Rows, source=Source(N))
    order = Weighted(np.arange(N) < 3)
    for batch in dataset.gen_batch(12, shuffle=order, seed=1):
        assert batch.x.tolist() == (batch.source_ids * 10).tolist()


def test_a_batch_with_repeated_items_is_joined_by_its_source_ids():
    other = Dataset.from_arrays(Rows, x=np.arange(N) * 100, y=LABELS).p
    run = DATASET.p.join(other).add_joined().gen_batch(12, shuffle=ORDERS[0], seed=1)
    for batch in run:
        assert batch.x.tolist() == (batch.source_ids * 110).tolist()


def test_batches_with_repeated_items_can_be_merged():
    batches = read(shuffle=ORDERS[0], seed=1)
    run = DATASET.p.rebatch(30).gen_batch(12, shuffle=ORDERS[0], seed=1)
    assert flat([b.source_ids.tolist() for b in run]) == flat(batches)


def test_the_note_of_an_error_shows_the_order():
    run = DATASET.p.fail().gen_batch(12, shuffle=Weighted(LABELS), seed=1)
    with pytest.raises(ZeroDivisionError) as caught:
        next(run)
    assert any("shuffle=<Weighted of 103>, seed=1" in note for note in caught.value.__notes__)


def test_a_note_out_of_a_process_shows_the_order():
    options = {"executor": "processes", "n_workers": 1}
    run = DATASET.p.fail().gen_batch(12, shuffle=Shuffle(10), seed=1, **options)
    with pytest.raises(ZeroDivisionError) as caught:
        next(run)
    shown = "shuffle=Shuffle(block=10, window=32), seed=1"
    assert any(shown in note for note in caught.value.__notes__)


def test_a_pipeline_inside_of_another_takes_over_no_order_of_items():
    with pytest.raises(ArgumentValueError, match=r"<Weighted of 103> is of the items of one data"):
        DATASET.p.merge(DATASET.p).gen_batch(12, shuffle=ORDERS[0], seed=1)
    inner = DATASET.p.run_later(12, shuffle=True)
    assert len(list(DATASET.p.merge(inner).gen_batch(12, shuffle=ORDERS[0], seed=1))) == 9


def test_a_pipeline_inside_of_another_takes_over_an_order_of_blocks():
    merged = DATASET.p.merge(DATASET.p).gen_batch(12, shuffle=Shuffle(10), seed=1)
    assert sorted(i for b in merged for i in b.source_ids) == sorted([*range(N)] * 2)


def test_a_shard_needs_a_seed():
    with pytest.raises(ArgumentValueError, match="a shuffled shard needs a number"):
        DATASET.shard(0, 2).gen_batch(12, shuffle=ORDERS[0])
    assert read(DATASET.shard(0, 2), shuffle=Weighted(LENGTHS, seed=1))


def test_values_may_be_labelled():
    pd = pytest.importorskip("pandas")
    ids = ["a", "b", "c"]
    column = pd.Series([0, 0, 1], index=["b", "c", "a"])
    assert set(flat(read(Dataset(ids), 3, shuffle=Weighted(column)))) == {"a"}
    assert Weighted(column) == Weighted(column.copy())


def test_values_of_a_part_are_its_own():
    part = DATASET.split(0.5, shuffle=1).train
    shown = flat(read(part, shuffle=Balanced("y"), seed=1))
    assert set(shown) == set(part.indices)


# ---- Weighted


def shares_of(weights):
    cells = _AliasTable.of(np.array(weights, float)).cells
    assert cells["share"].min() >= 0
    shares = cells["share"].copy()
    np.add.at(shares, cells["alias"], 1 - cells["share"])
    return shares


def test_items_come_by_weight():
    weights = np.array([0.0, 1, 2, 0, 3, 0.5, 9, 1e-9, 0])
    n = 50_000
    shown = flat(read(Dataset(9), 1000, shuffle=Weighted(weights, n=n), seed=3))
    counts = np.bincount(shown, minlength=9)
    assert counts[weights == 0].sum() == 0
    expected = weights / weights.sum() * n
    some = expected > 5
    chi_square = ((counts - expected)[some] ** 2 / expected[some]).sum()
    assert chi_square < 20.5  # the 0.999 quantile with 4 degrees of freedom is 18.5


@pytest.mark.parametrize(
    "weights",
    [[1, 1, 1], [0, 0, 5], [1e-300, 1e300, 1e300], [1, 0.1, 0.1, 0.1, 7], [0.1] * 10, [3, 2, 1]],
)
def test_the_table_has_the_shares_of_the_weights(weights):
    shares = shares_of(weights)
    expected = np.array(weights) / max(weights)
    assert np.allclose(shares / len(weights), expected / expected.sum())


def test_a_table_of_many_weights_has_their_shares():
    weights = np.random.default_rng(1).pareto(1.1, 20_000) * (np.arange(20_000) % 3 > 0)
    shares = shares_of(weights)
    assert np.allclose(shares / len(weights), weights / weights.sum(), rtol=1e-6, atol=1e-13)
    assert not shares[weights == 0].any()


def test_without_replacement_the_heavy_come_rather():
    weights = np.where(np.arange(100) < 50, 4.0, 1.0)
    order = Weighted(weights, n=40, replacement=False)
    epochs = [read(Dataset(100), 40, shuffle=order, seed=s) for s in range(20)]
    heavy = np.mean([np.less(flat(epoch), 50).mean() for epoch in epochs])
    assert 0.67 < heavy < 0.82  # 0.75 is where both halves are
    first = np.mean([np.less(epoch[0][:20], 50).mean() for epoch in epochs])
    assert abs(first - heavy) < 0.1


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Weighted(-np.ones(N)), ArgumentValueError, "not negative; 103 are not"),
        (lambda: Weighted(np.zeros(N)), ArgumentValueError, "all weights are 0"),
        (lambda: Weighted([*[1.0] * (N - 1), np.nan]), ArgumentValueError, "1 are not: .nan. at"),
        (lambda: Weighted(np.full(N, np.inf)), ArgumentValueError, "finite"),
        (lambda: Weighted([1, 2]), ArgumentValueError, "one number for each of the 103 items"),
        (lambda: Weighted(["a"] * N), ArgumentTypeError, "must be numbers"),
        (lambda: Weighted(np.array(["1"] * N)), ArgumentTypeError, "must be numbers"),
        (lambda: Weighted(3), ArgumentTypeError, "the name of a component, got 3"),
        (lambda: Weighted("z"), ArgumentValueError, "'z' is no component"),
        (lambda: Weighted(LABELS, n=0), ArgumentValueError, "n must be at least 1, got 0"),
        (lambda: Weighted(LABELS, n=2.5), ArgumentTypeError, "n must be a whole number"),
        (lambda: Weighted(LABELS, n=12, replacement=False), ArgumentValueError, "give n=11"),
        (lambda: Weighted(LABELS, replacement=3), ArgumentTypeError, "True or False, got 3"),
        (lambda: Weighted(LABELS, seed=-1), ArgumentValueError, "Weighted: seed"),
        (lambda: Balanced(np.zeros(N)), ArgumentValueError, r"one class alone, \[0.0\]"),
        (lambda: Balanced([0, 1]), ArgumentValueError, "one value for each of the 103 items"),
        (lambda: Balanced(LABELS, batch=(8, 5)), ArgumentValueError, "give batch_size=13, got 12"),
        (lambda: Balanced(LABELS, batch=(12,)), ArgumentValueError, "for 1 classes.* have 2"),
        (lambda: Balanced(LABELS, batch=12), ArgumentTypeError, r"such as \(8, 4\), got 12"),
        (lambda: Balanced(LABELS, batch=(12, 0)), ArgumentValueError, "at least 1, got 0"),
        (lambda: Bucketed([1]), ArgumentValueError, "one number for each of the 103 items"),
        (lambda: Bucketed(LENGTHS, window=0), ArgumentValueError, "window must be at least 1"),
        (lambda: Shuffle(10, window=0), ArgumentValueError, "window must be at least 1"),
        (lambda: Shuffle(0), ArgumentValueError, "block must be at least 1"),
        (lambda: Shuffle("rows"), ArgumentValueError, "\"source\" or a number, got 'rows'"),
        (lambda: Shuffle(), ArgumentValueError, r"give the number .*: Shuffle\(block=1024\)"),
    ],
)
def test_bad_input_is_refused_before_the_first_batch(make, error, match):
    with pytest.raises(error, match=match):
        DATASET.gen_batch(12, shuffle=make(), seed=1)


# ---- Balanced


def test_each_run_holds_each_class_once():
    shown = flat(read(shuffle=Balanced(LABELS), seed=1))
    assert (LABELS[shown].reshape(-1, 2).sum(1) == 1).all()
    assert len(set(LABELS[shown[::2]])) == 2  # in random order


@pytest.mark.parametrize("sizes", [(5, 3), (1, 7, 2), (2000, 1, 900)])
def test_the_largest_class_comes_once_and_others_are_used_up_first(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    shown = np.array(flat(read(Dataset(len(labels)), 50, shuffle=Balanced(labels), seed=1)))
    for number, size in enumerate(sizes):
        items = shown[labels[shown] == number]
        assert len(items) == max(sizes)
        for first in range(0, len(items), size):
            part = items[first : first + size]
            assert len(set(part)) == len(part)


def test_each_batch_has_so_many_of_each_class():
    texts = np.where(LABELS, "rare", "common")
    batches = read(shuffle=Balanced(texts, batch=(8, 4)), seed=1)
    assert len(batches) == 12  # 92 / 8
    assert [LABELS[batch].sum() for batch in batches] == [4] * 12
    assert len({LABELS[batch].tobytes() for batch in batches}) > 1  # mixed in it
    assert set(flat(batches)) == set(range(N))


def test_rounds_of_a_large_class_are_computed_in_parts():
    labels = np.arange(70_000) < 69_990
    shown = np.array(flat(read(Dataset(70_000), 5000, shuffle=Balanced(labels), seed=1)))
    assert len(np.unique(shown)) == 70_000


def test_a_shard_that_cuts_batches_is_refused():
    order = Balanced(LABELS, batch=(8, 4))
    with pytest.raises(ArgumentValueError, match="has 12 of them, which would make 2 or 3 or 4 eq"):
        DATASET.shard(1, 5).gen_batch(12, shuffle=order, seed=1)
    for number in range(3):
        for batch in read(DATASET.shard(number, 3), shuffle=order, seed=1):
            assert LABELS[batch].sum() == 4


# ---- Bucketed


def waste(batches, lengths):
    padded = sum(max(lengths[batch]) * len(batch) for batch in batches)
    return padded - sum(lengths[flat(batches)])


@pytest.mark.parametrize("shards", [1, 3])
def test_little_is_padded(shards):
    lengths = np.random.default_rng(1).lognormal(3, 0.7, 1000).astype(int)
    whole = Dataset(1000)
    parts = [whole.shard(k, shards) for k in range(shards)] if shards > 1 else [whole]
    order = Bucketed(lengths, window=100)
    bucketed = [batch for part in parts for batch in read(part, 16, shuffle=order, seed=1)]
    assert sorted(flat(bucketed)) == list(range(1000))
    assert waste(bucketed, lengths) < 0.6 * waste(read(whole, 16, shuffle=1), lengths)


def test_batches_are_dealt_at_random():
    lengths = np.arange(1000)
    batches = read(Dataset(1000), 10, shuffle=Bucketed(lengths, window=1000), seed=1)
    longest = [max(batch) for batch in batches]
    assert abs(np.corrcoef(longest, np.arange(100))[0, 1]) < 0.4


def test_the_short_batch_is_the_last():
    sizes = [len(batch) for batch in read(shuffle=Bucketed(LENGTHS, window=20), seed=1)]
    assert sizes == [12] * 8 + [7]


# ---- Shuffle


@pytest.mark.parametrize("block", [1, 7, 10, 64, 103, 500])
@pytest.mark.parametrize("window", [1, 3, 32])
def test_each_item_comes_once(block, window):
    order = Shuffle(block, window)
    assert sorted(flat(read(shuffle=order, seed=1))) == list(range(N))


def test_items_of_a_window_of_blocks_come_together():
    shown = np.array(flat(read(Dataset(1000), 50, shuffle=Shuffle(10, window=5), seed=1)))
    blocks = shown.reshape(-1, 50) // 10
    assert [len(set(group)) for group in blocks.tolist()] == [5] * 20
    assert not (np.diff(blocks) == 0).all()
    assert len(set(blocks[0].tolist())) == 5
    assert sorted({*blocks.ravel().tolist()}) == list(range(100))


def test_blocks_and_the_places_of_the_short_one_differ_from_epoch_to_epoch():
    shown = [flat(read(shuffle=Shuffle(10, 1), seed=1, first_epoch=e)) for e in range(8)]
    assert len({epoch.index(102) // 10 for epoch in shown}) > 2


@pytest.mark.parametrize("blocks", [16, np.array([0, 5, 50, 90])])
def test_blocks_are_those_of_the_source(blocks):
    dataset = Dataset(N, Rows, source=Source(N, blocks))
    shown = np.array(flat(read(dataset, 1, shuffle=Shuffle(window=1), seed=1)))
    firsts = np.arange(0, N, 16) if isinstance(blocks, int) else blocks
    numbers = np.searchsorted(firsts, shown, side="right")
    assert sorted(shown.tolist()) == list(range(N))
    assert (np.diff(numbers) != 0).sum() == len(firsts) - 1


@pytest.mark.parametrize("shuffle", [False, 1])
@pytest.mark.parametrize("blocks", [16, np.array([0, 5, 50, 90])])
def test_a_part_has_the_blocks_of_its_rows(blocks, shuffle):
    parts = Dataset(N, Rows, source=Source(N, blocks)).split(0.3, shuffle=shuffle)
    firsts = np.arange(0, N, 16) if isinstance(blocks, int) else blocks
    for part in (parts.train, parts.test):
        shown = np.array(flat(read(part, 1, shuffle=Shuffle(window=1), seed=1)))
        numbers = np.searchsorted(firsts, shown, side="right")
        assert sorted(shown.tolist()) == sorted(part.indices.tolist())
        assert (np.diff(numbers) != 0).sum() == len(set(numbers)) - 1


def test_blocks_of_a_source_that_make_no_sense_are_refused():
    for blocks in (np.array([3, 5]), np.array([0, 5, 5]), np.array([0.5]), 0):
        with pytest.raises((ArgumentTypeError, ArgumentValueError), match="blocks of the source"):
            Dataset(N, Rows, source=Source(N, blocks)).gen_batch(5, shuffle=Shuffle())


def test_memory_is_that_of_a_window():
    dataset = Dataset(10**9, Batch)
    order = Shuffle(64, window=8)
    tracemalloc.start()
    try:
        batches = list(dataset.gen_batch(64, shuffle=order, seed=1, n_iters=20))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert len({int(item) for b in batches for item in b.indices}) == 20 * 64


# ---- functions


def test_a_function_takes_a_generator():
    def mixed(positions, rng):
        return rng.permutation(positions)

    both = read(shuffle=mixed, seed=1, n_epochs=2)
    assert sorted(flat(both[:9])) == list(range(N))
    assert both[:9] != both[9:]
    assert read(shuffle=mixed, seed=1, first_epoch=1) == both[9:]
    assert read(shuffle=mixed, seed=2) != both[:9]


def test_a_function_that_takes_a_generator_is_not_called_for_earlier_epochs():
    epochs = []

    def mixed(positions, rng, epoch):
        epochs.append(epoch)
        return rng.permutation(positions)

    read(shuffle=mixed, seed=1, first_epoch=5)
    assert epochs == [5]


def test_a_feed_calls_a_function_with_a_generator_for_each_epoch():
    def mixed(positions, rng, epoch=0):
        return rng.permutation(positions) if epoch else positions

    feed = DATASET.p.feed(N, (B.x,), shuffle=mixed, seed=1)
    first, second = ([x.tolist() for ((x,),) in feed] for _ in range(2))
    assert first == [(np.arange(N) * 10).tolist()]
    assert [
        [i * 10 for i in ids] for ids in read(batch_size=N, shuffle=mixed, seed=1, first_epoch=1)
    ] == second


def test_shards_of_a_function_with_a_generator_have_all_items():
    def mixed(positions, rng):
        return rng.permutation(positions)

    shards = [flat(read(DATASET.shard(k, 2), shuffle=mixed, seed=1)) for k in range(2)]
    assert sorted(flat(shards)) == list(range(N))


# ---- the blocks of a window are kept


class Counting(Source):
    """Counts the blocks that are read."""

    def __init__(self, n, blocks):
        super().__init__(n, blocks)
        self.n_rows = 0

    def read(self, positions):
        self.n_rows += len(positions)
        return super().read(positions)


@pytest.mark.parametrize("batch_size", [16, 12, 7, 100])
@pytest.mark.parametrize("window", [1, 2, 5, 32])
def test_rows_out_of_kept_blocks_are_those_of_the_source(batch_size, window):
    source = Counting(N, 16)
    dataset = Dataset(N, Rows, source=source)
    run = dataset.gen_batch(batch_size, shuffle=Shuffle(window=window), seed=1, n_epochs=2)
    for batch in run:
        assert batch.x.tolist() == (batch.indices * 10).tolist()
        assert batch.y.tolist() == (batch.indices % 2).tolist()
        batch.x[:] = -1  # it is the batch's own
    if batch_size < 16 * window:
        assert source.n_rows <= 2 * (N + batch_size)  # each block once in an epoch


def test_kept_blocks_are_read_by_several_threads():
    dataset = Dataset(N, Rows, source=Source(N, 8))
    options = {"shuffle": Shuffle(window=3), "seed": 1}
    batches = list(dataset.gen_batch(5, prefetch=4, **options))
    assert all(b.x.tolist() == (b.indices * 10).tolist() for b in batches)
    assert [b.indices.tolist() for b in batches] == read(dataset, 5, **options)


@pytest.mark.parametrize("kind", [list, lambda rows: rows.astype(object)])
def test_rows_that_are_no_arrays_of_numbers_come_as_they_are(kind):
    class Kinds(Source):
        def read(self, positions):
            return {"x": kind(positions * 10), "y": positions[:, None] / 2}

    for batch in Dataset(N, Rows, source=Kinds(N, 8)).gen_batch(9, shuffle=Shuffle(), seed=1):
        assert batch.x.tolist() == (batch.indices * 10).tolist()
        assert batch.y[:, 0].tolist() == (batch.indices / 2).tolist()


def test_blocks_of_different_kinds_are_read_without_being_kept():
    class Kinds(Source):
        def read(self, positions):
            return {"x": positions * (1.5 if positions.min() > 50 else 1), "y": positions}

    for batch in Dataset(N, Rows, source=Kinds(N, 8)).gen_batch(9, shuffle=Shuffle(), seed=1):
        assert set(batch.x / np.maximum(batch.indices, 1)) <= {0.0, 1.0, 1.5}


def test_an_error_of_a_block_comes_again_and_nothing_wrong_after_it():
    class Failing(Source):
        fails = True

        def read(self, positions):
            if self.fails and positions.max() > 90:
                raise OSError("lost")
            return super().read(positions)

    source = Failing(N, 8)
    pipeline = Dataset(N, Rows, source=source).p
    with pytest.raises(OSError, match="lost"):
        list(pipeline.gen_batch(9, shuffle=Shuffle(), seed=1))
    source.fails = False
    for batch in pipeline.gen_batch(9, shuffle=Shuffle(), seed=1):
        assert batch.x.tolist() == (batch.indices * 10).tolist()

"""`feed.to_jax()`: the batches of a feed on the devices of JAX."""

import json
import os
import signal

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, B, Dataset, F, V, action
from batchflow.testing import digest, nothing_left

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
jax = pytest.importorskip("jax")
pytestmark = [pytest.mark.jax, pytest.mark.usefixtures("most_interleavings")]

each_prefetch = pytest.mark.parametrize("prefetch", [0, 3])
each_depth = pytest.mark.parametrize("depth", [1, 2, 5])


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape).astype("f4")
        return self

    @action
    def note(self, seen):
        seen.append(self.number)
        return self

    @action(singleton=True)
    def note_in_order(self, seen):
        seen.append(self.number)
        return self

    @action
    def fail(self, at, error):
        if self.number == at:
            raise error
        return self

    @action
    def interrupt(self, at):
        if self.number == at:
            signal.raise_signal(signal.SIGINT)
        return self


X = np.arange(22, dtype="f4").reshape(11, 2)
DATASET = Dataset.from_arrays(Rows, x=X, y=np.arange(11, dtype="i4"))
NOISY = DATASET.p.noise()
CHAINS = {
    "plain": NOISY,
    "rebatch": NOISY.filter(B.y % 3 > 0).rebatch(4),
    "variable": NOISY.init_variable("n", 0).update(V("n"), V("n") + 1),
}


def feed(chain=NOISY, **options):
    return chain.feed(3, B.x, B.y, **{"shuffle": True, "seed": 3} | options)


def digests(data):
    return [digest(*map(np.asarray, values)) for values in data]


def whole(chain=NOISY, n_epochs=3, **options):
    run = chain.gen_batch(3, **{"shuffle": True, "seed": 3} | options, n_epochs=n_epochs)
    return [digest(batch.x, batch.y) for batch in run]


@each_prefetch
@each_depth
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_loops_give_the_bits_of_one_run_over_all_epochs(chain, prefetch, depth):
    data = feed(chain, prefetch=prefetch).to_jax(depth=depth)
    assert [d for _ in range(3) for d in digests(data)] == whole(chain)


@each_depth
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_every_state_goes_on_to_the_same_bits(chain, depth):
    data = feed(chain, seed=None).to_jax(depth=depth)
    states, n_given = [(0, data.state_dict())], 0
    for _ in range(2):
        for _ in data:
            n_given += 1
            states.append((n_given, data.state_dict()))
        states.append((n_given, data.state_dict()))
    expected = whole(chain, seed=data.seed)
    for n_given, state in states:
        later = feed(chain, seed=None).to_jax(depth=depth)
        later.load_state_dict(json.loads(json.dumps(state)))
        rest = []
        while later.epoch < 3:
            rest += digests(later)
        assert rest == expected[n_given:]


def test_a_state_belongs_to_the_epoch_that_is_set():
    data = feed().to_jax()
    next(iter(data))
    data.epoch = 2
    later = feed().to_jax()
    later.load_state_dict(data.state_dict())
    assert digests(later) == whole()[8:]


@pytest.mark.parametrize(("depth", "made"), [(1, 1), (2, 2), (4, 4), (9, 4)])
def test_so_many_batches_are_on_the_device(depth, made):
    seen = []
    loop = iter(feed(DATASET.p.note(seen)).to_jax(depth=depth))
    next(loop)
    assert len(seen) == made


def test_nothing_ordered_runs_ahead_of_the_batch_in_hand():
    seen, ended = [], []
    for chain in (DATASET.p.note_in_order(seen), DATASET.p.after.call(ended.append, 1)):
        for n_given, _ in enumerate(feed(chain).to_jax(depth=4), 1):
            assert len(seen) in (0, n_given)
            assert ended == []
        seen.clear()
    assert ended == [1]


def test_an_array_shares_no_memory_with_the_batch():
    kept = []
    chain = DATASET.p.call(lambda batch: kept.append(batch.x), B())
    x, _ = next(iter(feed(chain, shuffle=False).to_jax()))
    kept[0][:] = -1
    assert np.array_equal(x, X[:3])


def test_arrays_go_where_they_are_told():
    if jax.device_count() < 2:
        pytest.skip("JAX was begun with one device")
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    data = DATASET.p.feed(4, B.x, drop_last=True).to_jax(sharding)
    assert [x.sharding for (x,) in data] == [sharding] * 2
    with pytest.raises(ValueError, match=r"axis 0|dimension 0") as caught:
        list(DATASET.p.feed(4, B.x).to_jax(sharding))
    assert "drop_last=True" in caught.value.__notes__[0]


# ---- ends


@each_prefetch
@each_depth
def test_an_exception_comes_at_its_turn_and_leaves_nothing(prefetch, depth):
    error, n_given = LookupError("gone"), 0
    data = feed(NOISY.fail(2, error), prefetch=prefetch).to_jax(depth=depth)
    with nothing_left(), pytest.raises(LookupError, match="gone") as caught:
        for _ in data:
            n_given += 1
    assert (caught.value is error, n_given) == (True, 2)


@each_prefetch
def test_leaving_a_loop_ends_its_run(prefetch):
    data = feed(n_epochs=None, prefetch=prefetch).to_jax()
    with nothing_left():
        for _ in data:
            break
    assert data.state_dict()["run"]["number"] == 0


def test_ctrl_c_leaves_nothing():
    with nothing_left(), pytest.raises(KeyboardInterrupt):
        list(feed(NOISY.interrupt(1)).to_jax())


# ---- values


def values_of(value, **options):
    return next(iter(DATASET.p.feed(3, value).to_jax(**options)))[0]


def test_a_wide_float_is_refused_or_asked_for():
    with pytest.raises(
        ArgumentTypeError, match=r"float64, of which JAX keeps 32 bits.*narrow=True"
    ):
        values_of(B.x.astype("f8"))
    assert values_of(B.x.astype("f8"), narrow=True).dtype == np.float32
    with pytest.raises(ArgumentValueError, match="beyond float32"):
        values_of(B.x.astype("f8") + 1e300, narrow=True)
    jax.config.update("jax_enable_x64", True)
    try:
        assert values_of(B.x.astype("f8")).dtype == np.float64
    finally:
        jax.config.update("jax_enable_x64", False)


def test_a_whole_number_keeps_its_value_or_is_refused():
    assert values_of(B.y.astype("i8")).tolist() == [0, 1, 2]
    with pytest.raises(ArgumentValueError, match="beyond int32"):
        values_of(B.y.astype("i8") + 2**40)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.astype(str),
        lambda x: x.astype("M8[s]"),
        lambda x: np.array([None] * len(x), object),
        lambda x: np.ma.masked_greater(x, 2),
    ],
)
def test_what_jax_cannot_hold_is_refused(make):
    with pytest.raises(ArgumentTypeError, match=r"feed: x=F\(.* cannot become an array of JAX"):
        values_of(F(make)(B.x))


def test_structure_and_plain_numbers_stay():
    x = values_of({"a": B.x, "b": (B.y, B.number)})
    assert [x["a"].shape, x["b"][0].shape, x["b"][1]] == [(3, 2), (3,), 0]


@pytest.mark.parametrize(("depth", "kind"), [(0, ValueError), (True, TypeError), ("2", TypeError)])
def test_a_depth_is_a_whole_number_from_1_on(depth, kind):
    with pytest.raises(kind, match="depth"):
        feed().to_jax(depth=depth)

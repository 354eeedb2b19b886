"""`feed.to_torch()`: the batches of a feed for a `DataLoader`."""

import datetime
import json
import signal
import threading

import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, B, Dataset, F, V, action
from batchflow.errors import BatchflowError
from batchflow.testing import digest, nothing_left

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("most_interleavings")]
DataLoader = torch.utils.data.DataLoader

each_prefetch = pytest.mark.parametrize("prefetch", [0, 3])


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(size=self.x.shape)
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


DATASET = Dataset.from_arrays(Rows, x=np.arange(22.0).reshape(11, 2), y=np.arange(11))
NOISY = DATASET.p.noise()
CHAINS = {
    "plain": NOISY,
    "filter": NOISY.filter(B.y % 3 > 0),
    "rebatch": NOISY.filter(B.y % 3 > 0).rebatch(4),
    "variable": NOISY.init_variable("n", 0).update(V("n"), V("n") + 1),
}


def feed(chain=NOISY, **options):
    return chain.feed(3, B.x, B.y, **{"shuffle": True, "seed": 3} | options)


def loader(data):
    return DataLoader(data, batch_size=None)


def digests(tensors):
    return [digest(*(t.numpy() for t in values)) for values in tensors]


def whole(chain=NOISY, n_epochs=3, **options):
    run = chain.gen_batch(3, **{"shuffle": True, "seed": 3} | options, n_epochs=n_epochs)
    return [digest(batch.x, batch.y) for batch in run]


@each_prefetch
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_loops_give_the_bits_of_one_run_over_all_epochs(chain, prefetch):
    batches = loader(feed(chain, prefetch=prefetch).to_torch())
    assert [d for _ in range(3) for d in digests(batches)] == whole(chain)


def test_without_a_seed_all_loops_have_one():
    data = DATASET.p.noise().feed(3, B.x, B.y, shuffle=True).to_torch()
    assert digests(loader(data)) + digests(loader(data)) == whole(n_epochs=2, seed=data.seed)


@each_prefetch
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_every_state_goes_on_to_the_same_bits(chain, prefetch):
    chain = chain.noise()
    options = {"prefetch": prefetch, "seed": None}
    data = feed(chain, **options).to_torch()
    states, n_given = [(0, data.state_dict())], 0
    for _ in range(2):
        for _ in loader(data):
            n_given += 1
            states.append((n_given, data.state_dict()))
        states.append((n_given, data.state_dict()))
    expected = whole(chain, seed=data.seed)
    for n_given, state in states:
        later = feed(chain, **options).to_torch()
        later.load_state_dict(json.loads(json.dumps(state)))
        rest = []
        while later.epoch < 3:
            rest += digests(loader(later))
        assert rest == expected[n_given:]
        assert later.seed == data.seed


def test_a_state_with_the_last_batch_in_hand_leaves_an_empty_rest_of_its_epoch():
    data = feed().to_torch()
    loop = iter(loader(data))
    last = [next(loop) for _ in range(4)][-1]
    later = feed().to_torch()
    later.load_state_dict(data.state_dict())
    assert len(last[0]) == 2
    assert (digests(loader(later)), later.epoch) == ([], 1)


def test_a_state_that_was_loaded_is_the_state_until_a_loop_begins():
    data = feed().to_torch()
    loop = iter(loader(data))
    next(loop)
    later = feed().to_torch()
    later.load_state_dict(data.state_dict())
    assert later.state_dict() == data.state_dict()


def test_a_state_of_another_feed_is_refused():
    data = feed().to_torch()
    next(iter(data))
    state = data.state_dict()
    with pytest.raises(ArgumentValueError, match="batch_size was 3"):
        NOISY.feed(4, B.x, B.y, shuffle=True, seed=3).to_torch().load_state_dict(state)
    with pytest.raises(ArgumentTypeError, match="what state_dict"):
        feed().to_torch().load_state_dict({"epoch": 3})


def test_set_epoch_keeps_a_state_within_that_epoch_alone():
    data = feed().to_torch(first_epoch=1)
    next(iter(loader(data)))
    state, expected = data.state_dict(), whole()
    data.load_state_dict(state)
    data.set_epoch(1)
    assert digests(loader(data)) == expected[5:8]
    data.load_state_dict(state)
    data.set_epoch(2)
    assert digests(loader(data)) == expected[8:]


def test_a_place_that_cannot_be_resumed_has_no_state():
    chain = DATASET.p.init_variable("n", 0).update(V("n"), V("n") + 1).rebatch(4)
    data = feed(chain).to_torch()
    loop = iter(loader(data))
    next(loop)
    with pytest.raises(BatchflowError, match="no state that could be resumed"):
        data.state_dict()


def test_a_state_of_another_seed_is_refused():
    state = feed().to_torch().state_dict()
    with pytest.raises(ArgumentValueError, match="seed=3"):
        feed(seed=4).to_torch().load_state_dict(state)


def test_data_of_a_feed_with_a_state_go_on_there():
    first = feed(seed=None)
    next(iter(first))
    state = first.state_dict()
    data = feed(seed=None, state=state).to_torch()
    rest = [digest(*values) for values in feed(seed=None, state=state)]
    assert digests(loader(data)) == rest


# ---- what DataLoader does


WORKERS = r"feed\(prefetch=4\)[^$]*executor="


def test_workers_of_a_loader_are_refused():
    batches = DataLoader(
        feed().to_torch(), batch_size=None, num_workers=1, multiprocessing_context="spawn"
    )
    with pytest.raises(ArgumentValueError, match=WORKERS):
        next(iter(batches))


def test_a_forked_worker_is_refused(monkeypatch):
    monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda: "of a worker")
    with pytest.raises(ArgumentValueError, match=WORKERS):
        iter(feed().to_torch())


def test_a_loader_that_makes_batches_of_batches_is_refused():
    with pytest.raises(ArgumentValueError, match="batch_size=None"):
        next(iter(DataLoader(feed().to_torch())))


def test_the_length_is_that_of_a_whole_loop_or_not_known():
    assert len(loader(feed().to_torch())) == 4
    with pytest.raises(TypeError):
        len(loader(feed(CHAINS["rebatch"]).to_torch()))


@each_prefetch
def test_leaving_a_loop_ends_its_run(prefetch):
    data = feed(n_epochs=None, prefetch=prefetch).to_torch()
    with nothing_left():
        for _ in loader(data):
            break
    assert data.state_dict()["run"]["number"] == 0


@each_prefetch
def test_an_exception_is_the_same_object_and_leaves_nothing(prefetch):
    error = LookupError("gone")
    data = feed(NOISY.fail(2, error), prefetch=prefetch).to_torch()
    with nothing_left(), pytest.raises(LookupError, match="gone") as caught:
        list(loader(data))
    assert caught.value is error
    assert any("batch 2" in note for note in error.__notes__)


def test_ctrl_c_leaves_nothing():
    assert threading.current_thread() is threading.main_thread()
    data = feed(NOISY.interrupt(1)).to_torch()
    with nothing_left(), pytest.raises(KeyboardInterrupt):
        list(loader(data))


# ---- tensors


def values_of(values, **options):
    data = DATASET.p.feed(3, values).to_torch(**options)
    return next(iter(loader(data)))[0]


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "u4"])
def test_a_tensor_has_the_dtype_of_the_array(dtype):
    tensor = values_of(B.x.astype(dtype))
    assert tensor.numpy().dtype == np.dtype(dtype)


def test_arrays_are_not_copied():
    kept = []
    chain = DATASET.p.call(lambda batch: kept.append(batch.x), B())
    tensor = next(iter(loader(chain.feed(3, B.x).to_torch())))[0]
    assert tensor.numpy().ctypes.data == kept[0].ctypes.data


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[::-1],
        lambda x: x[:, ::-1].astype(">f8"),
        lambda x: np.broadcast_to(x[0], x.shape),
        lambda x: x.copy(order="F"),
    ],
)
def test_arrays_that_torch_cannot_take_as_they_are_have_the_same_values(change):
    data = DATASET.p.feed(3, F(change)(B.x)).to_torch()
    (tensor,) = next(iter(data))
    assert np.array_equal(tensor.numpy(), change(np.arange(6.0).reshape(3, 2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.astype(str),
        lambda x: x.astype("M8[s]"),
        lambda x: np.array([datetime.date(2020, 1, 1)] * len(x), object),
        lambda x: np.ma.masked_greater(x, 2),
        lambda x: x.astype(np.longdouble),
    ],
)
def test_what_no_tensor_can_hold_is_refused(make):
    with pytest.raises(ArgumentTypeError, match=r"feed: x=F\(.* cannot become a tensor"):
        next(iter(DATASET.p.feed(3, F(make)(B.x)).to_torch()))


def test_texts_can_be_kept():
    kept = next(iter(DATASET.p.feed(3, B.x, B.y.astype(str)).to_torch(keep_others=True)))
    assert isinstance(kept[0], torch.Tensor)
    assert kept[1].tolist() == ["0", "1", "2"]


def test_dictionaries_and_tuples_keep_their_structure():
    data = DATASET.p.feed(3, {"a": B.x, "b": (B.y, B.number)}).to_torch()
    (x,) = next(iter(data))
    assert [x["a"].shape, x["b"][0].dtype, x["b"][1]] == [(3, 2), torch.int64, 0]

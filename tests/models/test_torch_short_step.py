"""A `TorchModel` takes the short way through a step where nobody sees it, with the same bits."""

import functools
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from batchflow.models import TorchModel

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
nn, optim = torch.nn, torch.optim
short_step = sys.modules["batchflow.models.torch_model.short_step"]

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 8, 3)).astype("float32")
Y = RNG.normal(size=(5, 8, 1)).astype("float32")

TAKES_OTHER_MODULES = {"Muon", "SparseAdam"}  # of matrices alone; of sparse gradients alone
NEEDS_A_CLOSURE = {"LBFGS"}
OPTIMIZERS = {
    name: kind
    for name, kind in vars(optim).items()
    if isinstance(kind, type)
    and issubclass(kind, optim.Optimizer)
    and kind is not optim.Optimizer
    and name not in TAKES_OTHER_MODULES | NEEDS_A_CLOSURE
}


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def by_hand(module, optimizer):
    for x, y in zip(X, Y, strict=True):
        optimizer.zero_grad()
        nn.functional.mse_loss(module(torch.tensor(x)), torch.tensor(y)).backward()
        optimizer.step()


def train(model):
    return [float(model.train_on_batch(x, y)) for x, y in zip(X, Y, strict=True)]


def make(optimizer=optim.Adam, loss="mse"):
    return TorchModel(net(), optimizer, loss)


def same(one, other):
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.fixture
def short(monkeypatch):
    """Count the steps and the walks back that go the short way."""
    assert short_step._fits()  # whose trial is no step
    calls = {"backward": 0, "looks": []}
    run, look = short_step._run_backward, short_step._is_unwatched

    def counted(loss):
        calls["backward"] += 1
        run(loss)

    def looked(optimizer, word):
        calls["looks"].append((word, look(optimizer, word)))
        return calls["looks"][-1][1]

    monkeypatch.setattr(short_step, "_run_backward", counted)
    monkeypatch.setattr(short_step, "_is_unwatched", looked)
    return calls


def went(short, word):
    return {is_short for looked, is_short in short["looks"] if looked == word}


def test_this_release_of_torch_is_stepped_the_short_way(short):
    train(make())
    assert went(short, "step") == went(short, "zero_grad") == {True}
    assert short["backward"] == len(X)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_optimizer_of_torch_takes_the_same_steps(name):
    make_one = functools.partial(OPTIMIZERS[name], lr=0.01)
    model, module = make(make_one), net()
    train(model)
    other = make_one(module.parameters())
    by_hand(module, other)
    assert same(model.module, module)
    state, by = model.optimizer.state_dict()["state"], other.state_dict()["state"]
    assert state.keys() == by.keys()
    for key, values in by.items():
        for word, value in values.items():
            mine = state[key][word]
            assert torch.equal(mine, value) if torch.is_tensor(value) else mine == value


def test_groups_that_come_later_are_trained_and_frozen_ones_are_not():
    model = make(lambda parameters: optim.SGD(list(parameters)[:2], lr=0.1))
    before = [one.clone() for one in model.module.parameters()]
    train(model)
    *_, last = model.module.parameters()
    assert torch.equal(last, before[3])
    model.optimizer.add_param_group({"params": list(model.module.parameters())[2:], "lr": 0.2})
    train(model)
    assert not torch.equal(last, before[3])


def test_gradients_of_the_step_before_are_gone():
    model = make(functools.partial(optim.SGD, lr=0.0))
    model.train_on_batch(X[0], Y[0])
    first = [one.grad.clone() for one in model.module.parameters()]
    model.train_on_batch(X[0], Y[0])
    again = [one.grad for one in model.module.parameters()]
    assert all(map(torch.equal, first, again))


# ---- who looks sees what torch would show


@pytest.mark.parametrize("kind", ["before", "after"])
@pytest.mark.parametrize("of", ["one", "all"])
def test_hooks_of_optimizers_are_called(of, kind, short):
    model, calls = make(), []
    of_all = sys.modules["torch.optim.optimizer"]
    words = {
        ("one", "before"): model.optimizer.register_step_pre_hook,
        ("one", "after"): model.optimizer.register_step_post_hook,
        ("all", "before"): of_all.register_optimizer_step_pre_hook,
        ("all", "after"): of_all.register_optimizer_step_post_hook,
    }
    handle = words[of, kind](lambda *_: calls.append(1))
    train(model)
    handle.remove()
    assert len(calls) == len(X)
    train(model)
    assert len(calls) == len(X)
    assert [short for word, short in short["looks"] if word == "step"] == [False] * 5 + [True] * 5


def test_a_hook_may_be_put_on_between_two_steps():
    model, calls = make(), []
    train(model)
    model.optimizer.register_step_post_hook(lambda *_: calls.append(1))
    train(model)
    assert len(calls) == len(X)


def test_hooks_of_tensors_and_modules_are_called():
    model, calls = make(), []
    first, *_ = model.module.parameters()
    first.register_hook(lambda gradient: calls.append("tensor"))
    first.register_post_accumulate_grad_hook(lambda parameter: calls.append("leaf"))
    model.module[2].register_full_backward_hook(lambda *_: calls.append("module"))
    model.train_on_batch(X[0], Y[0])
    assert sorted(calls) == ["leaf", "module", "tensor"]


@pytest.mark.filterwarnings("error")
def test_a_scheduler_counts_the_steps_without_a_warning(short):
    model = make(functools.partial(optim.SGD, lr=0.1))
    scheduler = optim.lr_scheduler.StepLR(model.optimizer, 1)
    train(model)
    scheduler.step()
    assert went(short, "step") == {False}


def test_a_profiler_is_told_of_each_step():
    model = make()
    with torch.profiler.profile() as profile:
        train(model)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["Optimizer.step#Adam.step"] == len(X)
    assert counts["Optimizer.zero_grad#Adam.zero_grad"] == len(X)


@pytest.mark.parametrize("word", ["step", "zero_grad"])
@pytest.mark.parametrize("where", ["instance", "class", "base"])
def test_a_method_put_into_the_place_of_torchs_is_called(word, where, monkeypatch):
    model, calls = make(), []
    holder = {"instance": model.optimizer, "class": optim.Adam, "base": optim.Optimizer}[where]
    if (word, where) == ("step", "base"):
        pytest.skip("each optimizer has a step of its own")
    before = getattr(holder, word)

    @functools.wraps(before)
    def watched(*args, **options):
        calls.append(1)
        return before(*args, **options)

    monkeypatch.setattr(holder, word, watched, raising=False)
    train(model)
    assert len(calls) == len(X)


def test_a_walk_back_put_into_the_place_of_torchs_is_called(monkeypatch):
    model, calls = make(), []
    before = torch.Tensor.backward

    @functools.wraps(before)
    def watched(*args, **options):
        calls.append(1)
        return before(*args, **options)

    monkeypatch.setattr(torch.Tensor, "backward", watched)
    train(model)
    assert len(calls) == len(X)


class Own:
    """An optimizer that is none of torch's kind."""

    def __init__(self, parameters):
        self.parameters, self.calls = list(parameters), []

    def zero_grad(self):
        self.calls.append("zero_grad")
        for one in self.parameters:
            one.grad = None

    def step(self):
        self.calls.append("step")


class OnlySlots:
    __slots__ = ("calls", "step", "zero_grad")

    def __init__(self, parameters):
        own = Own(parameters)
        self.calls, self.step, self.zero_grad = own.calls, own.step, own.zero_grad


class Passing:
    """Passes on what it is asked for, as wrappers of optimizers do."""

    def __init__(self, parameters):
        self.inside = Own(parameters)

    def __getattr__(self, name):
        return getattr(self.inside, name)


def methods_alone(parameters):
    own = Own(parameters)
    return types.SimpleNamespace(step=own.step, zero_grad=own.zero_grad, calls=own.calls)


@pytest.mark.parametrize("kind", [Own, OnlySlots, Passing, methods_alone])
def test_an_optimizer_of_ones_own_is_called_by_its_methods(kind):
    model = make(kind)
    train(model)
    assert model.optimizer.calls == ["zero_grad", "step"] * len(X)


def test_an_optimizer_that_torch_has_not_made_is_called_by_its_methods():
    class Around(optim.Optimizer):
        def __init__(self, optimizer):  # as Lookahead is written
            self.optimizer, self.steps = optimizer, 0
            self.param_groups, self.defaults = optimizer.param_groups, optimizer.defaults

        def _patch_step_function(self):
            self._zero_grad_profile_name = "zero_grad"

        def step(self, closure=None):
            self.steps += 1
            return self.optimizer.step()

    model, module = make(lambda parameters: Around(optim.Adam(parameters))), net()
    train(model)
    by_hand(module, optim.Adam(module.parameters()))
    assert same(model.module, module)
    assert model.optimizer.steps == len(X)


def test_what_is_put_around_the_step_of_a_class_of_torch_is_called():
    optim.SGD(net().parameters())  # torch has marked its step
    seen = []

    class Wrapped(optim.SGD):  # the wrapper is torch's own, too
        step = torch.inference_mode()(optim.SGD.step)

        def _init_group(self, *args):
            seen.append(torch.is_inference_mode_enabled())
            return super()._init_group(*args)

    assert Wrapped.step.hooked
    train(make(functools.partial(Wrapped, lr=0.1)))
    assert seen == [True] * len(X)


def seen_by_a_function_mode(words):
    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            words.append(function.__name__)
            return function(*args, **kwargs or {})

    return Mode()


def seen_by_a_dispatch_mode(words):
    class Mode(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            words.append(str(operation))
            return operation(*args, **kwargs or {})

    return Mode()


@pytest.mark.parametrize("mode", [seen_by_a_function_mode, seen_by_a_dispatch_mode])
def test_a_mode_of_torch_sees_what_it_sees_in_a_loop_by_hand(mode):
    class ByHand(TorchModel):
        def update(self, loss):
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    seen = []
    for kind in TorchModel, ByHand:
        model, words = kind(net(), optim.SGD, "mse"), []
        with mode(words):
            train(model)
        seen.append(words)
    assert seen[0] == seen[1]


def test_a_profiler_of_another_thread_is_told(short):
    model = make()
    with torch.profiler.profile(), ThreadPoolExecutor(1) as other:
        other.submit(train, model).result()
    assert not short["looks"]
    assert not short["backward"]


def test_the_function_behind_the_walk_back_may_be_replaced(monkeypatch):
    model, calls, before = make(), [], torch.autograd.backward

    def watched(*args, **options):
        calls.append(1)
        return before(*args, **options)

    monkeypatch.setattr(torch.autograd, "backward", watched)
    train(model)
    assert len(calls) == len(X)


def test_a_subclass_with_a_step_of_its_own_is_called():
    class Twice(optim.SGD):
        def step(self, closure=None):
            super().step()
            return super().step()

    one, module = make(functools.partial(Twice, lr=0.1)), net()
    train(one)
    by_hand(module, Twice(module.parameters(), lr=0.1))
    assert same(one.module, module)


def test_where_torch_is_built_otherwise_its_own_way_is_gone(monkeypatch, short):
    monkeypatch.setattr(short_step, "_fits", lambda: False)
    model, module = make(), net()
    train(model)
    by_hand(module, optim.Adam(module.parameters()))
    assert same(model.module, module)
    assert not short["looks"]
    assert not short["backward"]


@pytest.mark.parametrize("lost", ["_engine_run_backward", "step", "hooks"])
def test_the_trial_sees_what_is_built_otherwise(lost, monkeypatch):
    if lost == "_engine_run_backward":
        monkeypatch.delattr(torch.autograd.graph, lost)
    elif lost == "step":
        monkeypatch.setattr(optim.SGD, "step", lambda self: None)
    else:
        monkeypatch.delattr(sys.modules["torch.optim.optimizer"], "_global_optimizer_pre_hooks")
    assert not short_step._fits.__wrapped__()


def test_the_trial_draws_nothing_and_leaves_the_mode_as_it_was():
    state = torch.get_rng_state()
    with torch.no_grad():
        assert short_step._fits.__wrapped__()
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        assert short_step._fits.__wrapped__()
    assert torch.equal(state, torch.get_rng_state())

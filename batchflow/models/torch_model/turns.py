"""Who may use a torch module now, in which mode, and with which random numbers.

Guarantees:
    - *The right mode*: a module predicts in evaluation mode, whatever other threads do with it, and
      trains when nobody asks it. Afterwards each part has the mode that it had before.
    - *A part in evaluation mode stays frozen*: a module of which only parts were put into it, such
      as the pretrained one, is trained as it is. One that as a whole is in evaluation mode is
      trained in training mode.
    - *Random numbers of its own*: what a model draws while it trains, such as the masks of Dropout,
      comes from a state that belongs to the model. Others neither see that nor change it, as long
      as they do not draw from torch's generators in another thread at that very moment. For the
      same reason steps of different models take turns.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

T = TypeVar("T")


class _Turns:
    """Who uses one module: one that trains it, or any number that ask it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.free = threading.Condition(self.lock)
        self.n_asking = 0
        self.in_training: list[Any] = []  # the parts that were, before they were asked


_turns: weakref.WeakKeyDictionary[Any, _Turns] = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def _turns_of(module: Any) -> _Turns:
    found = _turns.get(module)
    if found is None:
        with _guard:
            found = _turns.setdefault(module, _Turns())
    return found


@contextmanager
def asked(module: Any) -> Iterator[None]:
    """Let a module be asked: in evaluation mode, without gradients."""
    turns = _turns_of(module)
    with turns.free:
        if not turns.n_asking:
            turns.in_training = [part for part in module.modules() if part.training]
            module.eval()
        turns.n_asking += 1
    try:
        with sys.modules["torch"].no_grad():
            yield
    finally:
        with turns.free:
            turns.n_asking -= 1
            if not turns.n_asking:
                for part in turns.in_training:
                    part.training = True
                turns.in_training = []
                turns.free.notify_all()


def trained(module: Any, random: RandomState, step: Callable[..., T], *args: Any) -> T:
    """Do a step with a module in training mode, with gradients, while nobody asks it.

    Args:
        module: The module.
        random: The random state that all draws come from.
        step: The step.
        args: Its arguments.
    """
    torch, turns = sys.modules["torch"], _turns_of(module)
    # In this order: who waits for his turn to train holds no module that the other may ask.
    with _one_trains, turns.lock:
        while turns.n_asking:
            turns.free.wait()
        evaluating = []
        if not module.training:
            evaluating = [part for part in module.modules() if not part.training]
            module.train()
        has_gradients = torch.is_grad_enabled()
        random.swap()
        try:
            if not has_gradients:
                torch.set_grad_enabled(True)
            return step(*args)
        finally:
            if torch.is_grad_enabled() is not has_gradients:
                torch.set_grad_enabled(has_gradients)
            random.swap()
            for part in evaluating:
                part.training = False


# ---- random numbers

_one_trains = threading.RLock()  # torch has one random state for each device, and all threads


class RandomState:
    """The random state of one model: on the CPU, and on each device that it computes on.

    It begins as that of torch's generators is where the model is made. So a model whose definition
    begins with `torch.manual_seed(1)` draws the same numbers as a loop written by hand.

    Args:
        devices: The devices.
        states: The states of some of them, where they are known.

    Attributes:
        states: The states by the names of their devices.
    """

    def __init__(self, devices: Iterable[Any], states: Mapping[str, Any] | None = None) -> None:
        names = sorted({"cpu", *map(str, devices)})
        known = states or {}
        self.states = {
            name: known[name] if name in known else generator[0]()
            for name in names
            if (generator := _generator(name)) is not None
        }

    def swap(self) -> None:
        """Put this state into the place of torch's own, and that here; or back again."""
        for name, state in self.states.items():
            generator: Any = _generator(name)  # it is there: the state is of it
            get, put = generator
            self.states[name] = get()
            put(state)


@cache
def _generator(name: str) -> tuple[Callable[[], Any], Callable[[Any], None]] | None:
    """Return what reads and what sets the random state of a device; None if it has none."""
    torch = sys.modules["torch"]
    device = torch.device(name)
    if device.type == "cpu":
        return torch.default_generator.get_state, torch.default_generator.set_state
    kind: Any = getattr(torch, device.type, None)
    if not hasattr(kind, "get_rng_state"):
        return None
    if device.type == "mps":  # there is only one, and its functions take no device
        return kind.get_rng_state, kind.set_rng_state
    return partial(kind.get_rng_state, device), partial(kind.set_rng_state, device=device)

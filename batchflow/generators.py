"""A watch over the global random generators: it finds out from which of them some code draws.

These are the generators of Python and NumPy, and those of torch, TensorFlow and Keras if they are
loaded. Nothing is imported.

Guarantees:
    - After a watch all generators have their states back. Only TensorFlow's count of the seeds of
      its operations goes on.
    - Draws in worker processes for items are noticed, too: see `noticed`.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any, Self

import numpy as np

# Names of generators that worker processes have drawn from; None: there is no watch.
noticed: ContextVar[set[str] | None] = ContextVar("noticed", default=None)

_TF_SEEDS = "tensorflow.python.framework.random_seed"
_TF_GENERATORS = "tensorflow.python.ops.stateful_random_ops"
_TF_CONTEXT = "tensorflow.python.eager.context"
_TF_DRAWN = "tensorflow.seeds"  # of its operations, which are drawn from a global seed
_KERAS_STATE = "keras.src.backend.common.global_state"


class GeneratorWatch:
    """A watch over the generators while its `with` block runs.

    It does not see random operations in a `tf.function` that was traced before.

    Example:
        >>> with GeneratorWatch() as watch:
        ...     before = watch.states()
        ...     _ = random.random()
        ...     watch.drawn(before)
        ['random']
    """

    def __init__(self) -> None:
        self._restores = ExitStack()
        self._n_seeds = 0  # that operations of TensorFlow have taken

    def __enter__(self) -> Self:
        self._restores.callback(set_global_states, global_states())
        if seeds := sys.modules.get(_TF_SEEDS):
            self._count_seeds(seeds)
        return self

    def __exit__(self, *raised: object) -> None:
        self._restores.close()

    def states(self) -> dict[str, Any]:
        """Return the states, packed, of all generators by their names."""
        found: dict[str, Any] = {n: pickle.dumps(state) for n, state in global_states().items()}
        found["tensorflow"] = self._n_seeds, found.get("tensorflow")
        return found

    def drawn(self, before: dict[str, Any]) -> list[str]:
        """Return the names of the generators whose states have changed.

        Args:
            before: The result of an earlier `states`.
        """
        return [name for name, state in self.states().items() if self._was(before, name) != state]

    def _was(self, before: dict[str, Any], name: str) -> Any:
        if name in before or name != "torch":
            return before.get(name)
        torch = sys.modules["torch"]  # loaded since then: its first state follows from its seed
        fresh = torch.Generator().manual_seed(torch.initial_seed())
        return pickle.dumps(fresh.get_state().numpy())

    def _count_seeds(self, module: Any) -> None:
        """Count the operations of TensorFlow that draw without their own generator."""
        plain = module.get_seed

        def get_seed(op_seed: Any) -> Any:
            self._n_seeds += 1
            return plain(op_seed)

        module.get_seed = get_seed
        self._restores.callback(setattr, module, "get_seed", plain)


def global_states() -> dict[str, Any]:
    """Return the states of the global generators, as plain values and arrays.

    Those of Python and of NumPy's older functions, and of torch, TensorFlow and Keras if they are
    loaded and have one.
    """
    found: dict[str, Any] = {"random": random.getstate(), "numpy.random": np.random.get_state()}
    if torch := sys.modules.get("torch"):
        found["torch"] = torch.get_rng_state().numpy()
        if torch.cuda.is_initialized():
            found["torch.cuda"] = [one.cpu().numpy() for one in torch.cuda.get_rng_state_all()]
    for name, variable in _variables().items():
        found[name] = np.array(variable.numpy() if hasattr(variable, "numpy") else variable)
    context = getattr(sys.modules.get(_TF_CONTEXT), "_context", None)
    if context is not None and context._seed is not None:  # by `tf.random.set_seed`
        found[_TF_DRAWN] = int(context._seed), context._rng.getstate()
    return found


def set_global_states(states: Mapping[str, Any]) -> None:
    """Put the states of `global_states` back, of those generators that are loaded."""
    random.setstate(states["random"])
    np.random.set_state(states["numpy.random"])
    torch = sys.modules.get("torch")
    if torch is not None and "torch" in states:
        torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
        if "torch.cuda" in states and torch.cuda.is_available():
            devices = [torch.from_numpy(one.copy()) for one in states["torch.cuda"]]
            torch.cuda.set_rng_state_all(devices[: torch.cuda.device_count()])
    if _TF_DRAWN in states and (module := sys.modules.get(_TF_CONTEXT)):
        seed, drawn = states[_TF_DRAWN]
        context = module.context()
        context._set_global_seed(seed)
        context._rng.setstate(drawn)
    for name, variable in _variables(set(states)).items():
        if name in states:
            variable.assign(states[name])


def _variables(make: Collection[str] = ()) -> dict[str, Any]:
    """Return the variables with the states of global generators that are made on first use.

    Those whose names are in `make` are made now, where their framework is loaded.
    """
    found = {}
    if "tensorflow" in make and (module := sys.modules.get(_TF_GENERATORS)):
        module.get_global_generator()
    if "keras.random" in make and "keras.src.random.seed_generator" in sys.modules:
        sys.modules["keras.src.random.seed_generator"].global_seed_generator()
    made = getattr(sys.modules.get(_TF_GENERATORS), "global_generator", None)
    if made is not None:
        found["tensorflow"] = made.state
    state = sys.modules.get(_KERAS_STATE)
    made = state.get_global_attribute("global_seed_generator") if state is not None else None
    if made is not None:
        found["keras.random"] = made.state
    return found

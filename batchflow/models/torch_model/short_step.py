"""A step of a torch optimizer by the short way, without what torch keeps ready around it.

Around `zero_grad`, `backward` and `step` torch looks for hooks, and tells a profiler, whether there
are any or not; on a small network that is a third of a step. The short way does the same operations
on the same tensors, so it gives the same bits. It is not taken where somebody would see the
difference, which is looked up in each step:

- the optimizer or all optimizers have a hook, or a scheduler counts the steps;
- a profiler runs, or a mode of torch sees the calls of its functions or operations;
- the optimizer is none of torch's kind, one of the methods is not torch's own, or the loss is no
  plain tensor;
- this release of torch is not built as it expects: once, in a trial, it did not do the same.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal


def update(optimizers: Sequence[Any], loss: Any) -> None:
    """Do what `zero_grad()` of each optimizer, `loss.backward()` and `step()` of each do.

    Args:
        optimizers: The optimizers.
        loss: One number.
    """
    is_short = _fits() and not _is_seen()
    for optimizer in optimizers:
        if is_short and _is_unwatched(optimizer, "zero_grad"):
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
        else:
            optimizer.zero_grad()
    if is_short and _is_plain(loss):
        _run_backward(loss)
    else:
        loss.backward()
    for optimizer in optimizers:
        if is_short and _is_unwatched(optimizer, "step"):
            type(optimizer).step.__wrapped__(optimizer)
        else:
            optimizer.step()


def _is_plain(loss: Any) -> bool:
    """Tell whether a loss is of torch's own class, whose methods are torch's own."""
    torch = sys.modules["torch"]
    return (
        type(loss) is torch.Tensor
        and loss.is_floating_point()
        and _is_own(torch.Tensor.backward)
        and _is_own(torch.autograd.backward)
    )


def _is_unwatched(optimizer: Any, word: Literal["zero_grad", "step"]) -> bool:
    """Tell whether nobody would see that a method of an optimizer is not called."""
    kind, base = type(optimizer), sys.modules["torch"].optim.Optimizer
    if (
        not issubclass(kind, base)
        or word in vars(optimizer)  # where a scheduler puts its own
        or not _is_own(method := getattr(kind, word))
    ):
        return False
    if word == "zero_grad":
        # An optimizer that was not made by `Optimizer.__init__` becomes one in its first zero_grad.
        return method is base.zero_grad and "_zero_grad_profile_name" in vars(optimizer)
    # Around the step of each class; `hooked` may be copied from it to what is around that.
    return method.__code__.co_qualname == _AROUND_STEPS and not any(_hooks(optimizer))


_AROUND_STEPS = "Optimizer.profile_hook_step.<locals>.wrapper"


def _is_own(function: Any) -> bool:
    """Tell whether a function is torch's own, and not one that was put into its place."""
    code = getattr(function, "__code__", None)
    folder = sys.modules["torch"].__path__[0]
    return code is not None and code.co_filename.startswith(folder)


def _is_seen() -> bool:
    """Tell whether a profiler, a mode or a transform of torch sees what is called."""
    torch = sys.modules["torch"]
    try:
        return bool(
            torch.autograd.profiler._is_profiler_enabled  # in any thread
            or torch.autograd._profiler_enabled()
            or torch._C._is_torch_function_mode_enabled()
            or torch._C._len_torch_dispatch_stack()
            or torch._C._are_functorch_transforms_active()
        )
    except AttributeError:
        return True  # this release is built otherwise, so nobody knows


def _hooks(optimizer: Any) -> tuple[Any, ...]:
    of_all = sys.modules["torch.optim.optimizer"]
    return (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        of_all._global_optimizer_pre_hooks,
        of_all._global_optimizer_post_hooks,
    )


def _run_backward(loss: Any) -> None:
    # What `torch.autograd.backward` calls behind checks of its arguments: without keeping or making
    # a graph, for all leaves, which need not be reachable, and adding to their gradients.
    torch = sys.modules["torch"]
    torch.autograd.graph._engine_run_backward(
        (loss,), (torch.ones_like(loss),), False, False, (), True, True
    )


@cache
def _fits() -> bool:
    """Try the short way on one number: a later torch may be built otherwise."""
    torch = sys.modules["torch"]
    try:
        with torch.inference_mode(False), torch.enable_grad():
            weight = torch.tensor(3.0, dtype=torch.float32, device="cpu", requires_grad=True)
            optimizer = torch.optim.SGD([weight], lr=0.25)
            any(_hooks(optimizer))
            _run_backward(weight * weight)
            type(optimizer).step.__wrapped__(optimizer)
        return bool(weight == 1.5 and weight.grad == 6)
    except (AttributeError, TypeError, RuntimeError):
        return False

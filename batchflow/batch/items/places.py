"""Which components per-item work reads and writes: `src`, `dst` and `p` as they may be written.

A tuple of sources gives the function one argument for each. A list of sources repeats the call for
each of them: `rotate(src=["images", "masks"])` rotates both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from batchflow.batch.components import check_new_component
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch


class Together(tuple[Any, ...]):
    """Sources that are arguments of one call, also where parameters have defaults."""

    @classmethod
    def of(cls, src: Any) -> Any:
        """Return several sources as those of one call; other values as they are."""
        return cls(src) if isinstance(src, (list, tuple)) else src


class Way(NamedTuple):
    """The components of one round of calls.

    Attributes:
        sources: Those that the arguments are taken from; empty: the items themselves.
        targets: Those that take the results.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]


def names_in(given: Any) -> tuple[str, ...]:
    """Return the names of components in a name, a list or a tuple of names.

    Raises:
        ArgumentTypeError: It is something else.
    """
    names = () if given is None else (given,) if isinstance(given, str) else given
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise ArgumentTypeError(
            f"src and dst are names of components, or lists of names, got {given!r:.60}"
        )
    return tuple(names)


def ways(batch: BaseBatch, src: Any, dst: Any, name: str) -> list[Way]:
    """Return the rounds of calls: one, or one for each source in a list.

    Args:
        batch: The batch.
        src: A component; a tuple: one argument for each; a list: one round for each, which may be
            tuples; None: the data of a batch without components, else the items themselves.
        dst: The same for the results; None: where they come from. A name that is no component yet
            becomes one.
        name: What to call the function in messages.

    Raises:
        UnknownNameError: (a `KeyError`) There is no such component.
        ArgumentTypeError: `dst` does not have one place for each source in a list.
    """
    if dst is None and src.__class__ is str and src in batch.components:  # the most frequent
        return [Way((src,), (src,))]
    rounds = [(src[0] if isinstance(src, list) and len(src) == 1 else src, dst)]
    if isinstance(src, list) and len(src) > 1:
        places = [None] * len(src) if dst is None else dst
        if not isinstance(places, (list, tuple)) or len(places) != len(src):
            raise ArgumentTypeError(
                f"{name}(): a list of src calls the function once for each, src={src}, so dst is "
                f"a list of {len(src)}, got {dst!r:.60}. To give it {len(src)} arguments write a "
                f"tuple: src={tuple(src)}"
            )
        rounds = list(zip(src, places, strict=True))
    found = []
    for one_src, one_dst in rounds:
        sources = names_in(one_src) or (() if batch.components else ("data",))
        found.append(Way(sources, names_in(one_dst) or sources))
    for way in found:
        _check_names(batch, way, name)
    return found


def _check_names(batch: BaseBatch, way: Way, name: str) -> None:
    known = batch.components or ("data",)
    for component in way.sources:
        if component not in known:
            raise UnknownNameError(
                f"{name}(): a {type(batch).__name__} has no component {component!r}."
                f"{did_you_mean(component, known)}"
            )
    for component in way.targets:
        if component in known:
            continue
        hint = did_you_mean(component, known, only_near=bool(batch.components))
        if hint:
            raise UnknownNameError(
                f"{name}(): a {type(batch).__name__} has no component {component!r}.{hint}"
            )
        check_new_component(batch, component)


def drawn_share(batch: BaseBatch, p: Any, name: str) -> list[bool] | None:
    """Draw for each item whether the function is called, from the batch's generator.

    Args:
        batch: The batch.
        p: The probability; None: all items, and nothing is drawn.
        name: What to call the function in messages.

    Raises:
        ArgumentTypeError: It is no number.
        ArgumentValueError: It is not from 0 to 1.
    """
    if p is None:
        return None
    try:
        share = float(p)
    except (TypeError, ValueError):
        raise ArgumentTypeError(
            f"{name}(): p is the probability that an item is worked on, a number from 0 to 1, got "
            f"{p!r:.60}"
        ) from None
    if not 0 <= share <= 1:
        raise ArgumentValueError(f"{name}(): p={share:g}: a probability is a number from 0 to 1")
    drawn: list[bool] = (batch.rng.random(len(batch)) < share).tolist()
    return drawn


def refuse_default(function: Callable[..., Any], src: Any, name: str, *, is_method: bool) -> None:
    """Refuse a tuple of sources of which one would take the place of a default value, or of more.

    In an older batchflow a list or a tuple of sources gave the function one argument.

    Raises:
        ArgumentTypeError: It would.
    """
    if not isinstance(src, tuple) or isinstance(src, Together) or len(src) < 2:
        return
    try:
        parameters = [*inspect.signature(function).parameters.values()][int(is_method) :]
    except (TypeError, ValueError):  # a function in C that does not tell
        return
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters[1 : len(src)]):
        first, more = parameters[0].name, next(p for p in parameters if p.kind is p.VAR_POSITIONAL)
        raise ArgumentTypeError(
            f"{name}(): src={src} gives the function {len(src)} arguments, and those behind "
            f"{first} would fall into *{more.name}. To call it once for each component write a "
            f"list: src={list(src)}; to give it all of them, a function that names them, or takes "
            "nothing but *items"
        )
    for source, parameter in list(zip(src, parameters, strict=False))[1:]:
        by_place = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if by_place and parameter.default is not parameter.empty:
            raise ArgumentTypeError(
                f"{name}(): src={src} gives the function {len(src)} arguments, and {source!r} "
                f"would become {parameter.name}, which has the default {parameter.default!r:.40}. "
                f"To call it once for each component write a list: src={list(src)}; to give it "
                "all of them, a function whose parameters for them have no defaults"
            )

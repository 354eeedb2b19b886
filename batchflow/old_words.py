"""The words of an older batchflow that are not here: what to write instead, in a sentence each.

Whoever moves from it types them by habit, in pipelines, on batches, as options. An error that knows
the word says how the same is written now; the whole is in `docs/how-to/coming_from_older.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from batchflow.errors import ArgumentTypeError

__all__ = ["OLD_WORDS", "knows_old_options", "old_word"]

Method = TypeVar("Method", bound=Callable[..., Any])

# By what the word is an attribute, or an option, of.
OLD_WORDS: dict[str, dict[str, str]] = {
    "apply_parallel": {
        "requires_rng": "self.rng is a generator of the item's own: leave it out.",
        "rng_seeds": "self.rng is a generator of the item's own: leave it out.",
        "use_self": "A method gets the batch as self, a function does not: leave it out.",
    },
    "split": {
        "shares": "Name the parts, split(train=0.7, test=0.2), or cv_split(shares).",
    },
}


def old_word(word: object, *owners: str) -> str:
    """Return what to write instead of an old word: a sentence with a leading space, or nothing.

    Args:
        word: What was typed.
        owners: Where: keys of `OLD_WORDS`.
    """
    for owner in owners:
        if isinstance(word, str) and word in OLD_WORDS[owner]:
            return f" {OLD_WORDS[owner][word]}"
    return ""


def knows_old_options(owner: str) -> Callable[[Method], Method]:
    """Let a method say of an old option what to write instead.

    Args:
        owner: The key of its options in `OLD_WORDS`.
    """

    def mark(method: Method) -> Method:
        @wraps(method)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for name in kwargs:
                if hint := old_word(name, owner):
                    raise ArgumentTypeError(f"{method.__name__}() has no option {name!r}.{hint}")
            return method(*args, **kwargs)

        return cast(Method, checked)

    return mark

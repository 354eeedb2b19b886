"""The words of an older batchflow that are not here: what to write instead, in a sentence each.

Whoever moves from it types them by habit, in pipelines, on batches, as options. An error that knows
the word says how the same is written now; the whole is in `docs/how-to/coming_from_older.md`.
"""

from __future__ import annotations

__all__ = ["OLD_WORDS", "old_word"]

# By what the word is an attribute, or an option, of.
OLD_WORDS: dict[str, dict[str, str]] = {
    "apply_parallel": {
        "requires_rng": "self.rng is a generator of the item's own: leave it out.",
        "rng_seeds": "self.rng is a generator of the item's own: leave it out.",
        "use_self": "A method gets the batch as self, a function does not: leave it out.",
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

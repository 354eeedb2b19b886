"""The config of a pipeline: nested settings, read by paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchflow.errors import (
    ArgumentTypeError,
    UnknownAttributeError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.old_words import old_word
from batchflow.plan.values import same_value


class Config(Mapping[str, Any]):
    """Nested settings. `/` goes down a level: `config["model/units"]`.

    A config is a value: `update` and `|` make another one. Mappings inside are merged, not
    replaced.

    Args:
        entries: A mapping, whose keys may be paths; None: nothing.
        named: More entries.

    Example:
        >>> config = Config({"model": {"units": 64}, "model/rate": 0.1})
        >>> config["model/units"], config["model"]
        (64, {'units': 64, 'rate': 0.1})
        >>> (config | {"model/units": 128})["model/units"]
        128
    """

    __slots__ = ("_tree",)

    def __init__(self, entries: Mapping[str, Any] | None = None, /, **named: Any) -> None:
        self._tree: dict[str, Any] = {}
        for given in (entries or {}, named):
            if not isinstance(given, Mapping):
                raise ArgumentTypeError(f"a config is made from a mapping, got {given!r:.60}")
            _merge(self._tree, given)

    def get(self, path: str, default: Any = None, *, strict: bool = False) -> Any:
        """Return an entry.

        Args:
            path: Its name, or a path of names.
            default: The value to return if there is none.
            strict: Whether that is an error instead.

        Raises:
            ArgumentTypeError: `path` is no string.
            UnknownNameError: (a `KeyError`) With `strict`: there is no such entry.
        """
        if not isinstance(path, str):
            several = isinstance(path, (list, tuple))
            hint = f" For several: [config.get(path) for path in {path!r:.60}]" * several
            raise ArgumentTypeError(f"the path of an entry is a string, got {path!r:.60}.{hint}")
        node: Any = self._tree
        for name in path.split("/"):
            if not isinstance(node, dict) or name not in node:
                if not strict:
                    return default
                known = node if isinstance(node, dict) else ()
                raise UnknownNameError(
                    f"the config has no {path!r}: no {name!r}.{did_you_mean(name, known)}"
                )
            node = node[name]
        return node

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        hint = f" Its entry: config[{name!r}]." if name in self._tree else old_word(name, "config")
        raise UnknownAttributeError(f"a config has no attribute {name!r}.{hint}")

    def __setitem__(self, path: str, value: Any) -> None:
        """Refuse: a config is a value."""
        raise ArgumentTypeError(
            f"a config is a value: for config[{path!r}] = ... write config = "
            f"config.update({{{path!r}: ...}})"
        )

    def update(self, entries: Mapping[str, Any] | None = None, /, **named: Any) -> Config:
        """Make a config with more entries, or with others in the place of these."""
        return self | Config(entries, **named)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and super().__contains__(path)

    def __getitem__(self, path: str) -> Any:
        return self.get(path, strict=True)

    def __or__(self, other: Mapping[str, Any]) -> Config:
        merged = Config(self)
        _merge(merged._tree, other)
        return merged

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Config):
            return NotImplemented
        return same_value(self._tree, other._tree)

    def __hash__(self) -> int:
        return hash(frozenset(self._tree))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree)

    def __len__(self) -> int:
        return len(self._tree)

    def __repr__(self) -> str:
        return f"Config({self._tree!r})"


def _merge(tree: dict[str, Any], entries: Mapping[str, Any]) -> None:
    for path, value in entries.items():
        if not isinstance(path, str) or not path:
            raise ArgumentTypeError(f"a config's names are strings, got {path!r:.60}")
        *above, last = path.split("/")
        node = tree
        for name in above:
            below = node.get(name)
            node[name] = dict(below) if isinstance(below, dict) else {}
            node = node[name]
        if isinstance(value, Mapping):
            below = node.get(last)
            node[last] = dict(below) if isinstance(below, dict) else {}
            _merge(node[last], value)
        else:
            node[last] = value

"""Numbers of 64 bits for ids: the same for equal ids, in every process and on every machine.

Guarantees:
    - The number of an id depends on nothing but its value and the key: not on the other ids, the
      type of the array that holds it, the seed of Python's hashes, or the platform.
    - Texts, bytes and numbers are hashed many at a time.

A text is hashed by a sum of its code points, each times an odd number that depends on its place
(multilinear hashing: Carter and Wegman, J. Comput. Syst. Sci. 1979), then mixed by the finaliser of
SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), as whole numbers are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.errors import ArgumentTypeError
from batchflow.index.ranges import Ranges

if TYPE_CHECKING:
    import numpy.typing as npt

    Words = npt.NDArray[np.uint64]

_BLOCK = 2**12
_STEP = 0x9E3779B97F4A7C15  # 2**64 divided by the golden ratio


def mixed(words: Words, key: int = 0) -> Words:
    """Return words whose bits all depend on all bits of `words` and of the key."""
    words = words + np.uint64((key + 1) * _STEP % 2**64)
    words ^= words >> np.uint64(30)
    words *= np.uint64(0xBF58476D1CE4E5B9)
    words ^= words >> np.uint64(27)
    words *= np.uint64(0x94D049BB133111EB)
    words ^= words >> np.uint64(31)
    return words


def hashed(ids: range | Ranges | npt.NDArray[Any], key: int = 0) -> Words:
    """Return a number for each id, as an array of shape `(n,)`.

    Raises:
        ArgumentTypeError: An id is of a type that has no hash which is the same everywhere.
    """
    if isinstance(ids, range):
        ids = np.arange(ids.start, ids.stop)
    elif isinstance(ids, Ranges):
        ids = ids.array()
    if ids.dtype.kind != "O":
        return mixed(_words(ids), key)
    items = ids.tolist()
    kinds = set(map(type, items))
    if kinds <= {str, np.str_}:
        return mixed(text_sums(items), key)
    words = np.empty(len(items), dtype=np.uint64)
    for kind in kinds:  # an id has the number that it has among others of its kind alone
        rows = np.fromiter((i for i, item in enumerate(items) if type(item) is kind), dtype=np.intp)
        words[rows] = _of_one_kind(kind, [items[i] for i in rows], key)
    return words


def text_sums(texts: Sequence[str]) -> Words:
    """Return the sum for each text, before it is mixed."""
    sums = np.empty(len(texts), dtype=np.uint64)
    for start in range(0, len(texts), _BLOCK):
        part = texts[start : start + _BLOCK]
        lengths = np.fromiter(map(len, part), dtype=np.int64, count=len(part))
        text = "".join(part).encode("utf-32-le", "surrogatepass")
        codes = np.frombuffer(text, dtype="<u4").astype(np.uint64)
        ends = np.cumsum(lengths)
        starts = ends - lengths
        codes *= _factors(int(lengths.max()))[np.arange(len(codes)) - np.repeat(starts, lengths)]
        total = np.zeros(len(codes) + 1, dtype=np.uint64)
        np.cumsum(codes, out=total[1:])  # modulo 2**64, so that differences are exact
        sums[start : start + _BLOCK] = total[ends] - total[starts]
    return sums


def _words(ids: npt.NDArray[Any]) -> Words:
    """Return one word for each id of an array of a dtype other than object."""
    kind = ids.dtype.kind
    if kind == "T":
        return _sums_of_texts(ids)
    ids = ids.astype(ids.dtype.newbyteorder("="), copy=False)
    if kind in "US":
        return _sums_of_rows(ids)
    if kind in "iu":
        return ids.astype(np.int64 if kind == "i" else np.uint64).view(np.uint64)
    if kind in "mM":
        return ids.astype(np.int64).view(np.uint64)
    if kind == "f" and ids.dtype.itemsize <= 8:
        return _of_floats(ids.astype(np.float64))
    raise ArgumentTypeError(_no_hash(ids.dtype))


def _sums_of_texts(ids: npt.NDArray[Any]) -> Words:
    """Return the sums for an array of texts of different lengths."""
    sums = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), _BLOCK):
        part = ids[start : start + _BLOCK]
        lengths = np.strings.str_len(part)
        longest = max(int(lengths.max()), 1)
        if longest * len(part) <= 4 * int(lengths.sum()) + _BLOCK:  # little room is lost so
            sums[start : start + _BLOCK] = _sums_of_rows(part.astype(f"U{longest}"))
        else:
            sums[start : start + _BLOCK] = text_sums(part.tolist())
    return sums


def _sums_of_rows(ids: npt.NDArray[Any]) -> Words:
    """Return the sums for texts or bytes of a fixed width; those of texts are `text_sums`."""
    unit = np.uint32 if ids.dtype.kind == "U" else np.uint8
    codes = np.ascontiguousarray(ids).view(unit).reshape(len(ids), -1)
    factors = _factors(codes.shape[1])
    sums = np.empty(len(ids), dtype=np.uint64)
    for start in range(0, len(ids), _BLOCK):  # a block stays in the cache
        part = codes[start : start + _BLOCK]
        sums[start : start + _BLOCK] = part.astype(np.uint64) @ factors
    return sums


def _of_floats(ids: npt.NDArray[np.float64]) -> Words:
    """Return words of which those of whole numbers are the same as for ints."""
    words = (ids + 0.0).view(np.uint64)  # the zero below zero is zero
    whole = (np.floor(ids) == ids) & (np.abs(ids) < 2.0**63)
    words[whole] = ids[whole].astype(np.int64).view(np.uint64)
    return words


def _of_one_kind(kind: type, items: list[Any], key: int) -> Words:
    if issubclass(kind, str):
        return mixed(text_sums(items), key)
    if issubclass(kind, (int, np.integer)):
        words = (int(item) % 2**64 for item in items)
        return mixed(np.fromiter(words, dtype=np.uint64, count=len(items)), key)
    if issubclass(kind, (float, np.floating)):
        return mixed(_of_floats(np.array(items, dtype=np.float64)), key)
    import hashlib  # on use, for a light import

    start = key.to_bytes(8, "little", signed=False)
    digests = b"".join(
        hashlib.blake2b(start + _as_bytes(item), digest_size=8).digest() for item in items
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, np.generic):
        item = item.item()
    if isinstance(item, int) or (isinstance(item, float) and item.is_integer()):
        item = int(item)
    if isinstance(item, tuple):
        parts = [_as_bytes(part) for part in item]
        return b"(" + b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    if isinstance(item, str):
        return b"s" + item.encode("utf-8", "surrogatepass")
    if isinstance(item, bytes):
        return b"b" + item
    write = next((write for kinds, write in _WRITTEN if isinstance(item, kinds)), None)
    if write is None:
        raise ArgumentTypeError(_no_hash(type(item).__name__))
    return b"r" + write(item).encode()


# How values are written the same way everywhere.
_WRITTEN: tuple[tuple[Any, Callable[[Any], str]], ...] = (
    ((int, float, complex, type(None)), repr),
    ((date, time), lambda item: item.isoformat()),
    (timedelta, lambda item: repr(item.total_seconds())),
)


def _no_hash(kind: Any) -> str:
    return (
        f'by="hash" takes ids (or groups) that are numbers, texts, bytes, dates or tuples of them; '
        f"some are of {kind}: give their hashes yourself, or split by positions"
    )


def _factors(number: int) -> Words:
    return mixed(np.arange(1, number + 1, dtype=np.uint64) * np.uint64(_STEP)) | np.uint64(1)

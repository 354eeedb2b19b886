"""Pictures of objects, for notebooks and pages: HTML, and Mermaid's language of diagrams.

Guarantees:
    - Everything that comes from users is escaped: ids, texts, names, arguments.
    - Nothing is run or read to show an object; of long ones the beginning is shown.
"""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

_MOST = 8  # ids, thumbnails
_SIDE = 64  # pixels of a thumbnail, at most
_TABLE = "border-collapse:collapse;text-align:left"
_CELL = "padding:2px 10px 2px 0;vertical-align:top;text-align:left"


def of_batch(batch: Any) -> str:
    """Return a table of the components: what they are, their bytes, and pictures of images."""
    rows = []
    for name in batch.components or ("data",):
        value = getattr(batch, name)
        rows.append([name, _kind(value), _bytes(value), Raw(_thumbnails(value))])
    place = "" if batch.number is None else f", number {batch.number}, epoch {batch.epoch}"
    ids = batch.source_ids[:_MOST].tolist()
    more = ", ..." if len(batch) > _MOST else ""
    head = f"{type(batch).__name__} of {len(batch)} items{place}"
    return _block(head, f"ids {ids!r:.200}{more}", _table(rows))


def of_dataset(dataset: Any) -> str:
    """Return what a dataset has: its ids, its class and components, its parts."""
    index = dataset.index
    ids = index._take(slice(0, min(_MOST, len(index)))).indices.tolist()
    rows = [
        ["items", f"{len(dataset)}"],
        ["ids", f"{ids!r:.200}{', ...' if len(index) > _MOST else ''}"],
        ["batch class", dataset.batch_class.__name__],
        ["components", ", ".join(dataset.batch_class.components) or "data"],
    ]
    for name in ("train", "validation", "test"):
        part = getattr(dataset, name)
        if part is not None:
            rows.append([name, f"{len(part)} items"])
    if dataset.classes is not None:
        rows.append(["classes", f"{list(dataset.classes)[:20]!r:.300}"])
    return _block(repr(dataset)[1:-1], "", _table(rows))


def of_pipeline(pipeline: Any) -> str:
    """Return the steps of a pipeline, with the ordered section marked."""
    head, _, steps = repr(pipeline).partition("\n")
    return _block(head[1:-1], "", Raw(f"<pre>{html.escape(steps)}</pre>"))


def of_run(run: Any) -> str:
    """Return what a run is, and where it stands."""
    return _block(repr(run)[1:-1], "", Raw(""))


# ---- Mermaid


def mermaid(plan: Any, shares: dict[int, float] | None = None) -> str:
    """Return a flowchart of a bound plan.

    Args:
        plan: The plan.
        shares: By place of a step, its share of the time, from 0 to 1: it colours the step.
    """
    section = plan.section
    lines = ["flowchart TD", f'    source(["{_safe(plan.batch_class.__name__)}: source batches"])']
    before, is_open = "source", False
    for place, bound in enumerate(plan.steps):
        if place == section.start and section.start < section.stop:
            lines.append('    subgraph section["ordered section: one batch at a time"]')
            is_open = True
        name, what = f"s{place}", _safe(f"{bound.step}")
        is_regrouping = not bound.leaves and hasattr(bound, "what")
        lines.append(f'    {name}{{{{"{what}"}}}}' if is_regrouping else f'    {name}["{what}"]')
        models = sorted({leaf.model for leaf in bound.leaves if leaf.model})
        for model in models:
            lines.append(f'    m{place}[("{_safe(model)}")] --- {name}')
        for number, other in enumerate(_nested(bound)):
            lines.append(
                f'    o{place}_{number}(["{_safe(repr(other).splitlines()[0])}"]) --> {name}'
            )
        if is_open and place == section.stop - 1:
            lines.append("    end")
            is_open = False
        lines.append(f"    {before} --> {name}")
        before = name
        if shares and place in shares:
            lines.append(f"    style {name} fill:{_colour(shares[place])}")
    lines.append(f'    {before} --> out(["your loop"])')
    return "\n".join(lines)


def _nested(bound: Any) -> list[Any]:
    joined = [other for leaf in bound.leaves for other in leaf.joined]
    return joined + list(getattr(getattr(bound, "what", None), "others", ()))


def _safe(text: str) -> str:
    """Return a text that ends no string, tag or link of a diagram."""
    escaped = html.escape(text[:80] + ("..." if len(text) > 80 else ""))
    return "".join(c if c.isalnum() or c in " .,:;()=_-+*/&#<>" else f"#{ord(c)};" for c in escaped)


def _colour(share: float) -> str:
    strength = int(255 - 155 * min(max(share, 0.0), 1.0))
    return f"#ff{strength:02x}{strength:02x}"


# ---- HTML


class Raw(str):
    """A text that is HTML already."""


def _block(head: str, below: str, body: str) -> str:
    small = f"<div><small>{html.escape(below)}</small></div>" if below else ""
    return f"<div><strong>{html.escape(head)}</strong>{small}{body}</div>"


def _table(rows: Iterable[Iterable[Any]]) -> Raw:
    cells = (
        "".join(
            f'<td style="{_CELL}">{c if isinstance(c, Raw) else html.escape(str(c))}</td>'
            for c in row
        )
        for row in rows
    )
    return Raw(f'<table style="{_TABLE}">{"".join(f"<tr>{row}</tr>" for row in cells)}</table>')


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    try:
        shape = getattr(value, "shape", None)
        if shape is None:
            return f"{name} of {len(value)}" if hasattr(value, "__len__") else name
        return f"{getattr(value, 'dtype', name)} {tuple(shape)}"
    except Exception:  # noqa: BLE001  of the user's
        return name


def _bytes(value: Any) -> str:
    try:
        n_bytes = getattr(value, "nbytes", None)
    except Exception:  # noqa: BLE001  of the user's
        n_bytes = None
    if not isinstance(n_bytes, int):
        return ""
    for unit in ("B", "KB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} GB"


def _thumbnails(value: Any) -> str:
    is_images = isinstance(value, np.ndarray) and value.dtype.kind in "uifb"
    if not is_images or not (value.ndim == 3 or (value.ndim == 4 and value.shape[3] in (1, 3))):
        return ""
    if min(value.shape[1:3]) < 4 or not len(value):
        return ""
    return "".join(
        f'<img src="data:image/png;base64,{base64.b64encode(png(image)).decode()}" '
        'style="image-rendering:pixelated;height:48px;margin-right:4px">'
        for image in value[:_MOST]
    )


def png(image: Any) -> bytes:
    """Return a picture of an image, of shape `(height, width)` or with 1 or 3 channels, as PNG."""
    step = max(1, -(-max(image.shape[:2]) // _SIDE))
    small = image[::step, ::step].astype(float)
    finite = small[np.isfinite(small)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    is_bytes = image.dtype == np.uint8
    with np.errstate(all="ignore"):  # of numbers that are far apart nothing can be seen
        scaled = small if is_bytes else (small - low) / ((high - low) or 1.0) * 255
    pixels = np.nan_to_num(scaled).clip(0, 255).astype(np.uint8)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + pixels[row].tobytes() for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

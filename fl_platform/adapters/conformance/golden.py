"""The reader of the golden vectors; it needs nothing but Python and may be copied."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).with_name("vectors")


def read_vectors(path: Path) -> Iterator[dict[str, Any]]:
    """The cases of one file: ``rule kind input family settings f rows result tolerance``.

    Raises:
        ValueError: another format than 1.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["format"] != 1:
        raise ValueError(f"Expected format 1 in {path}, got {content['format']}.")
    same = {name: content[name] for name in ("rule", "kind", "tolerance")}
    for vector in content["vectors"]:
        yield same | vector | content["inputs"][vector["input"]]


def difference(got: Any, expected: Any) -> float:
    """Largest absolute difference, over the largest expected value where that is above 1."""
    pairs = list(zip(_flat(got), _flat(expected), strict=True))
    size = max(1.0, *(abs(wanted) for _, wanted in pairs))
    worst = max(abs(value - wanted) for value, wanted in pairs)
    return worst / size if all(value == value for value, _ in pairs) else float("inf")


def _flat(values: Any) -> list[float]:
    return [x for v in values for x in _flat(v)] if hasattr(values, "__iter__") else [float(values)]

"""The inputs of the comparison: random, tied, degenerate and hostile rows, with three decimals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
FAMILIES = ("random", "tied", "degenerate", "hostile")


@dataclass(frozen=True)
class Input:
    """Rows ``(n, d)`` and f.

    Attributes:
        name: of the input, unique.
        family: one of `FAMILIES`.
        f: number of rows that the rule takes for Byzantine.
        rows: for an attack they are the honest rows, f the number of rows beside them.
    """

    name: str
    family: str
    f: int
    rows: Rows


def inputs() -> list[Input]:
    """The stored inputs."""
    draw = np.random.Generator(np.random.PCG64(17))

    def normal(n: int, d: int, shift: float = 0.5) -> Rows:
        return np.round(draw.normal(size=(n, d)) + shift, 3)

    made = [
        Input("random-11", "random", 2, normal(11, 5)),
        Input("random-12", "random", 2, normal(12, 4)),
        Input("random-skewed", "random", 3, np.round(draw.exponential(size=(15, 3)) + 0.1, 3)),
    ]
    twice = normal(6, 4)
    made += [
        Input("tied-pairs", "tied", 2, np.concatenate([twice, twice[:5]])),
        Input("tied-integers", "tied", 2, np.round(draw.normal(size=(12, 3)) * 1.5) + 0.0),
        Input("tied-line", "tied", 2, np.arange(1.0, 12.0)[:, None] * np.array([1.0, 2.0])),
    ]
    made += [
        Input("all-equal", "degenerate", 2, np.tile(normal(1, 4), (11, 1))),
        Input("one-column", "degenerate", 2, normal(11, 1)),
        Input("no-attackers", "degenerate", 0, normal(8, 3)),
    ]
    far, near, collude = normal(11, 4), normal(11, 4), normal(12, 4)
    far[[1, 7]] = [[1e6, -1e6, 1e6, 1e6], [-2e6, 1e6, 1e6, 3e6]]
    near[[0, 5]] = np.round(near[3] + 0.001, 3)
    collude[[2, 9]] = np.round(-1.5 * collude.mean(0), 3)
    made += [
        Input("far", "hostile", 2, far),
        Input("copies-beside-a-row", "hostile", 2, near),
        Input("turned-mean", "hostile", 2, collude),
    ]
    return made


def drawn(count: int = 6, n: int = 20, f: int = 4, d: int = 50) -> Iterator[Input]:
    """Further random inputs that are larger than the stored ones."""
    draw = np.random.Generator(np.random.PCG64(18))
    for number in range(count):
        yield Input(f"drawn-{number}", "random", f, draw.normal(size=(n, d)) + 0.3)


def small(limit: int = 400) -> Iterator[Input]:
    """Small integers, the fewest and simplest rows first: to find the least that differs."""
    draw = np.random.Generator(np.random.PCG64(19))
    for n in range(3, 12):
        for f in range((n - 1) // 2 + 1):
            for number in range(limit // 40):
                d = 1 + number % 2
                rows = draw.integers(0, 3 + number, size=(n, d)).astype(float)
                yield Input("small", "small", f, rows)

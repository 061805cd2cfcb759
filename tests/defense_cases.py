"""Every variant of every defense with its slow twin: what the tests over all rules walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch

from fl_platform import defenses
from fl_platform.core import generator
from fl_platform.defenses.dnc import draw_distinct
from tests import reference_defenses as reference
from tests import reference_field as field_reference

Reference = Callable[[reference.Rows, int], reference.Rows]


@dataclass(frozen=True)
class Variant:
    """A rule with parameters, and the reference that must agree with its first answer."""

    rule: str
    twin: Reference
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        inside = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.rule}({inside})"

    def build(self) -> Callable[..., Any]:
        rule = getattr(defenses, self.rule)
        build = rule if isinstance(rule, type) else partial(partial, rule)
        return build(**self.parameters)


def same(rule: str, **parameters: Any) -> Variant:
    """A variant whose reference has the same name and parameters."""
    home = reference if hasattr(reference, rule) else field_reference
    return Variant(rule, partial(getattr(home, rule), **parameters), parameters)


def clipping(tau: float = 10.0, iterations: int = 1, start: str = "zero", **others: Any) -> Variant:
    def twin(rows: reference.Rows, f: int) -> reference.Rows:
        starts = {
            "zero": np.zeros(rows.shape[1]),
            "mean": reference.mean(rows, f),
            "median": reference.median(rows, f),
        }
        return reference.centered_clipping(rows, starts[start], tau, iterations)

    parameters = {"tau": tau, "iterations": iterations, "start": start} | others
    return Variant("centered_clipping", twin, parameters)


def spectral(iterations: int, coordinates: int, replacement: bool, filter: float = 1.0) -> Variant:
    def twin(rows: reference.Rows, f: int) -> reference.Rows:
        # The draw is the rule's own: that it is uniform is tested apart, here its use is.
        stream = generator(0, "dnc", 0)
        d = rows.shape[1]
        draws = []
        for _ in range(iterations):
            if replacement:
                draws.append(torch.randint(d, (coordinates,), generator=stream).tolist())
            else:
                draws.append(draw_distinct(d, coordinates, stream).tolist())
        return reference.dnc(rows, f, draws, filter)

    parameters = {
        "iterations": iterations,
        "coordinates": coordinates,
        "filter": filter,
        "replacement": replacement,
    }
    return Variant("dnc", twin, parameters)


VARIANTS = [
    same("mean"),
    same("median"),
    same("median", kind="lower"),
    same("median", kind="upper"),
    same("trimmed_mean"),
    same("trimmed_mean", trim=1),
    same("krum"),
    same("krum", neighbors="n-f-1"),
    same("krum", distance_power=1),
    same("krum", distance_power=4),
    same("multi_krum"),
    same("multi_krum", neighbors="n-f-1"),
    same("multi_krum", distance_power=1, averaged=3),
    same("multi_krum", distance_power=4),
    same("multi_krum", averaged="n-f-2"),
    same("multi_krum", averaged="n-2f-2"),
    same("rfa"),
    same("rfa", start="mean"),
    same("rfa", start="median"),
    same("rfa", start="zero", iterations=3, eps=0.1),
    same("aksel"),
    same("aksel", center="lower"),
    same("aksel", center="upper"),
    same("aksel", keep="n-f"),
    clipping(),
    clipping(tau=1.0, iterations=3),
    clipping(tau=1.0, start="median"),
    clipping(tau=2.0, iterations=2, start="mean", memory=False),
    spectral(1, 10_000, False),
    spectral(1, 9, True),
    spectral(3, 2, False),
    spectral(5, 3, False, filter=1.5),
    same("bulyan"),
    same("bulyan", neighbors="n-f-1", center="lower"),
    same("bulyan", selection="one-shot"),
    same(
        "bulyan",
        selection="one-shot",
        distance_power=1,
        center="upper",
        averaged="deviations",
    ),
    same("mda"),
    same("norm_bound"),
    same("norm_bound", bound=1.5),
    same("cge"),
    same("cge", average="sum"),
    same("mea_med"),
    same("mea_med", center="lower"),
    same("phocas"),
    same("monna"),
    same("monna", pivot=3),
    same("caf"),
    same("smea"),
    same("foolsgold"),
    same("foolsgold", average="sum"),
    same("foolsgold", average="weights"),
    Variant("flame", field_reference.flame, {"noise": 0.0}),
    same("rlr"),
    same("rlr", threshold=6),
    same("fed_seca"),
    same("fed_seca", sparsity=0.3),
    same("lasa"),
    same("lasa", sparsity=0.0, norm_bound=1.0),
    Variant("bulyan", field_reference.bulyan_of_averages, {"selection": "multi-krum"}),
    Variant(
        "bulyan",
        partial(field_reference.bulyan_of_averages, averaged="trimmed"),
        {"selection": "multi-krum", "averaged": "trimmed"},
    ),
    Variant("rfa", field_reference.geometric_median, {"iterations": "converged"}),
]

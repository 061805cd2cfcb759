"""The rules of the package krum."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from fl_platform.adapters.conformance.inputs import Rows
from fl_platform.adapters.conformance.verdicts import Peer

AGGREGATORS, ATTACKS = "krum.primitives.aggregators", "krum.primitives.attacks"


def peers() -> list[Peer]:
    """Every rule of krum that has a counterpart here."""

    def named(home: str, module: str, name: str) -> Any:
        return getattr(importlib.import_module(f"{home}.{module}"), name)

    def rule(module: str, name: str, ours: str, settings: dict[str, Any], **given: Any) -> Peer:
        kind = named(AGGREGATORS, module, name)

        def call(rows: Rows, f: int) -> Any:
            told = {k: v(len(rows), f) if callable(v) else v for k, v in given.items()}
            return kind.aggregate(torch.from_numpy(rows), n=len(rows), f=f, **told)

        return Peer("krum", name, ours, call, settings)

    def sent(module: str, name: str, ours: str, settings: dict[str, Any], **given: Any) -> Peer:
        kind = named(ATTACKS, module, name)

        def call(rows: Rows, f: int) -> Any:
            return kind.generate(torch.from_numpy(rows), f=f, **given)[0]

        return Peer("krum", name, ours, call, settings)

    around = named(AGGREGATORS, "nearest_neighbor_average", "NearestNeighborAverage")

    def nearest(rows: Rows, f: int) -> Any:
        vectors = torch.from_numpy(rows)
        return around.aggregate(vectors, num_closest=len(rows) - f, pivot=vectors[3])

    trimmed = {"selection": "multi-krum", "averaged": "trimmed"}
    return [
        rule("average", "Average", "mean", {}),
        rule("median", "Median", "median", {}),
        rule("trimmed_mean", "TrimmedMean", "trimmed_mean", {}),
        rule("krum", "Krum", "krum", {}),
        rule("multikrum", "MultiKrum", "multi_krum", {}, m=lambda n, f: n - f),
        rule(
            "geometric_median",
            "GeometricMedian",
            "rfa",
            {"iterations": "converged"},
            nu=1e-9,
            tol=1e-12,
            max_iter=9999,
        ),
        rule("aksel", "Aksel", "aksel", {"keep": "n-f"}),
        rule("brute", "Brute", "mda", {}),
        rule("bulyan", "Bulyan", "bulyan", trimmed),
        Peer("krum", "NearestNeighborAverage", "monna", nearest, {"pivot": 3}),
        sent("sign_flip", "SignFlipAttack", "ipm", {"scale": 1.0}),
        sent("alie", "ALIEAttack", "lie", {"z_from": "baruch_n", "side": "below"}),
    ]

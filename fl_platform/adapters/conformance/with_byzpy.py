"""ByzPy's aggregators, pre-aggregators and attacks, on one process."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from fl_platform.adapters.conformance.inputs import Rows
from fl_platform.adapters.conformance.verdicts import Peer


def listed(rows: Rows) -> list[torch.Tensor]:
    """Rows as the list of tensors that ByzPy takes."""
    return [torch.from_numpy(row) for row in rows]


def peers() -> list[Peer]:
    """Every rule of ByzPy that has a counterpart here."""
    column = importlib.import_module("byzpy.aggregators.coordinate_wise")
    geometric = importlib.import_module("byzpy.aggregators.geometric_wise")
    norm = importlib.import_module("byzpy.aggregators.norm_wise")
    before = importlib.import_module("byzpy.pre_aggregators")
    attack = importlib.import_module("byzpy.attacks")

    def rule(kind: Any, ours: str, settings: dict[str, Any], **given: Any) -> Peer:
        def call(rows: Rows, f: int) -> Any:
            told = {k: v(len(rows), f) if callable(v) else v for k, v in given.items()}
            return kind(**told).aggregate(listed(rows))

        return Peer("byzpy", kind.__name__, ours, call, settings)

    def mixing(kind: Any, ours: str, settings: dict[str, Any], **given: Any) -> Peer:
        def call(rows: Rows, f: int) -> Any:
            told = {k: v(len(rows), f) if callable(v) else v for k, v in given.items()}
            return torch.stack(kind(**told).pre_aggregate(listed(rows)))

        return Peer("byzpy", kind.__name__, ours, call, settings)

    def sent(kind: Any, ours: str, settings: dict[str, Any], **given: Any) -> Peer:
        def call(rows: Rows, f: int) -> Any:
            told = {k: v(len(rows), f) if callable(v) else v for k, v in given.items()}
            return kind(**told).apply(honest_grads=listed(rows))

        return Peer("byzpy", kind.__name__, ours, call, settings)

    def count(n: int, f: int) -> int:
        return f

    near, lower = {"neighbors": "n-f-1"}, {"center": "lower"}
    clip = {"tau": 1.0, "iterations": 2, "start": "mean", "memory": False}
    above = {"z_from": "baruch_n", "side": "above"}
    return [
        rule(column.CoordinateWiseMedian, "median", {"kind": "lower"}),
        rule(column.CoordinateWiseTrimmedMean, "trimmed_mean", {}, f=count),
        rule(column.MeanOfMedians, "mea_med", lower, f=count),
        rule(geometric.Krum, "krum", near, f=count),
        rule(geometric.MultiKrum, "multi_krum", near, f=count, q=lambda n, f: n - f),
        rule(
            geometric.GeometricMedian, "rfa", {"iterations": "converged"}, tol=1e-12, max_iter=9999
        ),
        rule(geometric.MinimumDiameterAveraging, "mda", {}, f=count),
        rule(geometric.MoNNA, "monna", {"pivot": 3}, f=count, reference_index=3),
        rule(geometric.SMEA, "smea", {}, f=count),
        rule(norm.CAF, "caf", {}, f=count),
        rule(norm.ComparativeGradientElimination, "cge", {}, f=count),
        rule(norm.CenteredClipping, "centered_clipping", clip, c_tau=1.0, M=2),
        mixing(before.NearestNeighborMixing, "nnm", {}, f=count),
        mixing(before.Clipping, "clipping", {"c": 1.5}, threshold=1.5),
        mixing(before.ARC, "arc", {}, f=count),
        sent(attack.EmpireAttack, "ipm", {"scale": 1.0}),
        sent(attack.LittleAttack, "lie", above, f=count),
        sent(attack.MimicAttack, "mimic", {"copied": 2}, epsilon=2),
    ]

"""ByzFL's aggregators, pre-aggregators and attacks."""

from __future__ import annotations

import importlib
from typing import Any

from fl_platform.adapters.conformance.verdicts import Peer


def peers() -> list[Peer]:
    """Every rule of ByzFL that has a counterpart here."""
    byzfl = importlib.import_module("byzfl")
    near: dict[str, Any] = {"neighbors": "n-f-1"}

    def peer(name: str, rule: str, call: Any, draws: bool = False, **settings: Any) -> Peer:
        return Peer("byzfl", name, rule, call, settings, draws)

    return [
        peer("Average", "mean", lambda rows, f: byzfl.Average()(rows)),
        peer("Median", "median", lambda rows, f: byzfl.Median()(rows)),
        peer("TrMean", "trimmed_mean", lambda rows, f: byzfl.TrMean(f)(rows)),
        peer("Krum", "krum", lambda rows, f: byzfl.Krum(f)(rows), **near),
        peer("MultiKrum", "multi_krum", lambda rows, f: byzfl.MultiKrum(f)(rows), **near),
        peer(
            "GeometricMedian",
            "rfa",
            lambda rows, f: byzfl.GeometricMedian(nu=0.1, T=3)(rows),
            start="zero",
            iterations=3,
            eps=0.1,
        ),
        peer(
            "CenteredClipping",
            "centered_clipping",
            lambda rows, f: byzfl.CenteredClipping(L=2, tau=1.0)(rows),
            tau=1.0,
            iterations=2,
        ),
        peer("MDA", "mda", lambda rows, f: byzfl.MDA(f)(rows)),
        peer("MoNNA", "monna", lambda rows, f: byzfl.MoNNA(f, idx=3)(rows), pivot=3),
        peer("Meamed", "mea_med", lambda rows, f: byzfl.Meamed(f)(rows)),
        peer("CAF", "caf", lambda rows, f: byzfl.CAF(f)(rows), draws=True),
        peer("SMEA", "smea", lambda rows, f: byzfl.SMEA(f)(rows), draws=True),
        peer("NNM", "nnm", lambda rows, f: byzfl.NNM(f)(rows)),
        peer("Clipping", "clipping", lambda rows, f: byzfl.Clipping(c=1.5)(rows), c=1.5),
        peer("ARC", "arc", lambda rows, f: byzfl.ARC(f)(rows)),
        peer("SignFlipping", "ipm", lambda rows, f: byzfl.SignFlipping()(rows), scale=1.0),
        peer(
            "InnerProductManipulation",
            "ipm",
            lambda rows, f: byzfl.InnerProductManipulation(tau=2.0)(rows),
            scale=2.0,
        ),
        peer(
            "ALittleIsEnough",
            "lie",
            lambda rows, f: byzfl.ALittleIsEnough(tau=1.5)(rows),
            z=1.5,
            side="above",
            ddof=1,
        ),
        peer("Mimic", "mimic", lambda rows, f: byzfl.Mimic(2)(rows), copied=2),
    ]

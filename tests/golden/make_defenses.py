"""Write ``defenses.json``: ``python -m tests.golden.make_defenses [folder with byzfl]``.

See README.md beside this file for what each value is and when to run it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.defense_cases import VARIANTS

TARGET = Path(__file__).with_name("defenses.json")
F = 2


def rows() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Ten honest rows about (1, 2, ...) and two colluding ones, with five decimals."""
    # Seed 139 of the first 400 tells the most variants of Krum, Multi-Krum and DnC apart.
    draw = np.random.Generator(np.random.PCG64(139))
    made = draw.standard_t(3, size=(12, 6)) + np.arange(1, 7)
    made[3] = made[8] = -1.5 * made[[0, 1, 2]].mean(0)
    made[8] += 0.25
    return np.round(made, 5)


def from_byzfl(folder: str) -> list[dict[str, Any]]:
    sys.path.insert(0, folder)
    import byzfl

    entries: list[tuple[str, dict[str, Any], Any]] = [
        ("mean", {}, byzfl.Average()),
        ("median", {}, byzfl.Median()),
        ("trimmed_mean", {}, byzfl.TrMean(f=F)),
        ("krum", {"neighbors": "n-f-1"}, byzfl.Krum(f=F)),
        ("multi_krum", {"neighbors": "n-f-1"}, byzfl.MultiKrum(f=F)),
        (
            "rfa",
            {"start": "zero", "iterations": 3, "eps": 0.1},
            byzfl.GeometricMedian(nu=0.1, T=3),
        ),
        ("centered_clipping", {"tau": 2.0, "iterations": 3}, byzfl.CenteredClipping(L=3, tau=2.0)),
        ("mda", {}, byzfl.MDA(f=F)),
        ("mea_med", {}, byzfl.Meamed(f=F)),
        ("monna", {}, byzfl.MoNNA(f=F)),
        ("monna", {"pivot": 3}, byzfl.MoNNA(f=F, idx=3)),
        ("nnm", {}, byzfl.NNM(f=F)),
    ]
    return [
        {
            "rule": rule,
            "parameters": parameters,
            "source": "byzfl 0.0.11",
            "value": np.asarray(answer(rows())).tolist(),
        }
        for rule, parameters, answer in entries
    ]


def source_of(twin: Any) -> str:
    """The module of the reference, found through any number of partials."""
    while hasattr(twin, "func"):
        twin = twin.func
    name = str(twin.__module__).rpartition(".")[2]
    return name if name.startswith("reference") else "reference_defenses"


def from_reference() -> list[dict[str, Any]]:
    return [
        {
            "rule": variant.rule,
            "parameters": variant.parameters,
            "source": f"tests/{source_of(variant.twin)}.py",
            "value": variant.twin(rows(), F).tolist(),
        }
        for variant in VARIANTS
    ]


if __name__ == "__main__":
    outside = from_byzfl(sys.argv[1]) if len(sys.argv) > 1 else []
    document = {"rows": rows().tolist(), "f": F, "answers": [*outside, *from_reference()]}
    TARGET.write_text(json.dumps(document, indent=1) + "\n")

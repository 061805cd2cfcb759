"""Hostile numbers against every rule and every mixing, in every order and precision."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from fl_platform import defenses
from fl_platform.core import Updates
from fl_platform.defenses import (
    Bucketing,
    CenteredClipping,
    Chain,
    DnC,
    aksel,
    bulyan,
    krum,
    largest_f,
    mda,
    mean,
    median,
    multi_krum,
    nnm,
    rfa,
    trimmed_mean,
)

N, F, D = 40, 4, 24  # 20 buckets of two leave Bulyan its 4 f + 3 rows
NAN, INF = float("nan"), float("inf")


def filled(value: float) -> Tensor:
    return torch.full((F, D), value, dtype=torch.float64)


def mixture() -> Tensor:
    rows = filled(1.0)
    rows[0, 0], rows[1, 1], rows[2], rows[3, ::2] = NAN, INF, -INF, 1e20
    return rows


def one(value: float) -> Tensor:
    rows = filled(1.0)
    rows[:, 3] = value
    return rows


HOSTILE: dict[str, Tensor] = {
    "nan": filled(NAN),
    "one nan": one(NAN),
    "inf": filled(INF),
    "-inf": filled(-INF),
    "mixture": mixture(),
    "3.4e38": filled(3.4e38),
    "1e38": filled(-1e38),
    "1e20": filled(1e20),
    "1e18": filled(1e18),
    "1e12": filled(-1e12),
    "1e10": filled(1e10),
    "denormal": filled(1e-45),
    "-0.0": filled(-0.0),
}
ROBUST: dict[str, Callable[[], Any]] = {
    "median": lambda: median,
    "median(lower)": lambda: partial(median, kind="lower"),
    "trimmed_mean": lambda: trimmed_mean,
    "krum": lambda: krum,
    "multi_krum": lambda: multi_krum,
    "rfa": lambda: rfa,
    "rfa(median)": lambda: partial(rfa, start="median"),
    "rfa(zero)": lambda: partial(rfa, start="zero"),
    "aksel": lambda: aksel,
    "centered_clipping": lambda: CenteredClipping(),
    "centered_clipping(5 steps)": lambda: CenteredClipping(tau=5.0, iterations=5, start="median"),
    "dnc": DnC,
    "dnc(sampled)": lambda: DnC(iterations=3, coordinates=7, replacement=True),
    "bulyan": lambda: bulyan,
    "mda": lambda: mda,
}
# Finite, as everything is, but not held near the honest rows.
EXCEPTIONS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "mean": (lambda: mean, "1e10", "bears nobody"),
    "rfa(mean)": (
        lambda: partial(rfa, start="mean"),
        "1e12",
        "eight steps from a mean that is far away do not come back; start=inner does",
    ),
}
MIXINGS: dict[str, Callable[[], list[Any]]] = {
    "none": list,
    "nnm": lambda: [nnm],
    "bucketing": lambda: [Bucketing(s=2)],
    "nnm + bucketing": lambda: [nnm, Bucketing(s=2)],
}
ORDERS = {
    "last": torch.arange(N),
    "first": torch.arange(N).roll(F),
    "shuffled": torch.randperm(N, generator=torch.Generator().manual_seed(3)),
}
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def honest() -> Tensor:
    stream = torch.Generator().manual_seed(11)
    return torch.randn(N - F, D, generator=stream, dtype=torch.float64) + 1


def answer(rule: Callable[[], Any], mixing: Callable[[], list[Any]], received: Tensor) -> Tensor:
    chain = Chain(rule(), mixing())
    assert largest_f(chain, N) >= F
    before = received.clone()
    result = chain(Updates(received), F)
    assert torch.equal(received.nan_to_num(7), before.nan_to_num(7))
    if result.weights is not None:
        assert result.weights.isfinite().all()
    return result.vector


@pytest.mark.parametrize("mixing", MIXINGS)
@pytest.mark.parametrize("name", [*ROBUST, *EXCEPTIONS])
def test_hostile_rows_move_no_answer_out_of_the_honest_rows(name: str, mixing: str) -> None:
    rule = ROBUST[name] if name in ROBUST else EXCEPTIONS[name][0]
    good = honest()
    center, diameter = good.mean(0), torch.cdist(good, good).max()
    for hostile, rows in HOSTILE.items():
        for order, index in ORDERS.items():
            for dtype in DTYPES:
                received = torch.cat([good, rows])[index].to(dtype)
                vector = answer(rule, MIXINGS[mixing], received)
                assert vector.isfinite().all(), (hostile, order, dtype)
                if name in ROBUST:
                    away = (vector.double() - center).norm()
                    assert away <= diameter, (hostile, order, dtype, float(away / diameter))


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_exceptions_are_exceptions(name: str) -> None:
    rule, hostile, why = EXCEPTIONS[name]
    good = honest()
    vector = answer(rule, list, torch.cat([good, HOSTILE[hostile]]))
    assert (vector - good.mean(0)).norm() > torch.cdist(good, good).max(), why


def test_without_the_gate_hostile_rows_come_through() -> None:
    received = torch.cat([honest(), HOSTILE["nan"]])
    assert not Chain(mean, gate=False)(Updates(received), F).vector.isfinite().all()


# The field's rules answer with finite numbers whatever is sent; how near they stay to the honest
# rows depends on assumptions that this input does not grant each of them.
FIELD: dict[str, Callable[[], Any]] = {
    "norm_bound": lambda: defenses.norm_bound,
    "cge": lambda: defenses.cge,
    "mea_med": lambda: defenses.mea_med,
    "phocas": lambda: defenses.phocas,
    "monna": lambda: defenses.monna,
    "caf": lambda: defenses.caf,
    "foolsgold": lambda: defenses.foolsgold(),
    "flame": lambda: defenses.flame(noise=0.0),
    "sign_guard": lambda: defenses.sign_guard(),
    "gas": lambda: defenses.gas(groups=3),
    "rlr": lambda: defenses.rlr,
    "fed_seca": lambda: defenses.fed_seca,
    "lasa": lambda: defenses.lasa,
    "rfa(converged)": lambda: partial(rfa, iterations="converged"),
    "bulyan(multi-krum)": lambda: partial(bulyan, selection="multi-krum"),
    "fltrust": lambda: (
        lambda updates, num_byzantine: defenses.fltrust(
            updates, num_byzantine, torch.ones(updates.dimension)
        )
    ),
}
HELD = ("norm_bound", "cge", "mea_med", "phocas", "caf", "flame", "lasa", "gas", "rfa(converged)")


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("name", FIELD)
def test_the_fields_rules_stay_finite(name: str, clipped: bool) -> None:
    good = honest()
    center, diameter = good.mean(0), torch.cdist(good, good).max()
    for hostile, rows in HOSTILE.items():
        for dtype in DTYPES:
            received = torch.cat([good, rows])[ORDERS["shuffled"]].to(dtype)
            vector = answer(FIELD[name], lambda: [defenses.arc] if clipped else [], received)
            assert vector.isfinite().all(), (hostile, dtype)
            if name in HELD:
                away = (vector.double() - center).norm()
                assert away <= diameter, (hostile, dtype, float(away / diameter))

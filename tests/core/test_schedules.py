"""Schedules against torch's schedulers and the formulas of papers."""

import math

import pytest
import torch
from torch.optim import lr_scheduler

from fl_platform.core.schedules import KINDS, Cosine, Inverse, Milestones, Piecewise, Schedule

ROUNDS = 25


def torch_factors(make):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(ROUNDS):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        (
            Milestones(at=[3, 4, 11], factor=0.3),
            lambda o: lr_scheduler.MultiStepLR(o, [3, 4, 11], gamma=0.3),
        ),
        (
            Inverse(period=7),
            lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + math.floor(t / 7))),
        ),
        (
            Inverse(period=7, stepped=False),
            lambda o: lr_scheduler.LambdaLR(o, lambda t: 7 / (t + 7)),
        ),
        (
            Cosine(rounds=ROUNDS, low=0.1),
            lambda o: lr_scheduler.CosineAnnealingLR(o, ROUNDS, eta_min=0.1),
        ),
        (
            Schedule(warmup=5),
            lambda o: lr_scheduler.LambdaLR(o, lambda t: min(1, (t + 1) / 5)),
        ),
    ],
)
def test_factors_equal_those_of_torch(schedule, make):
    assert [schedule(t) for t in range(ROUNDS)] == pytest.approx(torch_factors(make), rel=1e-12)


def test_straight_lines_between_points():
    blades = Piecewise(points=[(0, 0.1), (1500, 0.1), (1501, 0.01), (2000, 0.02)])
    assert [blades(t) for t in (0, 700, 1500, 1501, 2000, 9999)] == pytest.approx(
        [0.1, 0.1, 0.1, 0.01, 0.02, 0.02]
    )
    assert Piecewise(points=[(2, 1.0), (4, 3.0)])(3) == 2.0
    assert Piecewise(points=[(2, 1.0), (4, 3.0)])(0) == 1.0


def test_warm_up_multiplies_any_kind():
    plain, warm = Inverse(period=2), Inverse(period=2, warmup=4)
    assert [warm(t) / plain(t) for t in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])


def test_every_kind_has_a_name():
    assert set(KINDS.values()) == {Schedule, *Schedule.__subclasses__()}


@pytest.mark.parametrize(
    ("kind", "wrong", "name"),
    [
        (Schedule, {"warmup": -1}, "warmup"),
        (Milestones, {"at": [5, 3]}, "at"),
        (Milestones, {"at": [3, 3]}, "at"),
        (Milestones, {"at": [0]}, "at"),
        (Milestones, {"at": []}, "at"),
        (Milestones, {"at": [3], "factor": 0.0}, "factor"),
        (Inverse, {"period": 0}, "period"),
        (Cosine, {"rounds": 0}, "rounds"),
        (Cosine, {"rounds": 9, "low": 2.0}, "low"),
        (Piecewise, {"points": [(3, 1.0), (2, 1.0)]}, "points"),
        (Piecewise, {"points": [(0, -1.0)]}, "points"),
    ],
)
def test_impossible_schedules_are_refused(kind, wrong, name):
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        kind(**wrong)


def test_rounds_count_from_zero():
    with pytest.raises(ValueError, match="round"):
        Schedule()(-1)

"""A pytest plug-in: ByzPy's classes compute with our rules, and the tests that reach one are noted.

Only ``aggregate``, ``pre_aggregate`` and ``apply`` are replaced. What ByzPy computes in chunks or
on actors stays its own, so tests that compare both compare its chunks with our rules.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from byzpy import attacks, pre_aggregators
from byzpy.aggregators import coordinate_wise, geometric_wise, norm_wise

from fl_platform import attacks as our_attacks
from fl_platform import defenses
from fl_platform.adapters import to_byzfl

reached: set[str] = set()
outcomes: dict[str, str] = {}
running = ""


def ours(make, many=False):
    """A method that answers with the rule that ``make`` gives for an object of ByzPy."""

    def method(self, rows=None, *, honest_grads=None, **_):
        reached.add(running)
        rows = honest_grads if rows is None else rows
        answer = make(self)([torch.as_tensor(row).reshape(-1) for row in rows])
        if many:
            return [row.reshape(rows[0].shape) for row in answer]
        return answer.reshape(rows[0].shape)

    return method


def with_rule(rule, **settings):
    """``make`` for a rule whose settings are read off the object."""

    def make(self):
        given = {name: read(self) for name, read in settings.items()}
        return to_byzfl(rule(**given) if given else rule, getattr(self, "f", 0))

    return make


def attacking(rule, **settings):
    def make(self):
        given = {name: read(self) for name, read in settings.items()}
        return to_byzfl(rule(**given) if given else rule, getattr(self, "f", 1))

    return make


AGGREGATORS = {
    coordinate_wise.CoordinateWiseMedian: with_rule(defenses.median, kind=lambda it: "lower"),
    coordinate_wise.CoordinateWiseTrimmedMean: with_rule(defenses.trimmed_mean),
    coordinate_wise.MeanOfMedians: with_rule(defenses.mea_med, center=lambda it: "lower"),
    geometric_wise.Krum: with_rule(defenses.krum, neighbors=lambda it: "n-f-1"),
    geometric_wise.MultiKrum: with_rule(
        defenses.multi_krum, neighbors=lambda it: "n-f-1", averaged=lambda it: it.q
    ),
    geometric_wise.GeometricMedian: with_rule(defenses.rfa, iterations=lambda it: "converged"),
    geometric_wise.MinimumDiameterAveraging: with_rule(defenses.mda),
    geometric_wise.MoNNA: with_rule(defenses.monna, pivot=lambda it: it.reference_index),
    geometric_wise.SMEA: with_rule(defenses.smea),
    norm_wise.CAF: with_rule(defenses.caf),
    norm_wise.ComparativeGradientElimination: with_rule(defenses.cge),
    norm_wise.CenteredClipping: with_rule(
        defenses.centered_clipping,
        tau=lambda it: it.c_tau,
        iterations=lambda it: it.M,
        start=lambda it: it.init,
    ),
}
MIXINGS = {
    pre_aggregators.ARC: with_rule(defenses.arc),
    pre_aggregators.Clipping: with_rule(defenses.clipping, c=lambda it: it.threshold),
    pre_aggregators.NearestNeighborMixing: with_rule(defenses.nnm),
}
ATTACKS = {
    attacks.EmpireAttack: attacking(our_attacks.ipm, scale=lambda it: -it.scale),
    attacks.InfAttack: attacking(our_attacks.inf),
    attacks.LittleAttack: attacking(
        our_attacks.lie, z_from=lambda it: "baruch_n", side=lambda it: "above"
    ),
    attacks.MimicAttack: attacking(our_attacks.mimic, copied=lambda it: it.epsilon),
}
for kind, make in AGGREGATORS.items():
    kind.aggregate = ours(make)
for kind, make in MIXINGS.items():
    kind.pre_aggregate = ours(make, many=True)
for kind, make in ATTACKS.items():
    kind.apply = ours(make)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    global running
    running = item.nodeid
    torch.manual_seed(0)  # their tests draw their inputs


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        outcomes[report.nodeid] = report.outcome


def pytest_sessionfinish():
    found = {name: [outcome, name in reached] for name, outcome in outcomes.items()}
    Path(os.environ["SHIM_REPORT"]).write_text(json.dumps(found))

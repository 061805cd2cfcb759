"""Rounds as a GPU computes them, without one: read once at the end, or taken back."""

import functools

import pytest
import torch

from fl_platform.attacks import lie, mimic
from fl_platform.core import Aggregate
from fl_platform.core.deferred import deferring
from fl_platform.defenses import centered_clipping, multi_krum
from fl_platform.federated import Adversary, Aggregator, module, server_step
from fl_platform.federated.callbacks.metrics import Diagnosis, Evaluator, Robustness, Skew
from tests.federated.test_rounds import fit, flat


class Poisoned:
    """LIE that sends one NaN in the second round, and has a memory."""

    def __init__(self):
        self.calls = 0

    def __call__(self, honest, num_byzantine):
        self.calls += 1
        rows = lie(honest, num_byzantine).clone()
        if self.calls == 2:
            rows[0, 3] = torch.nan
        return rows

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


def observers(federation):
    held_out = {"test": federation.samples}
    return [Evaluator(held_out), Diagnosis(), Skew(1, 2), Robustness(1, multi_krum)]


class Kept:
    """A logger-like list of what each round reports."""

    def __init__(self, monkeypatch):
        self.rounds, report = [], module.FederatedModule._report

        def keep(owner, done, metrics):
            self.rounds.append({k: v for k, v in metrics.items() if not k.startswith("time/")})
            report(owner, done, metrics)

        monkeypatch.setattr(module.FederatedModule, "_report", keep)


def on_a_card(monkeypatch):
    """All of the server's side defers; how often a round was computed is counted."""
    served, counts = module.FederatedModule._served, []

    def counted(*arguments, again=False):
        counts.append(again)
        return served(*arguments, again=again)

    monkeypatch.setattr(module, "deferring", functools.partial(deferring, everywhere=True))
    for each in (module, server_step):
        monkeypatch.setattr(each, "on_device", lambda where: True)
    monkeypatch.setattr(module.FederatedModule, "_served", counted)
    return counts


@pytest.mark.parametrize(
    "roles",
    [
        lambda: (Adversary(Poisoned()), Aggregator(multi_krum)),
        lambda: (Adversary(Poisoned()), Aggregator(centered_clipping())),
        lambda: (Adversary(mimic(0)), Aggregator(multi_krum)),
    ],
)
@pytest.mark.parametrize("norm", [False, True])
def test_deferred_rounds_are_the_rounds(roles, norm, federation, network, monkeypatch):
    server = functools.partial(torch.optim.SGD, lr=0.5, momentum=0.9)
    options = {"byzantine": 0.25, "rounds": 4, "server": server}
    kept = Kept(monkeypatch)
    plain, _, trainer = fit(network(norm), federation, *roles(), *observers(federation), **options)
    expected, kept.rounds = kept.rounds, []
    counts = on_a_card(monkeypatch)
    seen, recorder, again = fit(
        network(norm), federation, *roles(), *observers(federation), **options
    )
    assert again.global_step == trainer.global_step == 4
    assert len(recorder.rounds) == 4  # an observer of somebody else's sees each round once
    poisoned = isinstance(again.callbacks[0], Adversary) and isinstance(
        again.callbacks[0].rule, Poisoned
    )
    assert counts == ([False, False, True, False, False] if poisoned else [False] * 4)
    torch.testing.assert_close(flat(seen.model), flat(plain.model), rtol=1e-4, atol=1e-6)
    for name, buffer in plain.model.named_buffers():
        torch.testing.assert_close(dict(seen.model.named_buffers())[name], buffer)
    # Of an honest row and its copies, rounding decides which are chosen.
    undecided = () if poisoned else ("round/byzantine_weight", "round/honest_left_out")
    for ours, theirs in zip(kept.rounds, expected, strict=True):
        assert list(ours) == list(theirs)
        for name in theirs:
            if not (name.endswith("_z") or name in undecided):
                assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-5, nan_ok=True), (
                    name
                )
    if poisoned:
        assert kept.rounds[1]["round/rejected"] == 1


def test_a_round_of_no_numbers_ends_the_run(federation, network, monkeypatch):
    on_a_card(monkeypatch)

    def nothing(honest, num_byzantine):
        return torch.full((num_byzantine, honest.dimension), torch.nan)

    def nan(updates, num_byzantine):
        return Aggregate(updates.mean() * torch.nan)

    with pytest.raises(module.Diverged, match="not finite"):
        fit(network(), federation, Adversary(nothing), Aggregator(nan), byzantine=0.25)

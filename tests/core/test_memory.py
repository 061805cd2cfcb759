"""A rule object that changes between rounds and cannot be saved is refused at setup."""

from types import SimpleNamespace

import pytest
import torch

from fl_platform import attacks, defenses
from fl_platform.core import Aggregate
from fl_platform.core.rule_state import keeps_state, refuse_lost_memory, remembers
from fl_platform.federated import Aggregator, adversary


class Running:
    """The mean of all rounds so far."""

    def __init__(self):
        self.total, self.calls = 0.0, 0

    def __call__(self, updates, num_byzantine):
        self.total, self.calls = self.total + updates.mean(), self.calls + 1
        return Aggregate(self.total / self.calls)


class Saved(Running):
    def state_dict(self):
        return {"total": self.total, "calls": self.calls}

    def load_state_dict(self, state):
        self.total, self.calls = state["total"], state["calls"]


class Collecting:
    def __init__(self):
        self.seen = []

    def __call__(self, honest, num_byzantine):
        self.seen.append(honest.mean())
        return torch.stack(self.seen).mean(0).expand(num_byzantine, -1)


class Fixed:
    def __init__(self, scale=2.0):
        self.scale = scale

    def __call__(self, updates, num_byzantine):
        return Aggregate(self.scale * updates.mean())


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Running(), True),
        (Collecting(), True),
        (Saved(), True),
        (Fixed(), False),
        (defenses.mean, False),
        (defenses.rfa(eps=1.0), False),
    ],
)
def test_memory_is_seen(rule, expected):
    assert remembers(rule) == expected


def test_our_rules_with_memory_can_be_saved():
    names = [(defenses, name) for name in defenses.__all__ if name.islower()]
    names += [(attacks, name) for name in attacks.__all__]
    objects = [getattr(home, name) for home, name in names if isinstance(getattr(home, name), type)]
    assert len(objects) > 4
    for kind in objects:
        refuse_lost_memory(kind(seed=0))
    assert keeps_state(defenses.dnc())


@pytest.mark.parametrize("role", [lambda: Aggregator(Running()), lambda: adversary(Collecting())])
def test_what_cannot_be_saved_is_refused_at_setup(role):
    callback = role()
    others = [] if isinstance(callback, Aggregator) else [Aggregator(defenses.mean)]
    trainer = SimpleNamespace(callbacks=[callback, *others])
    with pytest.raises(TypeError, match=r"changes between rounds, to have state_dict\(\)"):
        callback.setup(trainer, SimpleNamespace(), "fit")


def test_what_can_be_saved_and_what_forgets_are_taken():
    for rule in (Saved(), Fixed(), defenses.centered_clipping()):
        callback = Aggregator(rule)
        callback.setup(SimpleNamespace(callbacks=[callback]), SimpleNamespace(), "fit")


def test_what_a_server_does_not_know_is_refused_at_setup():
    def wants(updates, num_byzantine, reference):
        return Aggregate(reference)

    callback = Aggregator(wants)
    module = SimpleNamespace(offered=frozenset({"clients"}))
    with pytest.raises(
        ValueError, match=r"reference in the context of wants, got none; .*root_samples"
    ):
        callback.setup(SimpleNamespace(callbacks=[callback]), module, "fit")


def test_what_a_rule_can_do_without_is_no_reason_to_refuse():
    module = SimpleNamespace(offered=frozenset({"clients"}))
    callback = Aggregator(defenses.monna)
    callback.setup(SimpleNamespace(callbacks=[callback]), module, "fit")
    callback = Aggregator(defenses.fltrust)
    with pytest.raises(ValueError, match="reference in the context of fltrust"):
        callback.setup(SimpleNamespace(callbacks=[callback]), module, "fit")

"""A rule called with parameters alone waits for its updates."""

import inspect

import pytest
import torch

from fl_platform.attacks import bit_flip, strike
from fl_platform.core import Updates, generator
from fl_platform.defenses import bucketing, multi_krum


@pytest.fixture
def honest():
    return Updates(torch.randn(9, 6, generator=generator(0, "test-rule")))


def test_parameters_first_and_updates_later_is_the_same_call(honest):
    assert torch.equal(strike(nu=0.5)(honest, 2), strike(honest, 2, nu=0.5))
    assert not torch.equal(strike(nu=0.5)(honest, 2), strike(honest, 2))
    assert torch.equal(strike(honest=honest, num_byzantine=2), strike()(honest, 2))


def test_rules_with_and_without_memory_read_alike(honest):
    assert multi_krum(averaged="n-f-2")(honest, 2).vector.shape == (6,)
    assert bucketing(s=3)(honest, 2).shape == (3, 9)


def test_an_unknown_parameter_is_refused_before_any_round():
    with pytest.raises(TypeError, match=r"strike has no parameter nuu; parameters: .*nu"):
        strike(nuu=1)
    with pytest.raises(TypeError, match="parameters: none"):
        bit_flip(scale=2)


def test_a_rule_keeps_its_name_and_its_signature():
    assert strike.__name__ == "strike"
    assert list(inspect.signature(strike).parameters)[:2] == ["honest", "num_byzantine"]

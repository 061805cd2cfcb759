"""Rules with memory or chance: what they remember, and that a saved state goes on exactly."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch

from fl_platform import defenses
from fl_platform.core import Updates, generator
from fl_platform.defenses import Bucketing, CenteredClipping, Chain, DnC, median
from fl_platform.defenses.dnc import draw_distinct

BUILDS: dict[str, Callable[[], Any]] = {
    "centered_clipping": lambda: CenteredClipping(tau=1.0),
    "dnc": lambda: DnC(3, iterations=2, coordinates=3),
    "bucketing": lambda: Chain(median, [Bucketing(3)]),
    "foolsgold": lambda: defenses.foolsgold(),
    "flame": lambda: defenses.flame(4, noise=0.1),
    "sign_guard": lambda: defenses.sign_guard(4, fraction=0.5),
    "gas": lambda: defenses.gas(3, groups=10),
    "cosine_bucketing": lambda: Chain(median, [defenses.cosine_bucketing(3)]),
    "all": lambda: Chain(DnC(5, coordinates=2), [Bucketing(5, s=2)]),
}


def rounds(count: int) -> list[Updates]:
    stream = torch.Generator().manual_seed(4)
    return [Updates(torch.randn(11, 30, generator=stream) + 1) for _ in range(count)]


@pytest.mark.parametrize("name", BUILDS)
def test_a_saved_state_goes_on_with_the_same_bits(name: str) -> None:
    received = rounds(6)
    whole = BUILDS[name]()
    expected = [whole(updates, 2).vector for updates in received]
    first = BUILDS[name]()
    for updates in received[:3]:
        first(updates, 2)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = BUILDS[name]()
    second.load_state_dict(torch.load(file, weights_only=True))
    for updates, answer in zip(received[3:], expected[3:], strict=True):
        assert torch.equal(second(updates, 2).vector, answer)


@pytest.mark.parametrize("name", BUILDS)
def test_state_matters(name: str) -> None:
    """The negative control: without the state the fourth answer is another."""
    received = rounds(4)
    whole = BUILDS[name]()
    last = [whole(updates, 2).vector for updates in received][-1]
    assert not torch.equal(BUILDS[name]()(received[-1], 2).vector, last)


def test_clipping_moves_its_centre_by_at_most_tau() -> None:
    rule = CenteredClipping(tau=0.5)
    first = rule(rounds(1)[0], 2)
    assert first.vector.norm() <= 0.5
    second = rule(rounds(1)[0], 2)
    assert (second.vector - first.vector).norm() <= 0.5
    made = second.weights @ rounds(1)[0].matrix.double() + second.anchor_weight * first.vector
    torch.testing.assert_close(made.float(), second.vector)


def test_clipping_without_memory_starts_anew() -> None:
    rule, received = CenteredClipping(tau=0.5, memory=False), rounds(1)[0]
    assert torch.equal(rule(received, 2).vector, rule(received, 2).vector)


def test_clipping_refuses_another_dimension() -> None:
    rule = CenteredClipping()
    rule(rounds(1)[0], 2)
    with pytest.raises(ValueError, match=r"Expected updates of dimension 30.* got 4"):
        rule(Updates(torch.ones(11, 4)), 2)


def test_seeds_name_the_draws() -> None:
    updates = rounds(1)[0]
    assert torch.equal(Bucketing(1)(updates, 2), Bucketing(1)(updates, 2))
    assert not torch.equal(Bucketing(1)(updates, 2), Bucketing(2)(updates, 2))


@pytest.mark.parametrize(("d", "count"), [(5, 9), (5, 4), (50, 5), (1000, 30)])
def test_distinct_draws_are_distinct_and_even(d: int, count: int) -> None:
    seen = torch.zeros(d)
    for call in range(300):
        drawn = draw_distinct(d, count, generator(0, "test", call))
        assert len(drawn.unique()) == len(drawn) == min(count, d)
        seen[drawn] += 1
    share = min(count / d, 1)
    # Six standard deviations of a binomial count, and nothing to spare where all are drawn.
    assert (seen - 300 * share).abs().max() <= 6 * (300 * share * (1 - share)) ** 0.5

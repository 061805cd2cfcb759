"""The forms for a GPU, without one: the same answers, and nowhere would the host wait."""

import math

import pytest
import torch

from fl_platform.core import Updates, products
from fl_platform.core.deferred import deferring
from tests.device_cases import ATTACKS, DEFENSES, Card, Waits, honest_rows, one_round

DIMENSION = 9001  # two float32 chunks of the Gram and a rest

PAIRS = [(attack, "multi_krum") for attack in ATTACKS]
PAIRS += [("strike", defense) for defense in DEFENSES if defense != "multi_krum"]


def close(a, b, rtol=2e-4):
    return math.isclose(a, b, rel_tol=rtol, abs_tol=1e-6) or (math.isnan(a) and math.isnan(b))


@pytest.mark.parametrize(("attack", "defense"), PAIRS)
def test_a_round_waits_nowhere_and_answers_alike(attack, defense):
    rows = honest_rows(DIMENSION)
    vector, weights, numbers = one_round(rows, ATTACKS[attack](), *DEFENSES[defense]())
    on_card = rows.clone()
    with deferring(everywhere=True) as deferral, Card(on_card):
        seen = one_round(on_card, ATTACKS[attack](), *DEFENSES[defense]())
    held, values = deferral.settle(seen[2])
    assert held
    assert list(values) == list(numbers)
    torch.testing.assert_close(seen[0], vector, rtol=1e-3, atol=1e-6)
    if weights is None:
        assert seen[1] is None
    else:
        torch.testing.assert_close(seen[1], weights, rtol=1e-4, atol=1e-7)
    for name, value in numbers.items():
        if isinstance(value, float):
            if not name.endswith("_z"):  # a z score divides by the spread of two draws
                assert close(values[name], value), (name, values[name], value)
        else:
            torch.testing.assert_close(
                torch.tensor(values[name], dtype=torch.float64),
                value.flatten(),
                rtol=1e-3,
                atol=1e-6,
            )


@pytest.mark.parametrize(
    "read",
    [
        lambda x: float(x.sum()),
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x[x.argmax()],
        lambda x: torch.linalg.eigh(x[:, None] * x),
    ],
)
def test_control_the_card_notices_whoever_waits(read):
    tensor = torch.rand(4)
    read(tensor)
    with Card(tensor), pytest.raises(Waits):
        read(tensor + 1)


def test_control_a_form_for_a_processor_is_noticed():
    rows = honest_rows(64)
    with Card(rows), pytest.raises(Waits):
        one_round(rows, ATTACKS["strike"](), *DEFENSES["multi_krum"]())


def test_a_centre_that_is_none_is_seen_at_the_end():
    """Ten rows that are central in the sampled columns alone: the first guess is wrong."""
    rows = honest_rows(DIMENSION)
    marks = torch.arange(DIMENSION, dtype=torch.float64).expand(2, -1)
    places = products._sample(marks)[0].long()
    rows[30:] = 1e4
    rows[30:, places] = rows[:30].mean(0)[places]
    with deferring(everywhere=True) as deferral:
        Updates(rows).gram()
    assert not deferral.settle({})[0]
    updates = Updates(rows)
    updates.gram()
    assert updates.centre().abs().max() < 1  # looked at, the centre is an honest row


@pytest.mark.parametrize("fault", ["nan", "huge", "equal"])
def test_an_assumption_that_fails_is_seen_at_the_end(fault):
    rows = honest_rows(DIMENSION)
    if fault == "nan":
        rows[3, 17] = torch.nan
    elif fault == "huge":
        rows[3] *= 1e20
    else:
        rows[:] = rows[0]
    with deferring(everywhere=True) as deferral:
        _, _, numbers = one_round(rows, ATTACKS["lie"](), *DEFENSES["median"]())
    held, _ = deferral.settle(numbers)
    assert not held

"""Which attacks follow their honest updates under permutation, translation and scale.

``holds`` is tried on drawn matrices; ``fails`` must show a counterexample, so that a property
which came to hold by accident would be noticed too.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fl_platform.attacks as attacks
from fl_platform.core import Updates

TABLE = {  # name: (permutation, translation, scale)
    "ipm": ("holds", "fails", "holds"),
    "lie": ("holds", "holds", "holds"),
    "lie_matched": ("holds", "holds", "holds"),
    "min_max": ("holds", "holds", "holds"),
    "min_sum": ("holds", "holds", "holds"),
    "mimic": ("holds", "holds", "holds"),  # signed scores move together
    "fang": ("holds", "fails", "holds"),
    "fang_krum": ("holds", "fails", "fails"),  # gives up at an absolute tolerance
    "fang_trimmed_mean": ("holds", "fails", "holds"),
    "strike": ("holds", "holds", "holds"),
    "strike_ablation": ("fails", "holds", "holds"),  # its random set is a set of positions
}
PROPERTIES = ("permutation", "translation", "scale")
HOSTILE = {
    "a row of NaN": float("nan"),
    "a row of infinity": float("inf"),
    "a row of 3.4e38": 3.4e38,
    "a row of 1e20": 1e20,
    "a row of denormals": 1e-42,
}


def crafted(name, g, f=2):
    rule = getattr(attacks, name)
    honest = Updates(g if isinstance(g, torch.Tensor) else torch.tensor(g))
    if isinstance(rule, type):
        return rule(3)(honest, f)
    if name == "fang":
        return rule(honest, f, lambda sent: honest.extended(sent).median())
    return rule(honest, f)


def differs(name, which, seed):
    """How far the attack is from following, relative to the size of what it sends."""
    draw = np.random.default_rng(seed)
    g = draw.exponential(size=(8, 12)) - 0.8
    plain = crafted(name, g).numpy()
    if which == "permutation":
        moved, expected = crafted(name, draw.permutation(g)).numpy(), plain
    elif which == "translation":
        moved, expected = crafted(name, g + 1.7).numpy(), plain + 1.7
    else:
        moved, expected = crafted(name, 4.0 * g).numpy(), 4.0 * plain
    return np.abs(moved - expected).max() / np.abs(expected).max()


def cases(verdict):
    return [
        pytest.param(name, which, id=f"{name}-{which}")
        for name, row in TABLE.items()
        for which, said in zip(PROPERTIES, row, strict=True)
        if said == verdict
    ]


@pytest.mark.parametrize(("name", "which"), cases("holds"))
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_what_holds_holds_for_any_updates(name, which, seed):
    assert differs(name, which, seed) < 1e-7


@pytest.mark.parametrize(("name", "which"), cases("fails"))
def test_what_fails_has_a_counterexample(name, which):
    assert max(differs(name, which, seed) for seed in (0, 1, 2, 3, 4, 131)) > 1e-2


def test_the_table_names_every_colluding_attack():
    agnostic = {"none", "absent", "bit_flip", "label_flip"}
    assert set(TABLE) | agnostic <= set(attacks.__all__)  # others have tests of their own


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("name", TABLE)
def test_hostile_honest_numbers_end_no_run(name, value):
    g = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
    g[3] = value
    sent = crafted(name, g)
    assert sent.shape == (2, 12)


@pytest.mark.parametrize("name", [n for n in TABLE if n != "fang_trimmed_mean"])
def test_equal_rows_take_the_memory_of_one(name):
    sent = crafted(name, np.random.default_rng(0).normal(size=(8, 12)), f=5)
    assert sent.stride(0) == 0


@pytest.mark.parametrize("name", TABLE)
def test_a_view_of_some_honest_rows_is_as_good_as_a_copy(name):
    g = torch.randn(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    index = torch.tensor([0, 2, 3, 5, 6, 8])

    def query(sent):
        return torch.cat([g, sent]).median(0).values

    sent = []
    for honest in (Updates(g).select(index), Updates(g[index])):
        rule = getattr(attacks, name)
        if isinstance(rule, type):
            sent.append(rule(3)(honest, 2))
        else:
            sent.append(rule(honest, 2, query) if name == "fang" else rule(honest, 2))
    assert torch.allclose(sent[0], sent[1], atol=1e-9)

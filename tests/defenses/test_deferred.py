"""Every defense and pre-aggregation with numbers deferred to the round's end, as on a GPU.

Those in `tests.device_cases` must not make the host wait; all must answer as a processor does.
"""

from functools import partial

import pytest
import torch

from fl_platform import defenses
from fl_platform.attacks import strike
from fl_platform.core import Updates
from fl_platform.core.context import Context
from fl_platform.core.deferred import deferring
from fl_platform.defenses import Chain
from tests.defense_cases import VARIANTS
from tests.device_cases import honest_rows

F, DIMENSION = 9, 5000
ROWS = honest_rows(DIMENSION)
CHAINS = {v.label: lambda v=v: Chain(v.build()) for v in VARIANTS if v.rule not in ("mda", "smea")}
CHAINS |= {
    "fltrust": lambda: Chain(defenses.fltrust),
    "sign_guard": lambda: Chain(defenses.sign_guard()),
    "gas": lambda: Chain(defenses.gas(groups=10)),
    "fl_detector": lambda: Chain(defenses.fl_detector()),
    "clipping + rfa": lambda: Chain(defenses.rfa, [partial(defenses.clipping)]),
    "arc + rfa": lambda: Chain(defenses.rfa, [partial(defenses.arc)]),
    "cosine_bucketing + rfa": lambda: Chain(defenses.rfa, [defenses.cosine_bucketing()]),
}


def answer(chain, apart=0.0):
    honest = Updates(ROWS.clone())
    noise = torch.randn(F, DIMENSION, generator=torch.Generator().manual_seed(1))
    received = honest.extended(strike(honest, F) + apart * noise)
    known = Context(
        clients=torch.arange(len(received)),
        round=0,
        sizes=torch.arange(1, len(received) + 1),
        reference=ROWS.mean(0) + 0.01,
        model=torch.linspace(-1, 1, DIMENSION),
        layers=(DIMENSION - 1, 1),
    )
    return chain(received, F, context=known)


@pytest.mark.parametrize("name", CHAINS)
def test_deferred_answers_are_alike(name):
    # Equal rows have equal cosines and scores. Where a cut falls among them, rounding decides.
    apart = 1e-3 if name.startswith(("cosine", "dnc")) else 0.0
    now = answer(CHAINS[name](), apart)
    with deferring(everywhere=True) as deferral:
        later = answer(CHAINS[name](), apart)
    assert deferral.settle({})[0]
    torch.testing.assert_close(later.vector, now.vector, rtol=1e-3, atol=1e-6)
    assert (later.weights is None) == (now.weights is None)
    if now.weights is not None:
        torch.testing.assert_close(later.weights, now.weights, rtol=1e-3, atol=1e-6)
        assert float(later.anchor_weight) == pytest.approx(float(now.anchor_weight), abs=1e-5)


def test_scaled_rows_answer_what_a_gpu_asks_of_every_view():
    base, scales = Updates(ROWS), torch.linspace(0, 2, len(ROWS))
    plain = Updates(ROWS * scales[:, None])
    index = torch.tensor([5, 0, DIMENSION - 1])
    with deferring(everywhere=True) as deferral:
        scaled = base.scaled(scales)
        assert scaled.addresses() is None
        torch.testing.assert_close(scaled.magnitudes(), plain.magnitudes())
        torch.testing.assert_close(scaled.gathered(index), plain.gathered(index))
        torch.testing.assert_close(
            scaled.squared_distances(), plain.squared_distances(), rtol=1e-3, atol=1e-4
        )
    assert deferral.settle({})[0]
    with deferring(everywhere=True) as deferral:
        base.scaled(scales - 1)
    assert not deferral.settle({})[0]  # a scale below 0 is seen at the end

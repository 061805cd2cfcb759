"""Our rules in ByzFL's form and its rules in ours; with ByzFL itself where it is installed."""

import builtins
import sys

import numpy as np
import pytest
import torch

from fl_platform import adapters
from fl_platform.adapters import (
    MissingPackage,
    attack_from_byzfl,
    byzfl_attack,
    byzfl_defense,
    from_byzfl,
    register_in_byzfl,
    to_byzfl,
)
from fl_platform.attacks import bit_flip, gaussian, ipm, lie, optimal_alie, strike
from fl_platform.config import ConfigError, compose
from fl_platform.core.rule_state import refuse_lost_memory
from fl_platform.defenses import (
    Chain,
    arc,
    bucketing,
    centered_clipping,
    clipping,
    krum,
    median,
    multi_krum,
    nnm,
    trimmed_mean,
)

ROWS = torch.randn(11, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
FORMS = {
    "array": lambda rows: rows.numpy().copy(),
    "tensor": lambda rows: rows.clone(),
    "list of arrays": lambda rows: [row.numpy().copy() for row in rows],
    "list of tensors": list,
}


class Summing:
    """A ByzFL-like aggregator that remembers a sum and draws."""

    def __init__(self, f=0):
        self.f, self.total = f, None

    def __call__(self, vectors):
        mean = vectors[self.f :].mean(0) + torch.randn(vectors.shape[1], dtype=vectors.dtype)
        self.total = mean if self.total is None else self.total + mean
        return self.total


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "rule", [trimmed_mean, multi_krum(averaged=3), Chain(median, [nnm]), nnm, arc, strike(nu=1.0)]
)
def test_ours_take_and_give_the_four_forms(form, rule):
    given = FORMS[form](ROWS)
    answer = to_byzfl(rule, f=2)(given)
    assert isinstance(answer, np.ndarray) == ("array" in form)
    assert torch.equal(torch.as_tensor(answer), to_byzfl(rule, f=2)(ROWS))
    assert torch.equal(torch.as_tensor(np.array(given)), ROWS), "the caller's rows were changed"


def test_ours_compute_what_they_compute_here():
    assert torch.equal(to_byzfl(krum, f=2)(ROWS), krum(ROWS, 2).vector)
    assert torch.equal(to_byzfl(lie(z=1.0), f=2)(ROWS), lie(ROWS, 2, z=1.0)[0])
    mixed = to_byzfl(nnm, f=2)(ROWS)
    assert torch.allclose(mixed, nnm(ROWS, 2) @ ROWS)
    scaled = to_byzfl(clipping(c=1.0), f=2)(ROWS)
    assert scaled.norm(dim=1).max() <= 1 + 1e-12
    assert to_byzfl(bucketing(seed=0, s=2), f=2)(ROWS).shape == (6, 6)


def test_an_attack_that_asks_is_told_what_to_ask():
    trimmed = to_byzfl(trimmed_mean, f=2)
    found = to_byzfl(optimal_alie, f=2, against=[to_byzfl(nnm, f=2), trimmed])(ROWS)
    again = to_byzfl(optimal_alie, f=2, against=[to_byzfl(Chain(trimmed_mean, [nnm]), f=2)])(ROWS)
    assert torch.allclose(found, again)
    with pytest.raises(ValueError, match="Expected against="):
        to_byzfl(optimal_alie, f=2)(ROWS)


def test_what_has_no_place_in_byzfl_is_refused():
    with pytest.raises(ValueError, match="Expected f >= 1"):
        to_byzfl(ipm)
    with pytest.raises(ValueError, match="honest updates, got bit_flip"):
        to_byzfl(bit_flip, f=1)
    with pytest.raises(TypeError, match="Expected vectors"):
        to_byzfl(krum, f=1)("rows")
    with pytest.raises(ValueError, match="at least one vector"):
        to_byzfl(krum, f=1)([])


def test_a_foreign_rule_is_given_f_and_repeats_its_draws():
    one, other = from_byzfl(Summing()), from_byzfl(Summing())
    before = torch.random.get_rng_state()
    first = one(ROWS, 2)
    assert one.theirs.parts[0].f == 2
    assert first.weights is None
    assert torch.equal(first.vector, other(ROWS, 2).vector)
    assert torch.equal(before, torch.random.get_rng_state()), "the global stream moved"
    refuse_lost_memory(one)


def test_a_foreign_rule_continues_from_its_state():
    unbroken, broken = from_byzfl(Summing()), from_byzfl(Summing())
    for rule in (unbroken, broken):
        rule(ROWS, 2)
    resumed = from_byzfl(Summing())
    resumed.load_state_dict(broken.state_dict())
    assert torch.equal(unbroken(ROWS, 2).vector, resumed(ROWS, 2).vector)


def test_a_foreign_rule_stands_in_a_chain():
    chain = Chain(from_byzfl(lambda rows: rows.mean(0)), [nnm])
    bad = ROWS.clone()
    bad[0] = torch.inf
    answer = chain(bad, 2)
    assert answer.dropped.tolist() == [0]
    assert torch.isfinite(answer.vector).all()
    chain.reseed("defense")
    assert chain.state_dict()["rule"]["calls"] == 1


def test_a_foreign_attack_sends_f_equal_rows():
    sent = attack_from_byzfl(lambda honest: -honest.mean(0))(ROWS, 3)
    assert torch.allclose(sent, ipm(ROWS, 3, scale=1.0))
    assert sent.stride()[0] == 0


@pytest.mark.parametrize("make", [byzfl_defense, byzfl_attack])
def test_without_the_package_one_line_says_what_to_install(make, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **given):
        if name.partition(".")[0] == "byzfl":
            raise ModuleNotFoundError("no byzfl", name="byzfl")
        return real(name, *args, **given)

    for name in [name for name in sys.modules if name.partition(".")[0] == "byzfl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.import_module", lambda name, package=None: absent(name))
    with pytest.raises(MissingPackage, match="pip install byzfl") as refusal:
        make(name="Median")
    assert "\n" not in str(refusal.value)


def test_a_configuration_names_them(tmp_path):
    (tmp_path / "conf" / "defense").mkdir(parents=True)
    written = "_target_: fl_platform.adapters.byzfl_defense\nname: TrMean\nassumed_f: null\n"
    (tmp_path / "conf" / "defense" / "theirs.yaml").write_text(written)
    config = compose(["task=digits", "defense=theirs"], tmp_path)
    assert config.defense["name"] == "TrMean"
    with pytest.raises(ConfigError, match="name"):
        compose(["task=digits", "defense=theirs", "defense.name=3"], tmp_path)
    (tmp_path / "conf" / "defense" / "wrong.yaml").write_text(
        "_target_: fl_platform.adapters.byzfl_attack\nname: Inf\n"
    )
    with pytest.raises(ConfigError, match="not valid as defense"):
        compose(["task=digits", "defense=wrong"], tmp_path)


def test_the_public_names_exist():
    assert all(hasattr(adapters, name) for name in adapters.__all__)


# -- with ByzFL itself ---------------------------------------------------------------------------


def test_theirs_by_name():
    pytest.importorskip("byzfl", reason="ByzFL is not installed")
    rows = ROWS.float()
    assert torch.allclose(
        byzfl_defense(name="TrMean")(rows, 2).vector, trimmed_mean(rows, 2).vector
    )
    settings = {"tau": 0.5, "L": 2}
    theirs = byzfl_defense(name="CenteredClipping", parameters=settings)
    ours = centered_clipping(tau=0.5, iterations=2)
    for _ in range(3):
        assert torch.allclose(theirs(rows, 2).vector, ours(rows, 2).vector, atol=1e-6)
    sent = byzfl_attack(name="ALittleIsEnough", parameters={"tau": 1.5})(rows, 2)
    assert torch.allclose(sent, lie(rows, 2, z=1.5, side="above", ddof=1))
    with pytest.raises(ValueError, match="Expected name as one of"):
        byzfl_defense(name="Trmean")


def test_their_draws_repeat():
    pytest.importorskip("byzfl", reason="ByzFL is not installed")
    rows = ROWS.float()
    one, other = byzfl_defense(name="CAF"), byzfl_defense(name="CAF")
    assert torch.equal(one(rows, 2).vector, other(rows, 2).vector)


def test_ours_by_name_in_their_classes():
    byzfl = pytest.importorskip("byzfl", reason="ByzFL is not installed")
    from byzfl.fed_framework.byzantine_client import ByzantineClient

    register_in_byzfl("OurMultiKrum", multi_krum(averaged=3))
    register_in_byzfl("OurNNM", nnm)
    register_in_byzfl("STRIKE", strike(nu=1.0))
    register_in_byzfl("OurGaussian", gaussian(seed=1))
    rows = ROWS.float()
    robust = byzfl.RobustAggregator(
        {"name": "OurMultiKrum", "parameters": {"f": 2}},
        [{"name": "OurNNM", "parameters": {"f": 2}}],
    )
    expected = Chain(multi_krum(averaged=3), [nnm])(rows, 2).vector
    assert torch.allclose(robust.aggregate_vectors(rows), expected)
    client = ByzantineClient({"name": "STRIKE", "f": 2, "parameters": {"f": 2}})
    sent = client.apply_attack(rows)
    assert len(sent) == 2
    assert torch.equal(sent[0], strike(rows, 2, nu=1.0)[0])
    with pytest.raises(ValueError, match="does not have"):
        register_in_byzfl("Krum", krum)

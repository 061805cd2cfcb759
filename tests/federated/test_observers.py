"""What observers write down of a round, through whole short runs."""

from pathlib import Path

import numpy as np
import pytest

from fl_platform.config import compose, config_hash
from fl_platform.federated.callbacks import metrics as observers
from fl_platform.federated.callbacks.metrics import constant_of
from fl_platform.metrics import kappa_bound
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    return tmp_path


def config(home, *overrides):
    quiet = ["runtime.tracking=journal", "runtime.progress=none", "rounds=4"]
    return compose([*quiet, *overrides], home)


def test_observers_keep_skew_kappa_and_clouds_at_their_cadence(home):
    asked = config(
        home, "attack=strike", "defense=trimmed_mean",
        "observers.skew.every=2", "observers.skew.null_every=4", "observers.cloud.every=3",
    )  # fmt: skip
    run(asked, home)
    folder = run_folder(home, config_hash(asked))
    history = read(folder.journal)
    assert [step for step, _ in history.curve("skew/rho")] == [1, 3]
    assert [step for step, _ in history.curve("skew/rho_z")] == [1]
    for (_, kappa), (_, bound) in zip(
        history.curve("round/kappa"), history.curve("round/kappa_bound"), strict=True
    ):
        assert bound == pytest.approx(1 / 3)  # f / (n - 2f) for n = 50, f = 10
        assert 0 < kappa <= bound
    clouds = sorted(folder.artifacts.glob("cloud_*.npz"))
    assert [path.stem for path in clouds] == ["cloud_00001", "cloud_00004"]
    cloud = np.load(clouds[0])
    assert cloud["gram"].shape == (42, 42)
    assert np.allclose(cloud["gram"][-1], 0)  # the mean is the origin
    assert np.allclose(cloud["gram"][:40].sum(0), 0, atol=1e-4)
    assert len(cloud["skewed"]) == 30


def test_the_plain_mean_breaks_any_constant(home):
    """The negative control: kappa is not small because of how it is measured."""
    asked = config(home, "attack=ipm", "attack.scale=20", "defense=mean", "observers.skew.every=1")
    run(asked, home)
    history = read(run_folder(home, config_hash(asked)).journal)
    assert min(value for _, value in history.curve("round/kappa")) > 1


@pytest.mark.parametrize(
    ("overrides", "bound"),
    [
        (["defense=median"], 1.5),
        (["defense=median", "preset=official"], 5 / 3),
        (["defense=trimmed_mean"], 1 / 3),
        (["defense=trimmed_mean", "defense.trim=4"], None),
        (["defense=median", "mixing=nnm"], None),
        (["defense=median", "defense.assumed_f=3"], None),
        (["defense=multi_krum"], 8.0392),
        (["defense=multi_krum", "defense.averaged=45"], None),
        (["defense=krum"], 8.0392),
        (["defense=bulyan"], None),
    ],
)
def test_a_constant_is_claimed_only_where_it_is_proved(home, overrides, bound):
    rule = constant_of(config(home, *overrides))
    found = None if rule is None else kappa_bound(rule, 50, 10)
    assert found == (bound if bound is None else pytest.approx(bound, rel=1e-4))


def test_skew_counts_the_rows_that_attack_and_not_those_that_the_defense_assumes(home):
    chosen = ["attack=strike", "defense=median", "rounds=1", "observers.skew.every=1"]
    found = []
    for assumed in ("null", "3"):
        asked = config(home, *chosen, f"defense.assumed_f={assumed}", "observers.cloud.every=1")
        run(asked, home)
        folder = run_folder(home, config_hash(asked))
        history = read(folder.journal)
        cloud = np.load(folder.artifacts / "cloud_00001.npz")
        found.append((history.curve("skew/shift"), len(cloud["skewed"])))
    assert found[0] == found[1]
    assert found[0][1] == 30  # h - f = 40 - 10


def test_a_constant_is_not_claimed_for_a_round_whose_f_was_lowered(home):
    chosen = ["attack=ipm", "defense=multi_krum", "observers.skew.every=1", "rounds=30"]
    sampled = ["task.sampled=6", "byzantine.fraction=0.3"]  # Multi-Krum bears 1 of 6
    asked = config(home, *chosen, *sampled)
    run(asked, home)
    history = read(run_folder(home, config_hash(asked)).journal)
    clamped = {step for step, value in history.curve("round/clamped") if value}
    told = {step for step, _ in history.curve("round/kappa")}
    bound = {step for step, _ in history.curve("round/kappa_bound")}
    assert clamped & told
    assert bound == told - clamped


def test_the_model_is_scored_at_its_cadence_and_after_the_last_round(home, monkeypatch):
    seen = []
    original = observers.evaluate

    def watched(model, samples, classes, batch, channels_last):
        seen.append((batch, channels_last))
        return original(model, samples, classes, batch, channels_last)

    monkeypatch.setattr("fl_platform.run.runner.evaluate", watched)
    chosen = ["runtime.evaluation_batch=77", "runtime.local=channels_last"]
    asked = config(home, "evaluation.every=3", "evaluation.tail=1", *chosen)
    run(asked, home)
    history = read(run_folder(home, config_hash(asked)).journal)
    assert [step for step, _ in history.curve("test/accuracy")] == [3, 4]
    assert seen == [(77, True)] * 2


@pytest.mark.parametrize(
    ("overrides", "logged"),
    [
        (["defense=median"], True),
        (["defense=trimmed_mean"], True),
        (["defense=median", "mixing=nnm"], False),
        (["defense=multi_krum"], False),
    ],
)
def test_the_share_of_byzantine_coordinates_is_logged_for_rules_that_sort_them(
    home, overrides, logged
):
    asked = config(home, "attack=mimic", *overrides)
    run(asked, home)
    metrics = read(run_folder(home, config_hash(asked)).journal).metrics
    assert ("round/byzantine_coordinates" in metrics) is logged
    assert ("round/byzantine_weight" in metrics) is (overrides == ["defense=multi_krum"])
    if logged:
        shares = [point.value for point in metrics["round/byzantine_coordinates"].values()]
        assert len(shares) == 4
        assert all(0 <= share <= 1 for share in shares)
        assert max(shares) > 0

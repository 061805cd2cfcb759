"""Attacks against defenses, end to end on digits; `test_zoo` runs the maths of all pairs."""

import math
from pathlib import Path

import pytest

from fl_platform.config import compose, config_hash
from fl_platform.config.targets import public_names
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[1]
CONF = REPOSITORY / "conf"
# Between them every attack that remembers or queries, and every defense, mixing and optimizer.
DOZEN = [
    ("none", "mean", ["defense.weighting=data"]),
    ("absent", "multi_krum", []),
    ("bit_flip", "centered_clipping", ["mixing=bucketing"]),
    ("label_flip", "rfa", ["mixing=nnm"]),
    ("lie", "dnc", ["server.optimizer=fedavgm"]),
    ("ipm", "bulyan", ["byzantine.fraction=0.1"]),
    ("min_max", "aksel", ["server.optimizer=fedadam", "server.lr=0.01"]),
    ("min_sum", "median", ["mixing=nnm_bucketing", "attack.knowledge=8"]),
    ("mimic", "trimmed_mean", ["attack.knowledge=own"]),
    ("fang", "krum", []),
    ("fang_krum", "multi_krum", ["preset=official"]),
    ("strike", "dnc", ["preset=paper", "task.sampled=12", "defense.assumed_f=2"]),
]


def choices(group):
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("pairs")
    (home / "conf").symlink_to(CONF)
    return home


def three_rounds(home, attack, defense, overrides):
    quiet = ["runtime.tracking=journal", "runtime.progress=none", "rounds=3"]
    config = compose([f"attack={attack}", f"defense={defense}", *overrides, *quiet], home)
    result = run(config, home)
    history = read(run_folder(home, config_hash(config)).journal)
    assert (result.status, result.rounds) == ("FINISHED", 3)
    for key in ("round/deviation", "round/rejected", "test/loss"):
        values = [value for _, value in history.curve(key)]
        assert len(values) == 3
        assert all(map(math.isfinite, values))
    assert history.curve("round/rejected_honest")[-1][1] == 0
    return result


@pytest.mark.parametrize(("attack", "defense", "overrides"), DOZEN)
def test_a_dozen_pairs_run_three_rounds(home, attack, defense, overrides):
    three_rounds(home, attack, defense, overrides)


# The rest of the field: attacks that watch the model or ask the defense, defenses that ask the
# server for more than rows, mixings that scale rows.
FIELD = [
    ("mpaf", "fltrust", ["task.root_samples=60"]),
    ("poisoned_fl", "foolsgold", ["mixing=arc"]),
    ("rop", "fl_detector", ["task.sampled=12"]),
    ("gaussian", "flame", ["mixing=clipping"]),
    ("inf", "norm_bound", []),
    ("zero", "sign_guard", []),
    ("optimal_alie", "mea_med", ["attack.evaluations=4"]),
    ("optimal_ipm", "cge", ["attack.evaluations=4", "mixing=cosine_bucketing"]),
    ("agr_tailored", "phocas", ["attack.tolerance=0.5"]),
    ("lie", "caf", ["attack.z_from=baruch_n"]),
    ("strike", "smea", ["task.clients=10"]),
    ("ipm", "gas", ["byzantine.fraction=0.1", "defense.groups=20"]),
    ("min_max", "lasa", []),
    ("min_sum", "fed_seca", []),
    ("bit_flip", "rlr", []),
    ("none", "monna", ["defense.pivot=reference", "task.root_samples=60"]),
    ("lie", "rfa", ["defense.iterations=converged"]),
    ("lie", "bulyan", ["defense.selection=multi-krum", "byzantine.fraction=0.1"]),
]


@pytest.mark.parametrize(("attack", "defense", "overrides"), FIELD)
def test_the_field_runs_three_rounds(home, attack, defense, overrides):
    three_rounds(home, attack, defense, overrides)


def test_every_defense_is_run_by_some_pair():
    """So that a rule which runs nowhere is noticed; exact MDA is left to the nightly."""
    ran = {defense for _, defense, _ in DOZEN + FIELD}
    assert ran >= {"mean", "krum", "multi_krum", "median", "rfa", "aksel", "centered_clipping"}
    assert ran >= {"dnc", "trimmed_mean", "bulyan", "fltrust", "foolsgold", "fl_detector", "lasa"}


def each_rule_twice():
    """Pairs in which each attack and each defense occurs at least twice."""
    attacks, defenses = choices("attack"), choices("defense")
    most = max(len(attacks), len(defenses))
    places = [(i, i + shift) for shift in (0, 13) for i in range(most)]
    return sorted({(attacks[i % len(attacks)], defenses[j % len(defenses)]) for i, j in places})


@pytest.mark.nightly
@pytest.mark.parametrize(("attack", "defense"), each_rule_twice())
def test_each_rule_runs_against_two_others(home, attack, defense):
    # Exact MDA counts subsets: ten clients, of whom Bulyan bears two, keep it possible.
    few = ["task.clients=10", "byzantine.fraction=0.1"]
    root = ["task.root_samples=60"] if defense == "fltrust" else []
    three_rounds(home, attack, defense, few + root)


def test_the_groups_name_every_public_rule():
    for group, package in {"attack": "attacks", "defense": "defenses"}.items():
        names = public_names(REPOSITORY / "fl_platform" / package / "__init__.py")
        public = {name for name in names if name.islower()}  # classes go by their lower name
        named = set(choices(group)) | set(choices("mixing")) | {"largest_f", "tolerates"}
        assert public <= named, public - named

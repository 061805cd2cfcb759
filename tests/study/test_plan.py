"""Study files: each that is shipped can be begun; one that is wrong is refused by name."""

import pytest
import yaml

from fl_platform.config import ConfigError, target_name
from fl_platform.config.paths import tuning_files
from fl_platform.study.runner import assemble
from fl_platform.study.spec import Sampler, load_spec
from tests.study.conftest import REPOSITORY
from tests.study.fake import make_problem

FILES = sorted(path.stem for path in (REPOSITORY / "tuning").glob("*.yaml"))
FILES.remove("arena")  # settings of another command
GOOD = {
    "base": ["attack=strike", "task.validation=0.2"],
    "space": {"attack.nu": {"low": 0.1, "high": 4.0}},
    "direction": "minimize",
    "seeds": [0, 1],
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_can_be_begun(home, name):
    spec = load_spec(name, home)
    typed = ["defense=centered_clipping"] if spec.game or spec.front else []
    problem = assemble(spec, name, typed, home, ())
    if spec.game is None:
        problem.check()
        assert problem.start
        assert all(set(point) == set(problem.space) for point in problem.start)
    assert problem.config({}, 0).task.validation > 0
    first = tuning_files(home)[name].read_text().splitlines()[0]
    assert first.startswith(f"# fl-platform tune {name}")


@pytest.mark.parametrize(
    "name", [name for name in FILES if (REPOSITORY / f"conf/defense/{name}.yaml").exists()]
)
def test_a_defense_of_its_name_starts_at_its_default(home, name):
    """A game takes the defender's space from here, so the file must be about that defense."""
    spec = load_spec(name, home)
    problem = assemble(spec, name, [], home, ())
    default = problem.config({}, 0)
    assert target_name(default.defense) == name
    if name == "multi_krum":  # the default is a word, n-f, which is 40 of 50 rows
        assert spec.start == [{"defense.averaged": 40}]
    elif name == "trimmed_mean":  # null: f = 10 of 50
        assert spec.start == [{"defense.trim": 10}]
    else:
        assert problem.config(spec.start[0], 0) == default


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": [0]}, "two different seeds"),
        ({"seeds": [3, 3]}, "two different seeds"),
        ({"seeds": [0, 1000]}, "below final.offset"),
        ({"metric": "accuracy_tail"}, "validation_tail"),
        ({"direction": "down"}, "minimize"),
        ({"sampler": {"name": "grid"}}, "sampler.name"),
        ({"budget": {"trials": 0}}, "trials"),
        ({"space": {}}, "either space or game"),
        ({"game": {"attacks": {"lie": {}}}}, "either space or game"),
        ({"space": {"attack.nu": {"low": 2, "high": 1}}}, "space.attack.nu.low"),
        ({"sede": [0]}, "did you mean 'seeds'"),
        ({"base": ["attack=strike", "seed=5"]}, "expected no seed"),
        ({"space": {"seed": {"low": 0, "high": 5}}}, "expected no seed"),
        ({"space": {"attack.nu": {"low": 1, "high": 4, "step": 7}}}, "space.attack.nu.step"),
        ({"space": {"attack.nu": {"choices": [1, 2, 1]}}}, "expected each value once"),
        ({"start": [{"attack.nu": 1.0}, {"attack.nu": 100}]}, "start.1.attack.nu"),
        ({"start": [{"attack": "lie"}]}, "start.0.attack: expected a key of the space"),
        ({"budget": {"timeout": -5}}, "timeout"),
        ({"final": {"seeds": 10**12}}, "final.seeds"),
        ({"final": {"offset": 2**63 - 1}}, "final.offset"),
        ({"seeds": [0, 2**63], "final": {"offset": 2**63 + 1}}, "seeds"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path, change, told):
    (tmp_path / "tuning").mkdir()
    file = tmp_path / "tuning" / "mine.yaml"
    file.write_text(yaml.safe_dump(GOOD))
    assert load_spec("mine", tmp_path).seeds == [0, 1]
    file.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(ConfigError) as refused:
        load_spec("mine", tmp_path)
    assert told in str(refused.value)
    assert str(refused.value).startswith("mine.")


def test_an_even_number_of_turns_is_refused(tmp_path):
    (tmp_path / "tuning").mkdir()
    game = {"attacks": {"strike": {"attack.nu": {"low": 0.1, "high": 4.0}}}, "turns": 2}
    text = yaml.safe_dump({**GOOD, "space": {}, "game": game})
    (tmp_path / "tuning" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match="turns: expected an odd number, got 2"):
        load_spec("mine", tmp_path)


def test_an_unknown_file_names_its_neighbours(home):
    with pytest.raises(ConfigError, match="did you mean 'strike_nu'"):
        load_spec("strike_n", home)


@pytest.mark.parametrize("typed", [["seed=3"], ["attack.nu=2"]])
def test_what_the_file_decides_cannot_be_typed(home, typed):
    with pytest.raises(ConfigError, match="the study file sets this key"):
        assemble(load_spec("strike_nu", home), "x", typed, home, ())


def test_what_is_typed_wins_over_the_base(home):
    problem = assemble(load_spec("rfa", home), "x", ["attack=lie", "rounds=3"], home, ())
    config = problem.config({}, 0)
    assert (target_name(config.attack), config.rounds) == ("lie", 3)
    assert target_name(config.defense) == "rfa"


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("tpe", "n_startup_trials", "x"),
        ("tpe", "n_startup_trials", None),
        ("tpe", "n_ei_candidates", 0),
        ("tpe", "multivariate", 7),
        ("gp", "n_startup_trials", -3),
        ("cmaes", "sigma0", -1),
        ("cmaes", "popsize", 0),
        ("qmc", "qmc_type", "foo"),
        ("nsga2", "crossover_prob", 7),
    ],
)
def test_a_wrong_option_of_a_sampler_is_refused_before_the_first_trial(home, name, option, value):
    sampler = Sampler(name=name, options={option: value})
    with pytest.raises(ConfigError, match=rf"^sampler\.options\.{option}: expected"):
        make_problem(home, sampler=sampler).check()


def test_a_space_that_reaches_runs_without_validation_is_refused(home):
    space = {"task.validation": {"low": 0.0, "high": 0.5}}
    with pytest.raises(ConfigError, match=r"task\.validation: expected a share above 0"):
        make_problem(home, space=space).check()


@pytest.mark.parametrize("name", ["cmaes", "qmc"])
def test_a_sampler_that_would_draw_choices_at_random_is_refused(home, name):
    mixed = {"mixing": {"choices": ["none", "nnm"]}, "attack.nu": {"low": 0.1, "high": 4.0}}
    make_problem(home, space=mixed, sampler=Sampler(name=name)).check()
    choices = {"mixing": mixed["mixing"]}
    make_problem(home, space=choices, sampler=Sampler(name="tpe")).check()
    with pytest.raises(ConfigError, match=f"got {name}, which samples numbers"):
        make_problem(home, space=choices, sampler=Sampler(name=name)).check()


def test_an_own_study_file_adds_to_the_installed_ones(tmp_path):
    (tmp_path / "tuning").mkdir()
    (tmp_path / "tuning/mine.yaml").write_text(yaml.safe_dump(GOOD))
    (tmp_path / "tuning/rfa.yaml").write_text(yaml.safe_dump(GOOD))
    files = tuning_files(tmp_path)
    assert set(FILES) | {"mine"} < set(files)
    assert {files[name].parent for name in ("mine", "rfa")} == {tmp_path / "tuning"}
    assert load_spec("mine", tmp_path).direction == "minimize"
    with pytest.raises(ConfigError, match=r"there is no 'strike_nuu'; did you mean 'strike_nu'"):
        load_spec("strike_nuu", tmp_path)

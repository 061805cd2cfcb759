"""Two objectives: accuracy without attack against the worst case; the front, its files, its end."""

import csv
import io

import optuna
import pytest
import yaml

from fl_platform.config import ConfigError, target_name
from fl_platform.study import storage
from fl_platform.study.front import front, front_table
from fl_platform.study.problem import FRONT_LABELS
from fl_platform.study.runner import prepare, tune
from fl_platform.study.spec import load_spec
from fl_platform.tracking.run_folder import all_runs
from tests.study.fake import install

TYPED = ["task=digits", "defense=centered_clipping", "runtime.tracking=journal"]
BASE = """
base: [task.validation=0.2, observers=none, defense=trimmed_mean]
space: {defense.trim: {low: 0, high: 24}}
start: [{defense.trim: 10}]
front: {attacks: [attack=strike, attack=lie attack.z=2]}
direction: maximize
seeds: [0, 1]
sampler: {name: nsga2, seed: 0, options: {population_size: 3}}
budget: {trials: 9}
"""


def trade(config):
    """Trimming costs accuracy without attack and gains it under attack; LIE is always worse."""
    trim, attack = config.defense["trim"], target_name(config.attack)
    if attack == "none":
        return 90.0 - trim + config.seed
    return (40.0 + trim if attack == "strike" else 35.0 + trim) + config.seed


@pytest.fixture
def mine(home):
    shipped = (home / "tuning").resolve()
    (home / "tuning").unlink()
    (home / "tuning").mkdir()
    for path in shipped.glob("*.yaml"):
        (home / "tuning" / path.name).symlink_to(path)
    (home / "tuning" / "mine.yaml").write_text(BASE)
    return home


def load(home, name, url=None):
    return optuna.load_study(study_name=name, storage=storage.open_storage(home, url))


def test_a_front_of_both_accuracies_is_found_shown_and_written(mine, monkeypatch, capsys):
    begun = install(monkeypatch, accuracy=trade)
    tune("mine", TYPED[:1] + TYPED[2:], mine)
    told, study = capsys.readouterr().out, load(mine, "mine/task=digits")
    assert study.metric_names == list(FRONT_LABELS)
    assert len(study.trials) == 9
    for trial in study.trials:
        trim = trial.params["defense.trim"]
        assert trial.values == pytest.approx([90.5 - trim, 35.5 + trim])
    assert all(config.seed in (0, 1) for config in begun)  # no run on test data
    assert "final" not in study.user_attrs
    assert "attack none, strike, lie, defense trimmed_mean" in told
    assert "80.50 % without attack, 45.50 % in the worst case" in told
    assert "front, on validation samples" in told
    problem = prepare("mine", ["task=digits"], mine)
    (parent,) = [run for run in all_runs(mine) if not run.describe()["parent_run_id"]]
    names = {path.name for path in parent.artifacts.iterdir()}
    ends = {"best-without-attack.yaml", "best-worst-case.yaml"}
    assert names == {"front.csv", "front.png", "front.pdf", *ends}
    rows = list(csv.DictReader(io.StringIO((parent.artifacts / "front.csv").read_text())))
    assert len(rows) == 9
    on_front = [int(row["trial"]) for row in rows if row["on_front"] == "true"]
    assert on_front == [trial.number for trial in front(study)]
    for row in rows:
        worst = min(float(row["attack=strike"]), float(row["attack=lie attack.z=2"]))
        assert float(row["worst_case"]) == worst
    assert front_table(study, problem) == (parent.artifacts / "front.csv").read_text()
    # an end of the front is an experiment file of the defense, for any attack
    for end, trial in zip(sorted(ends), (front(study)[0], front(study)[-1]), strict=True):
        text = (parent.artifacts / end).read_text()
        assert f"trial {trial.number}: " in text
        assert yaml.safe_load(text)["defense"]["trim"] == trial.params["defense.trim"]
        assert "/attack" not in text
    kept = optuna.artifacts.get_all_artifact_meta(study)
    assert {meta.filename for meta in kept} == names
    tune("mine", TYPED[:1] + TYPED[2:], mine, trials=1)  # one artifact of a name
    again = optuna.artifacts.get_all_artifact_meta(load(mine, "mine/task=digits"))
    assert sorted(meta.artifact_id for meta in again) == sorted(meta.artifact_id for meta in kept)
    stored = storage.artifact_folder(mine, storage.open_storage(mine))
    (table,) = [meta for meta in again if meta.filename == "front.csv"]
    assert (stored / table.artifact_id).read_text().count("\n") == 11


@pytest.mark.parametrize("where", ["database", "journal"])
def test_a_resumed_front_equals_one_without_a_stop(mine, monkeypatch, where):
    install(monkeypatch, accuracy=trade)
    monkeypatch.setattr("fl_platform.study.front.plot_front", lambda *_: [])
    url = None if where == "database" else f"journal://{mine}/studies.journal"
    typed = TYPED[:1] + TYPED[2:]
    tune("mine", typed, mine, name="once", storage=url)
    for trials in (2, 4, 3):  # inside and between populations of three
        tune("mine", typed, mine, name="parts", trials=trials, storage=url)
    once, parts = load(mine, "once", url), load(mine, "parts", url)
    assert [t.params for t in once.trials] == [t.params for t in parts.trials]
    assert [t.number for t in front(once)] == [t.number for t in front(parts)]
    generations = {t.system_attrs["NSGAIISampler:generation"] for t in parts.trials[:3]}
    assert generations == {0}  # the start point is part of the first population
    assert parts.trials[8].system_attrs["NSGAIISampler:generation"] == 2


def test_no_trial_of_the_front_is_dominated_and_equal_ones_are_shown_once():
    study = optuna.create_study(directions=["maximize", "maximize"])
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for values in ([90, 50], [80, 60], [85, 40], [90, 50], [70, 60], [60, 70]):
        study.add_trial(optuna.create_trial(params={"x": 0.5}, distributions=space, values=values))
    assert [trial.number for trial in front(study)] == [0, 1, 5]


def test_the_space_is_that_of_the_defense(home):
    problem = prepare("front", TYPED, home)
    assert set(problem.space) == {"defense.tau", "defense.iterations"}
    assert problem.start == tuple(load_spec("centered_clipping", home).start)
    with pytest.raises(ConfigError, match=r"defense\.tau: the study file sets this key"):
        prepare("front", [*TYPED, "defense.tau=1"], home)
    with pytest.raises(ConfigError, match="attack: the study file sets this key"):
        prepare("front", [*TYPED, "attack=lie"], home)
    with pytest.raises(ConfigError, match=r"tuning/median\.yaml.*median, which has none"):
        prepare("front", ["task=digits", "defense=median"], home)
    with pytest.raises(ConfigError, match="--final: expected a study with one objective"):
        tune("front", TYPED, home, final=True)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("maximize", "minimize", "direction: expected maximize with front"),
        ("attack=lie attack.z=2", "lie", "expected lines such as 'attack=lie'"),
        ("attack=lie attack.z=2", "attack=none", "expected lines such as 'attack=lie'"),
        ("[attack=strike, attack=lie attack.z=2]", "[]", "front.attacks: expected a list"),
        ("attack.z=2", "attack.zz=2", "zz"),
        ("name: nsga2", "name: cmaes", "sampler.name: expected nsga2"),
        ("population_size: 3", "population_size: 9", "a number from 2 to 8, below budget"),
        ("budget", "stealth: 1.0\nbudget", "stealth: expected null with front"),
        ("budget", "pruner: {name: wilcoxon}\nbudget", "pruner.name: expected none with front"),
    ],
)
def test_a_wrong_file_is_refused_by_name(mine, old, new, told):
    assert old in BASE
    (mine / "tuning" / "mine.yaml").write_text(BASE.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        prepare("mine", ["task=digits"], mine)
    assert told in str(refused.value)


def test_the_sides_that_nobody_chose_are_named_in_one_line(mine, monkeypatch, capsys):
    install(monkeypatch)
    tune("strike_nu", ["runtime.tracking=journal"], mine, trials=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no defense is chosen; tuning against mean.")
    tune("strike_nu", ["defense=median", "runtime.tracking=journal"], mine, trials=1)
    assert capsys.readouterr().err == ""
    text = (mine / "tuning" / "trimmed_mean.yaml").read_text().replace("attack=strike, ", "")
    (mine / "tuning" / "unattacked.yaml").write_text(text)
    install(monkeypatch, accuracy=lambda config: 50.0)
    tune("unattacked", ["runtime.tracking=journal"], mine, trials=1)
    assert "no attack is chosen; tuning against none" in capsys.readouterr().err


def test_a_real_front_of_two_rounds_has_values(mine, monkeypatch):
    """Not the fake: attack=none and the attacks compose, train and are scored."""
    monkeypatch.setattr("fl_platform.study.front.plot_front", lambda *_: [])
    typed = ["task=digits", "rounds=2", "runtime.tracking=journal"]
    tune("mine", typed, mine, trials=1)
    (trial,) = load(mine, "mine/rounds=2,task=digits").trials
    clean, worst = trial.values
    assert 0 < worst <= clean <= 100
    assert len(trial.user_attrs["runs"]) == 6

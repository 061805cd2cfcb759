"""Suggestions follow meaning: a name of the field that is another one here is told its name."""

import inspect
import sys
from pathlib import Path

import pytest

from fl_platform import cli
from fl_platform.config import ConfigError, aliases, compose, targets
from fl_platform.config.hydra_tree import GROUPS, schema_keys
from fl_platform.config.targets import admit
from fl_platform.grid.spec import read_grid

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command line; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fl-platform", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("defense=geometric_median", "rfa"),
        ("defense=GeoMed", "rfa"),
        ("defense=fedavg", "mean"),
        ("defense=cclip", "centered_clipping"),
        ("defense=Multi-Krum", "multi_krum"),
        ("attack=alie", "lie"),
        ("alpha=0.1", "task.beta"),
        ("f=3", "byzantine.count"),
        ("lr=0.1", "task.local.lr"),
        ("gar=median", "defense"),
        ("nu=2", "attack.nu"),
        ("strike", "attack=strike"),
        ("geometric_median", "defense=rfa"),
        ("mixing=[nnm,bucketing]", "mixing=nnm_bucketing"),
        ("attack=[none,ipm]", "use a grid"),
        ("defense=[mean,multi_krum]", "use a grid"),
        ("task=[digits,mnist]", "use a grid"),
        ("attack._target_=yaml.load", "--plugin yaml"),
    ],
)
def test_what_people_type_is_told_what_it_is_called_here(typed: str, meant: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        compose(["task=digits", "attack=strike", typed], ROOT)
    text = str(refusal.value).partition(" Choices:")[0].partition(" Expected one of:")[0]
    assert meant in text.replace("'", "")


def test_each_name_of_the_table_is_one_of_ours_and_each_alias_has_one_meaning() -> None:
    ours = {path.stem for path in CONF.rglob("*.yaml")} | {*schema_keys(), *GROUPS, "rounds"}
    assert set(aliases.NAMES) <= ours
    seen: dict[str, str] = {}
    for name, typed in aliases.NAMES.items():
        for alias in typed.split():
            assert seen.setdefault(aliases.bare(alias), name) == name
            assert not any((CONF / group / f"{alias}.yaml").exists() for group in GROUPS)


def test_a_choice_of_a_package_nearby_is_told_its_plugin(tmp_path, monkeypatch) -> None:
    package = tmp_path / "mine"
    (package / "conf" / "attack").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "conf" / "attack" / "own.yaml").write_text("_target_: mine.own\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="add --plugin mine"):
        compose(["attack=own"], tmp_path)


@pytest.mark.parametrize("place", ["workspace", "working directory", "path"])
@pytest.mark.parametrize("group", ["attack", "experiment"])
def test_the_plugin_of_a_choice_is_named_where_it_would_be_found(
    place, group, tmp_path, monkeypatch
) -> None:
    home, here, path = tmp_path / "home", tmp_path / "here", tmp_path / "path"
    folder = {"workspace": home, "working directory": here, "path": path}[place]
    file = folder / f"mine_{folder.name}" / "conf" / group / "own.yaml"
    file.parent.mkdir(parents=True)
    for each in (home, here):
        each.mkdir(exist_ok=True)
    package = file.parents[2]
    (package / "__init__.py").write_text("__all__ = []\n")
    file.write_text("# @package _global_\nrounds: 2\n" if group == "experiment" else "a: 1\n")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [str(path), *sys.path])
    monkeypatch.setattr(targets, "_plugins", {})
    asks = [lambda: compose([f"{group}=own"], home)]
    asks += [lambda: read_grid("own", home)] if group == "experiment" else []
    for ask in asks:
        with pytest.raises(ConfigError, match=r"no 'own'|experiment 'own'") as refused:
            ask()
        assert f"add --plugin {package.name}." in str(refused.value)
        assert "did you mean" not in str(refused.value)
    assert admit(package.name, home) == package  # the advice is right


@pytest.mark.parametrize("words", [("--attack", "strike"), ("--attack=strike",), ("--seed", "3")])
def test_a_setting_typed_as_an_option_is_told_its_form(words, call) -> None:
    code, _, err = call("run", *words)
    key, value = words[0].removeprefix("--").partition("=")[0], words[-1].rpartition("=")[2]
    assert (code, f"{key}={value}" in err) == (2, True)


def test_list_takes_one_or_several_and_shows_parameters_without_markup(call) -> None:
    for one, several in (("attack", "attacks"), ("defense", "defenses"), ("model", "models")):
        first, second = call("list", one), call("list", several)
        assert first[0] == 0
        assert first == second
    _, out, _ = call("list")
    assert "nu=1.0" in out
    assert "resnet18" in out
    assert "gamma_similarity" in out
    assert ":func:" not in out
    assert "``" not in out


def test_the_table_is_the_only_one() -> None:
    assert "geometric_median" in inspect.getsource(aliases)
    others = [p for p in (ROOT / "fl_platform" / "config").glob("*.py") if p.stem != "aliases"]
    assert not [path for path in others if "cclip" in path.read_text()]

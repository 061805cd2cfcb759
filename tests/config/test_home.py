"""Where ``conf/`` and ``mlruns/`` are looked for, in order."""

from __future__ import annotations

import pytest

from fl_platform.config import ConfigError, compose, conf_folder, find_home
from tests.config.test_mutants import ROOT

MAIN = "defaults:\n  - attack: none\n  - defense: mean\n"


@pytest.fixture
def homes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "conf").mkdir(parents=True)
        (tmp_path / name / "conf/config.yaml").write_text(MAIN)
    (tmp_path / "b" / "deep" / "er").mkdir(parents=True)
    return tmp_path.resolve()


def test_the_option_wins_then_the_environment_then_the_nearest_parent(homes):
    env = {"FL_PLATFORM_HOME": str(homes / "a")}
    deep = homes / "b/deep/er"
    assert find_home("..", env, deep) == homes / "b/deep"
    assert find_home(None, env, deep) == homes / "a"
    assert find_home(None, {}, deep) == homes / "b"


def test_without_any_the_working_directory_uses_what_came_installed(homes):
    assert find_home(None, {}, homes) == homes
    assert conf_folder(homes) == ROOT / "conf"
    assert conf_folder(homes / "a") == homes / "a/conf"
    assert compose([], homes).task.name == "digits"


def test_a_folder_that_is_not_there_is_refused(homes):
    with pytest.raises(ConfigError, match="--home: expected a folder"):
        find_home("nowhere", {}, homes)
    with pytest.raises(ConfigError, match="FL_PLATFORM_HOME: expected a folder"):
        find_home(None, {"FL_PLATFORM_HOME": "nowhere"}, homes)


def test_a_configuration_of_another_project_is_no_home(homes):
    other = homes / "a/conf/config.yaml"
    other.write_text("defaults:\n  - db: mysql\n")
    (homes / "a/deep").mkdir()
    assert find_home(None, {}, homes / "a/deep") == homes / "a/deep"
    assert conf_folder(homes / "a") == ROOT / "conf"
    assert compose([], homes / "a").task.name == "digits"


def test_a_folder_below_one_with_runs_shares_its_store(homes):
    (homes / "mlruns/runs").mkdir(parents=True)
    (homes / "notebooks").mkdir()
    assert find_home(None, {}, homes / "notebooks") == homes


def test_own_files_make_a_workspace_but_those_of_a_plugin_or_another_project_do_not(homes):
    own = homes / "c/conf/experiment"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("# @package _global_\nrounds: 2\n")
    (homes / "c/deep").mkdir()
    assert find_home(None, {}, homes / "c/deep") == homes / "c"
    (homes / "c/conf/train.yaml").write_text("lr: 1\n")
    assert find_home(None, {}, homes / "c/deep") == homes / "c/deep"
    rules = homes / "b/my_rules"
    (rules / "conf/defense").mkdir(parents=True)
    (rules / "conf/defense/half.yaml").write_text("_target_: my_rules.half\n")
    (rules / "__init__.py").write_text("")
    assert find_home(None, {}, rules) == homes / "b"


def test_a_message_names_the_folder_of_another_project_that_is_left_out(homes):
    (homes / "a/conf/config.yaml").write_text("defaults:\n  - db: mysql\n")
    (homes / "a/conf/experiment").mkdir()
    (homes / "a/conf/experiment/mine.yaml").write_text("# @package _global_\nrounds: 2\n")
    from fl_platform.grid.spec import read_grid

    for ask in (
        lambda: compose(["experiment=mine"], homes / "a"),
        lambda: read_grid("mine", homes / "a"),
    ):
        with pytest.raises(ConfigError, match=f"Not searched: {homes}/a/conf, whose config.yaml"):
            ask()


def test_own_files_add_to_what_came_installed(homes):
    from fl_platform.grid.spec import read_grid

    (homes / "conf/experiment").mkdir(parents=True)
    (homes / "conf/suite").mkdir()
    text = '# @package _global_\nattack: {nu: 0.5}\ngrid:\n  axes:\n    seed: "0,1"\n'
    (homes / "conf/experiment/mine.yaml").write_text(text)
    config = compose(["attack=strike", "experiment=mine"], homes)
    assert (config.experiment, config.attack["nu"]) == ("mine", 0.5)
    assert read_grid("mine", homes).name == "mine"
    assert read_grid("quick", homes).name == "quick"
    with pytest.raises(ConfigError, match=f"no experiment 'other'.*Searched: {homes / 'conf'}, "):
        read_grid("other", homes)
    with pytest.raises(ConfigError, match=f"no 'other'.*Searched: {homes / 'conf'}, .*--home"):
        compose(["experiment=other"], homes)

"""Where ``conf/`` and ``mlruns/`` are looked for, in order."""

from __future__ import annotations

import pytest

from fl_platform.config import ConfigError, compose, conf_folder, find_home
from tests.config.test_mutants import ROOT


@pytest.fixture
def homes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "conf").mkdir(parents=True)
        (tmp_path / name / "conf/config.yaml").write_text("")
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

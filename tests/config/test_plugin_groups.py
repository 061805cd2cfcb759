"""Callbacks, loggers and metrics of the configuration: named nodes, checked and hashed."""

from __future__ import annotations

import pytest

from fl_platform.config import ConfigError, canonical, compose, config_hash, flat, targets
from fl_platform.config.targets import PLUGIN_GROUPS

PARTS = """
from pathlib import Path
from typing import Annotated

from lightning.pytorch import Callback
from lightning.pytorch.loggers import Logger

from fl_platform.core.constraints import AtLeast
from fl_platform.federated import Round

__all__ = ["Idle", "Needy", "Silent", "no_numbers", "of_rows", "share"]


def share(round: Round, *, top: Annotated[int, AtLeast(1)] = 1) -> dict[str, float]:
    return {"value": float(top)}


def of_rows(rows: Round) -> dict[str, float]:
    return {}


def no_numbers(round: Round) -> float:
    return 0.0


class Idle(Callback):
    def __init__(self, folder: Path, seed: int, *, patience: int = 3) -> None:
        self.patience = patience


class Needy(Callback):
    def __init__(self, patience: int = 3) -> None:
        self.patience = patience


class Silent(Logger):
    name, version = "silent", 0

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass
"""


@pytest.fixture
def parts(home):
    """A home whose plug-in module has one part of each kind, with files for ``conf/``."""
    (home / "parts.py").write_text(PARTS)
    for group, text in {
        "callbacks/idle": "idle: {_target_: parts.Idle, patience: 3}",
        "callbacks/other": "other: {_target_: parts.Idle}",
        "loggers/silent": "silent: {_target_: parts.Silent}",
        "observers/metrics/share": "share: {_target_: parts.share, top: 2}",
    }.items():
        (home / "conf" / f"{group}.yaml").write_text(text + "\n")
    return lambda *overrides: compose(overrides, home, plugins=["parts"])


def test_a_choice_of_each_group_is_filled_in_from_the_signature(parts):
    config = parts("callbacks=idle", "loggers=silent", "observers/metrics=share")
    assert config.callbacks == {"idle": {"_target_": "parts.Idle", "patience": 3}}
    assert config.loggers == {"silent": {"_target_": "parts.Silent"}}
    share = {"_target_": "parts.share", "top": 2, "every": 1}
    assert config.observers.metrics == {"share": share}


def test_several_choices_stand_side_by_side(parts):
    config = parts("callbacks=[other,idle]", "callbacks.idle.patience=5")
    assert list(config.callbacks) == ["idle", "other"]  # by name: no order has a hash of its own
    assert config.callbacks["idle"]["patience"] == 5
    assert config_hash(config) == config_hash(
        parts("callbacks=[idle,other]", "callbacks.idle.patience=5")
    )


def test_every_can_be_set_for_a_metric_whose_yaml_does_not_list_it(parts):
    config = parts("observers/metrics=share", "observers.metrics.share.every=5")
    assert config.observers.metrics["share"]["every"] == 5


def test_empty_groups_leave_the_canonical_form_as_it_was(parts):
    form = canonical(parts())
    assert not {"callbacks", "loggers"} & form.keys()
    assert sorted(form["observers"]) == ["cloud", "skew"]
    assert canonical(parts("callbacks=idle"))["callbacks"]["idle"]["patience"] == 3


def test_what_may_alter_the_record_alters_the_hash_and_a_logger_does_not(parts):
    plain = config_hash(parts())
    assert config_hash(parts("loggers=silent")) == plain
    assert config_hash(parts("callbacks=idle")) != plain
    assert config_hash(parts("observers/metrics=share")) != plain


def test_parameters_are_logged_by_name(parts):
    params = flat(parts("callbacks=idle", "observers/metrics=share"))
    assert params["callbacks.idle"] == "Idle"
    assert params["callbacks.idle.patience"] == 3
    assert params["observers.metrics.share"] == "share"
    assert "callbacks" not in flat(parts())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "callbacks.x._target_=parts.Silent",
            "is not valid as callback: expected a class that inherits",
        ),
        ("callbacks.x._target_=parts.share", "is not valid as callback"),
        ("callbacks.x._target_=parts.Needy", "its constructor requires patience"),
        ("loggers.x._target_=parts.Idle", "is not valid as logger"),
        ("observers.metrics.x._target_=parts.of_rows", "one positional parameter 'round'"),
        ("observers.metrics.x._target_=parts.no_numbers", "is not valid as metric"),
        ("observers.metrics.test._target_=parts.share", "expected a name of its own"),
        ("observers.metrics.x={_target_:parts.share,top:0}", "top: expected a finite number"),
        ("observers.metrics.x={_target_:parts.share,every:0}", "every: expected a whole number"),
        ("callbacks._target_=parts.Idle", "expected a name above _target_"),
        ("callbacks.x={patience:3}", r"callbacks.x._target_: expected one of"),
    ],
)
def test_a_part_that_does_not_fit_is_refused_by_name(parts, override, message):
    with pytest.raises(ConfigError, match=message):
        parts("+" + override)


@pytest.mark.parametrize("group", PLUGIN_GROUPS)
@pytest.mark.parametrize("target", ["os.system", "lightning.pytorch.Callback", "parts.json"])
def test_nothing_but_a_public_name_of_a_plugin_is_taken(parts, group, target):
    with pytest.raises(ConfigError, match=f"{group}.x._target_: expected one of the public"):
        parts(f"+{group}.x._target_={target}")


@pytest.mark.parametrize("group", PLUGIN_GROUPS)
def test_without_a_plugin_the_option_is_named(home, monkeypatch, group):
    monkeypatch.setattr(targets, "_plugins", {})
    with pytest.raises(ConfigError, match="a package named by --plugin"):
        compose([f"+{group}.x._target_=parts.share"], home)


def test_a_parameter_that_the_yaml_file_does_not_list_can_be_set(parts):
    plain, typed = parts("callbacks=other"), parts("callbacks=other", "callbacks.other.patience=5")
    assert plain.callbacks["other"]["patience"] == 3
    assert typed.callbacks["other"]["patience"] == 5
    assert config_hash(plain) == config_hash(parts("callbacks=other", "callbacks.other.patience=3"))
    with pytest.raises(ConfigError, match="did you mean 'patience'"):
        parts("callbacks=other", "callbacks.other.patienec=5")
    with pytest.raises(ConfigError, match="patience: expected a whole number"):
        parts("callbacks=other", "callbacks.other.patience=much")

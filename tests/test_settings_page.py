"""Every line of docs/settings.md can be run as it stands, and every learning setting has one."""

import dataclasses
import inspect
import re
import shlex
from pathlib import Path

import pytest

from fl_platform import models
from fl_platform.config import compose, config_hash
from fl_platform.config.rules import parameters
from fl_platform.config.schema import Data, Worker
from fl_platform.core.attack_schedule import AttackSchedule
from fl_platform.core.schedules import KINDS
from fl_platform.data import partitions

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "settings.md").read_text()
LINES = [
    line
    for block in re.findall(r"^```\n(.*?)^```", PAGE, flags=re.M | re.S)
    for line in block.splitlines()
    if line.startswith("fl-platform run")
]

WHOLE = {
    *(f"task.local.{name}" for name in ("steps", "walk", "drop_last", "crop", "flip", "schedule")),
    *("server.schedule", "server.weight_decay", "local", "task.root_samples", "evaluation.scores"),
    *("byzantine.count", "byzantine.data", "defense.assumed_f", "model", "partition"),
    *(f"worker.{field.name}" for field in dataclasses.fields(Worker)),
    *(f"data.{field.name}" for field in dataclasses.fields(Data)),
    *(f"attack.schedule.{field.name}" for field in dataclasses.fields(AttackSchedule)),
}
NETWORKS = [getattr(models, name) for name in models.__all__]
PARTS = {
    "model": [f for f in NETWORKS if "num_classes" in inspect.signature(f).parameters],
    "partition": [getattr(partitions, name) for name in partitions.__all__],
}
OF_PARTS = {f"{g}.{name}" for g, parts in PARTS.items() for f in parts for name in parameters(f)}


@pytest.mark.parametrize("key", sorted(WHOLE | OF_PARTS))
def test_each_learning_setting_has_a_line(key):
    assert any(re.search(rf"(^|[ '.]){re.escape(key)}[=.]", line) for line in LINES)


@pytest.mark.parametrize("kind", KINDS)
def test_each_schedule_has_a_line_with_each_of_its_settings(kind):
    shown = "\n".join(line for line in LINES if re.search(rf"kind(=|: ){kind}\b", line))
    own = {field.name for field in dataclasses.fields(KINDS[kind])} - {"warmup"}
    assert all(re.search(rf"\b{name}(=|: )", shown) for name in own), own
    assert shown


@pytest.mark.parametrize("line", LINES)
def test_each_line_is_a_configuration_of_its_own(line):
    overrides = shlex.split(line)[2:]
    plain = [text for text in overrides if text.startswith("task=")]
    assert config_hash(compose(overrides, ROOT)) != config_hash(compose(plain, ROOT))


def test_the_page_has_lines():
    assert len(LINES) > 10

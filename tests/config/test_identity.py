"""What makes two runs the same run, and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fl_platform.config import canonical, compose, config_hash, differences, flat, identity

ROOT = Path(__file__).parents[2]
STRIKE = ["attack=strike", "defense=multi_krum"]


def name(*overrides: str) -> str:
    return config_hash(compose(overrides, ROOT))


@pytest.mark.parametrize(
    "same",
    [
        [*STRIKE, "attack.nu=1"],
        [*STRIKE, "attack.nu=1.00"],
        [*STRIKE, "attack.nu=1e0"],
        [*STRIKE, "++attack.nu=1.0"],
        [*STRIKE, "~attack.nu"],
        ["defense=multi_krum", "seed=0", "attack=strike"],
        [*STRIKE, "rounds=60"],
        [*STRIKE, "task.rounds=9", "rounds=60"],
        [*STRIKE, "runtime.tracking=journal", "runtime.threads=2", "runtime.fresh=true"],
        [*STRIKE, "attack.knowledge=all"],
    ],
)
def test_one_meaning_has_one_hash(same):
    assert name(*same) == name(*STRIKE)


@pytest.mark.parametrize(
    "other",
    [
        "attack.nu=1.0000001",
        "attack.nu=0",
        "seed=1",
        "rounds=61",
        "byzantine.fraction=0.1",
        "attack.knowledge=own",
        "task.beta=0.4",
        "task.local.lr=0.2",
        "task.model.hidden=32",
        "evaluation.tail=9",
        "server.lr=0.5",
        "defense=mean",
        "preset=paper",
        "observers=none",
    ],
)
def test_another_meaning_has_another_hash(other):
    assert name(*STRIKE, other) != name(*STRIKE)


def test_minus_zero_is_zero():
    assert name(*STRIKE, "attack.nu=-0.0") == name(*STRIKE, "attack.nu=0")


def test_a_setting_added_later_leaves_old_names_alone(monkeypatch):
    old = compose(STRIKE, ROOT)
    monkeypatch.setattr(
        identity, "LATER", {"server.eps": 1e-3, "fl_platform.attacks.strike:nu": 1.0}
    )
    form = canonical(old)
    assert "eps" not in form["server"]
    assert "nu" not in form["attack"]
    changed = canonical(compose([*STRIKE, "server.eps=0.1", "attack.nu=2"], ROOT))
    assert (changed["server"]["eps"], changed["attack"]["nu"]) == (0.1, 2.0)


def test_where_data_lie_is_no_part_of_a_run():
    import dataclasses

    config = compose([], ROOT)
    data = {**config.task.data, "root": "/somewhere"}
    moved = dataclasses.replace(config, task=dataclasses.replace(config.task, data=data))
    assert config_hash(moved) == config_hash(config)
    other = dataclasses.replace(
        config, task=dataclasses.replace(config.task, data=data | {"size": 3})
    )
    assert config_hash(other) != config_hash(config)


def test_differences_name_the_keys():
    before, after = compose(STRIKE, ROOT), compose([*STRIKE, "seed=3", "attack.nu=0.5"], ROOT)
    assert differences(before, before) == []
    assert differences(before, after) == ["attack.nu: 1.0 -> 0.5", "seed: 0 -> 3"]
    stored = json.loads(json.dumps(canonical(before)))
    assert differences(stored, after) == differences(before, after)
    unlike = differences(before, compose(["attack=ipm", "defense=multi_krum"], ROOT))
    assert 'attack._target_: "fl_platform.attacks.strike" -> "fl_platform.attacks.ipm"' in unlike
    assert any(line == "attack.nu: 1.0 -> (absent)" for line in unlike)


def test_flat_parameters_are_scalars_by_rule():
    params = flat(compose(STRIKE, ROOT))
    assert (params["attack"], params["attack.nu"], params["defense"]) == (
        "strike",
        1.0,
        "multi_krum",
    )
    assert (params["task.data"], params["task.local.lr"], params["mixing"]) == (
        "digits",
        0.1,
        "none",
    )
    assert not [key for key in params if "_target_" in key or key.startswith("runtime")]
    assert all(isinstance(value, bool | int | float | str) for value in params.values())


HASH = """
import sys
from pathlib import Path
from fl_platform.config import compose, config_hash
print(config_hash(compose(sys.argv[2:], Path(sys.argv[1]))))
"""


def test_the_hash_seed_of_the_process_plays_no_part():
    found = set()
    for seed in ("0", "1", "7", "4294967295"):
        done = subprocess.run(
            [sys.executable, "-c", HASH, str(ROOT), *STRIKE],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout.strip())
    assert found == {name(*STRIKE)}


def test_naming_a_run_needs_neither_torch_nor_lightning():
    code = (
        "import sys, fl_platform.config.identity;"
        "sys.exit(sorted({'torch', 'lightning', 'mlflow'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr

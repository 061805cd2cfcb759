"""Merging without Hydra's own node gives what the public ``hydra.compose`` gives, and forgets."""

from __future__ import annotations

import shutil
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from fl_platform.config import ConfigError, compose
from fl_platform.config.hydra_internals import check_files, merge
from fl_platform.config.hydra_tree import parse_overrides
from tests.config.test_mutants import CHOICES

ROOT = Path(__file__).parents[2]
CONF = (ROOT / "conf").resolve()
LINES = [
    [],
    ["seed=3", "rounds=7", "attack=strike", "attack.nu=2"],
    ["~mixing", "+task.local={batch: 3}", "++server.lr=0.5", "+new.key=[1, a, null]"],
    ["mixing=nnm_bucketing", "~mixing.nnm", "preset=paper", "task.name='a b'"],
    ["rounds=${seed}", "task.local.lr=1e-3", "observers=none"],
    *([f"experiment={file.stem}"] for file in sorted((CONF / "experiment").glob("*.yaml"))),
    # Hydra itself reads inf as a number and refuses it as a choice.
    *([f"{group}={name}"] for group, name in CHOICES[::4] if name != "inf"),
]


def ours(line: list[str]):
    tree, choices = merge([CONF], check_files([CONF]), parse_overrides(line))
    return OmegaConf.to_container(tree), choices


def theirs(line: list[str]):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        tree = hydra.compose("config", line, return_hydra_config=True)
    choices = {k: v for k, v in tree.hydra.runtime.choices.items() if not k.startswith("hydra/")}
    OmegaConf.set_struct(tree, False)
    del tree["hydra"]
    return OmegaConf.to_container(tree), choices


@pytest.mark.parametrize("line", LINES, ids=" ".join)
def test_a_tree_is_what_hydra_composes(line):
    assert ours(line) == theirs(line)


def test_what_was_written_into_one_tree_is_not_in_the_next():
    before = ours([])
    ours(["seed=7", "task.local.lr=9", "mixing=bucketing", "mixing.s=5", "+attack.x=1"])
    assert ours([]) == before


def test_a_changed_file_is_read_again_and_a_new_one_found(tmp_path):
    shutil.copytree(CONF, tmp_path / "conf")
    assert compose([], tmp_path).seed == 0
    main = tmp_path / "conf" / "config.yaml"
    main.write_text(main.read_text().replace("seed: 0", "seed: 11"))
    assert compose([], tmp_path).seed == 11
    shutil.copy(CONF / "attack" / "ipm.yaml", tmp_path / "conf" / "attack" / "mine.yaml")
    assert compose(["attack=mine"], tmp_path).attack["_target_"].endswith(".ipm")


def test_a_folder_that_is_no_group_of_ours_is_looked_through_too(tmp_path):
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf" / "other").mkdir()
    (tmp_path / "conf" / "other" / "bomb.yaml").write_text("a: &a [x]\nb: [*a, *a]\n")
    with pytest.raises(ConfigError, match="an anchor or alias"):
        compose(["+other=bomb"], tmp_path)

"""The way of training as a part of whole runs."""

import json
from pathlib import Path

import pytest

from fl_platform.config import compose, config_hash
from fl_platform.run import run
from fl_platform.tracking.folder import run_folder
from fl_platform.tracking.journal import read

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def go(tmp_path):
    def start(way, *overrides):
        home = tmp_path / way
        home.mkdir()
        (home / "conf").symlink_to(REPOSITORY / "conf")
        quiet = ["runtime.tracking=journal", "runtime.progress=none", f"runtime.local={way}"]
        config = compose(["task=digits", "rounds=3", *quiet, *overrides], home)
        run(config, home)
        folder = run_folder(home, config_hash(config))
        losses = [point.value for point in read(folder.journal).metrics["round/loss"].values()]
        return losses, json.loads((folder.path / "run.json").read_text())["conditions"]["local"]

    return start


def test_all_ways_tell_the_same_story_and_the_record_names_the_way(go):
    attack = ["attack=label_flip", "defense=multi_krum"]
    told = {way: go(way, *attack) for way in ("sequential", "vmapped", "auto")}
    assert [way for _, way in told.values()] == ["sequential", "vmapped", "vmapped"]
    assert told["auto"][0] == told["vmapped"][0]
    assert told["vmapped"][0] == pytest.approx(told["sequential"][0], rel=1e-3)
    assert told["vmapped"][0] != pytest.approx(go("channels_last")[0], rel=1e-3)

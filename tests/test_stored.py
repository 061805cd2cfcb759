"""A stored result is shown for the data that it was computed from, wherever these lie now."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fl_platform.config import ConfigError, compose, config_hash
from fl_platform.grid.plan import plan_grid
from fl_platform.grid.runner import Options, run_grid
from fl_platform.run import lookup as known_data
from fl_platform.run.lookup import OtherData, stored
from fl_platform.run.runner import run
from fl_platform.study.problem import open_study
from fl_platform.study.runner import prepare
from fl_platform.study.storage import open_storage
from fl_platform.tracking.run_folder import run_folder

REPOSITORY = Path(__file__).resolve().parents[1]
QUIET = ["runtime.tracking=journal", "runtime.progress=none"]
TASK = ["task=arrays", "task.partition=iid", "task.clients=4", "rounds=1"]


def write_data(folder, seed):
    chance = np.random.default_rng(seed)
    images = chance.integers(0, 255, (24, 4, 4), dtype=np.uint8)
    labels = np.arange(24) % 3
    folder.mkdir(exist_ok=True)
    path = folder / "arrays.npz"
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return path


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    write_data(tmp_path / "data", 0)
    write_data(tmp_path / "other", 1)
    (tmp_path / "tuning").mkdir()
    return tmp_path


def config(home, *overrides):
    return compose([*TASK, *overrides, *QUIET], home)


@pytest.fixture
def loads(monkeypatch):
    """How often data were loaded because nobody knew them."""
    real, seen = known_data._loaded, []

    def counting(home, node):
        seen.append(node["root"])
        return real(home, node)

    monkeypatch.setattr(known_data, "_loaded", counting)
    return seen


def test_other_data_at_another_root_are_refused_by_name(home):
    first = run(config(home), home)
    with pytest.raises(OtherData, match=r"data_digest: '\w{64}' then, '\w{64}' now.*--restart"):
        run(config(home, "task.data.root=other"), home)
    shown = run(config(home, "task.data.root=other", "runtime.continue_anyway=true"), home)
    assert shown == first
    fresh = run(config(home, "task.data.root=other", "runtime.fresh=true"), home)
    assert fresh.weights_sha256 != first.weights_sha256
    with pytest.raises(OtherData):  # now it is the first data that are others
        run(config(home), home)


def test_the_same_data_elsewhere_are_the_same_run_and_known_from_then_on(home, loads):
    first = run(config(home), home)
    assert run(config(home), home) == first
    assert not loads  # the run itself remembered what it had read
    shutil.copytree(home / "data", home / "moved")
    for _ in range(2):
        assert run(config(home, "task.data.root=moved"), home) == first
    assert loads == [str(home / "moved")]


def test_a_file_that_was_replaced_where_it_lay_is_noticed(home, loads):
    asked = config(home)
    run(asked, home)
    path = home / "data" / "arrays.npz"
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    assert stored(asked, home) is not None  # touched, not changed: looked at once
    assert stored(asked, home) is not None
    assert len(loads) == 1
    write_data(home / "data", 2)
    with pytest.raises(OtherData):
        stored(asked, home)


def test_data_that_are_not_there_are_not_compared_and_not_fetched(home, loads, monkeypatch):
    first = run(config(home), home)
    assert run(config(home, "task.data.root=nowhere"), home) == first
    (home / "empty").mkdir()
    assert run(config(home, "task.data.root=empty"), home) == first
    assert loads == [str(home / "empty")]
    asked = compose(["task=cifar10", "task.data.root=empty", *QUIET], home)
    loader = importlib.import_module("fl_platform.data.cifar10")
    monkeypatch.setattr(loader, "_download", lambda *_: pytest.fail("a download"))
    assert known_data.digest_of(asked, home) is None


def test_a_stored_result_of_known_data_needs_no_torch(home):
    asked = config(home)
    run(asked, home)
    code = (
        "import sys; from pathlib import Path; from fl_platform.config import compose;"
        "from fl_platform.run.lookup import of_other_code, stored; home = Path(sys.argv[1]);"
        "asked = compose(sys.argv[2:], home); assert stored(asked, home) is not None;"
        "assert of_other_code(asked, home) == ();"
        "sys.exit(sorted({'torch', 'lightning'} & set(sys.modules)) or 0)"
    )
    command = [sys.executable, "-c", code, str(home), *TASK, *QUIET]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_grid_refuses_the_cells_of_other_data_and_goes_on_with_the_rest(home):
    def grid(*overrides):
        asked, cells = plan_grid([*TASK, *QUIET, *overrides], home)
        return run_grid(asked, cells, home, Options(jobs=1, report=False)).to_json()

    assert grid("seed=0")["done"] == 1
    told = grid("seed=0,1", "task.data.root=other")
    assert (told["done"], told["failed"]) == (1, 1)
    assert "--restart" in next(r["reason"] for r in told["results"] if r["state"] == "FAILED")
    assert grid("seed=0")["done"] == 1


def test_a_study_over_other_data_is_refused(home):
    (home / "tuning" / "small.yaml").write_text(
        "space: {attack.nu: {low: 0.5, high: 2.0}}\nbudget: {trials: 1}\n"
        "direction: minimize\nseeds: [0, 1]\nbase: [attack=strike, task.validation=0.2]\n"
    )
    storage = open_storage(home)

    def opened(*overrides):
        problem = prepare("small", [*TASK, *overrides], home, name="mine")
        return open_study(problem, storage)

    opened()
    opened()
    with pytest.raises(ConfigError, match="the data that this study was begun with"):
        opened("task.data.root=other")


def test_a_damaged_memory_is_written_anew(home, loads):
    asked = config(home)
    run(asked, home)
    (memory,) = (home / "mlruns" / "data").glob("*.json")
    memory.write_text("{")
    assert stored(asked, home) is not None
    assert len(loads) == 1
    digest = run_folder(home, config_hash(asked)).describe()["conditions"]["data_digest"]
    assert json.loads(memory.read_text())["digest"] == digest


@pytest.mark.parametrize(
    "files", [[], [[]], [[1, 2, 3]], [["a\0b", 1, 2]], [[None, 1, 2]], [["a", 1.0, 2]], ["a"]]
)
def test_a_memory_without_stamps_of_files_is_written_anew(home, loads, files):
    asked = config(home)
    run(asked, home)
    (memory,) = (home / "mlruns" / "data").glob("*.json")
    memory.write_text(json.dumps({**json.loads(memory.read_text()), "files": files}))
    write_data(home / "data", 2)
    with pytest.raises(OtherData):  # with no file to look at, any data would be the recorded ones
        stored(asked, home)

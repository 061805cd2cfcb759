"""The verbs as a person types them, in one process."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fl_platform import cli
from fl_platform.tracking.folder import runs_root

REPOSITORY = Path(__file__).resolve().parents[1]
SHORT = ["rounds=2", "runtime.tracking=journal", "runtime.progress=none"]


WRITERS = ["task=arrays", "task.partition=writer", "task.clients=null"]


def _three_writers(home):
    chance = np.random.default_rng(0)
    images = chance.integers(0, 255, (12, 4, 4), dtype=np.uint8)
    labels = np.arange(12) % 3
    (home / "data").mkdir()
    np.savez(
        home / "data" / "arrays.npz",
        train_images=images, train_labels=labels, writers=labels,
        test_images=images, test_labels=labels,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    return tmp_path


@pytest.fixture
def call(home, monkeypatch, capsys):
    """Call the command line; (exit code, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fl-platform", *arguments, "--home", str(home)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def test_a_run_prints_its_result_and_a_json_object_as_the_last_line(call):
    code, out, _ = call("run", "attack=ipm", "defense=median", *SHORT, "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert "digits ipm(scale=0.1) vs median s0" in out
    assert set(result) >= {
        "run_id", "status", "rounds", "accuracy_last", "accuracy_tail", "accuracy_best",
        "seconds", "seconds_training", "config_hash", "weights_sha256",
    }  # fmt: skip
    assert (result["status"], result["rounds"]) == ("FINISHED", 2)
    again = call("run", "attack=ipm", "defense=median", *SHORT, "--json")
    assert json.loads(again[1].splitlines()[-1]) == result
    fresh = call("run", "attack=ipm", "defense=median", *SHORT, "--json", "--fresh")
    other = json.loads(fresh[1].splitlines()[-1])
    assert other["run_id"] != result["run_id"]
    assert other["weights_sha256"] == result["weights_sha256"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["attack=strke"], "did you mean 'strike'"),
        (["attack=strike", "attack.nuu=1"], "attack.nuu"),
        (["attack=strike", "attack.nu=-1"], "attack.nu"),
        (["seed=0,1"], "fl-platform grid"),
        (["byzantine.fraction=0.5"], "byzantine.fraction"),
        (["task.local.lr=nan"], "lr"),
        (["runtime.device=cuda:99"], "runtime.device"),
        (["runtime.device=mps"], "runtime.device"),
        (["task.model.hidden=500000", "runtime.local=graphed", "runtime.device=cpu"], "CUDA"),
        ([*WRITERS, "task.clients=50"], "task.clients"),
        ([*WRITERS, "task.sampled=4"], "task.sampled"),
        ([*WRITERS, "byzantine.fraction=0.4"], "byzantine.fraction"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line_and_leaves_nothing(call, home, arguments, told):
    _three_writers(home)
    code, out, err = call("run", *arguments)
    assert code == 2
    assert told in err
    assert err.startswith("fl-platform: ")
    assert err.count("\n") == 1
    assert not out
    assert not runs_root(home).exists()


def test_a_diverged_run_has_an_exit_code_of_its_own(call):
    code, out, _ = call("run", "defense=mean", "task.local.lr=1e30", "task.local.clip=null", *SHORT)
    assert code == 5
    assert "DIVERGED" in out


def test_data_that_the_settings_fit_are_trained_on(call, home):
    """The control of the refusals above; a list among the settings of data is no trouble."""
    _three_writers(home)
    code, out, _ = call("run", *WRITERS, "task.data.mean=[0.5]", "task.data.std=[0.2]", *SHORT)
    assert code == 0
    assert "FINISHED" in out


def test_a_round_beyond_the_rule_ends_the_run_in_one_line_where_asked_to(call):
    chosen = ["attack=absent", "defense=bulyan", "defense.on_excess_f=error"]
    code, _, err = call("run", *chosen, *SHORT)
    assert code == 2
    assert "at most f=9 Byzantine rows for bulyan with n=40" in err.splitlines()[-1]


def test_a_stored_result_of_other_code_says_so(call, monkeypatch):
    assert "other code" not in call("run", *SHORT)[2]
    assert "other code" not in call("run", *SHORT)[2]
    monkeypatch.setattr("fl_platform.provenance.code_fingerprint", lambda: "edited since")
    assert "by other code than today's: --fresh" in call("run", *SHORT)[2]


def test_fresh_may_be_typed_as_a_setting(call):
    first, again, fresh = (
        json.loads(call("run", *SHORT, "--json", *more)[1].splitlines()[-1])["run_id"]
        for more in ([], [], ["runtime.fresh=true"])
    )
    assert again == first
    assert fresh != first


def test_config_prints_the_tree_and_the_hash_of_a_run(call):
    code, out, _ = call("config", "attack=strike", "attack.nu=0.75", "seed=3")
    assert code == 0
    assert "nu: 0.75" in out
    assert "seed: 3" in out
    assert len(out.rpartition("config_hash: ")[2].strip()) == 64


def test_list_names_every_choice_of_a_group(call):
    _, out, _ = call("list", "attacks")
    for path in (REPOSITORY / "conf" / "attack").glob("*.yaml"):
        assert path.stem in out
    code, _, err = call("list", "attakcs")
    assert code == 2
    assert "attacks" in err


def test_a_traceback_is_left_for_faults_of_ours():
    assert cli._exit_code(RuntimeError("planted")) is None
    assert cli._exit_code(OSError("disk full")) == 4

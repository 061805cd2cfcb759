"""The verbs as a person types them, in one process."""

import contextlib
import dataclasses
import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fl_platform import cli
from fl_platform.config import ConfigError
from fl_platform.console import show_result
from fl_platform.run.result import Result
from fl_platform.tracking.run_folder import runs_root

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
    assert "ipm(scale=0.1) vs median, digits s0" in out
    assert set(result) >= {
        "run_id", "status", "rounds", "accuracy_last", "accuracy_tail", "accuracy_best",
        "seconds", "seconds_training", "config_hash", "weights_sha256",
    }  # fmt: skip
    assert (result["status"], result["rounds"]) == ("FINISHED", 2)
    again = call("run", "attack=ipm", "defense=median", *SHORT, "--json")
    assert json.loads(again[1].splitlines()[-1]) == result
    fresh = call("run", "attack=ipm", "defense=median", *SHORT, "--json", "--restart")
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
        (["byzantine.fraction=0", "attack=strike"], "above 0 for attack=strike"),
        (["byzantine.fraction=0", "attack=absent"], "above 0 for attack=absent"),
        (["attack=ipm", "attack.knowledge=41"], "at most 40 honest updates"),
        (["attack=ipm", "attack.knowledge=11", "task.sampled=10"], "at most 10 honest updates"),
        ([*WRITERS, "attack=ipm", "attack.knowledge=3"], "at most 2 honest updates"),
        (
            ["attack=ipm", "task.sampled=4", "byzantine={fraction: 0.02, sampling: fixed_share}"],
            "one Byzantine client among 4 sampled",
        ),
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


@pytest.mark.parametrize(
    "chosen",
    [
        ["byzantine.fraction=0"],  # without an attack there need be nobody to play it
        ["attack=ipm", "attack.knowledge=40"],
        ["attack=ipm", "attack.knowledge=10", "task.sampled=10"],
        ["attack=ipm", "task.sampled=4", "byzantine.fraction=0.02"],  # f_t is 0 or 1
        ["attack=ipm", "task.sampled=4", "byzantine={fraction: 0.2, sampling: fixed_share}"],
    ],
)
def test_an_attack_that_can_play_is_played(call, chosen):
    """The control of the refusals above."""
    assert call("run", *chosen, *SHORT)[0] == 0


def test_a_round_beyond_the_rule_ends_the_run_in_one_line_where_asked_to(call):
    chosen = ["attack=absent", "defense=bulyan", "defense.on_excess_f=error"]
    code, _, err = call("run", *chosen, *SHORT)
    assert code == 2
    assert "at most f=9 Byzantine rows for bulyan with n=40" in err.splitlines()[-1]


def test_a_stored_result_of_other_code_says_so(call, monkeypatch):
    assert "other code" not in call("run", *SHORT)[2]
    assert "other code" not in call("run", *SHORT)[2]
    monkeypatch.setattr("fl_platform.run.provenance.code_fingerprint", lambda: "edited since")
    assert "other code than the current one; --restart" in call("run", *SHORT)[2]


def test_a_restart_may_be_a_setting(call):
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


def test_list_imports_nothing_that_a_run_may_not_call(call, home):
    (home / "conf").unlink(missing_ok=True)  # a workspace of its own
    folder = home / "conf" / "attack"
    folder.mkdir(parents=True)
    (home / "strange.py").write_text("raise SystemExit('imported')\n")
    (folder / "a.yaml").write_text("_target_: strange.attack\n")
    (folder / "b.yaml").write_text("_target_: os.system\n")
    os.mkfifo(folder / "c.yaml")
    (folder / "d.yaml").symlink_to("/dev/zero")
    (folder / "e.yaml").mkdir()
    (folder / "f.yaml").symlink_to(home / "missing")
    code, out, _ = call("list", "attacks")
    assert (code, out.count("not usable: ")) == (0, 6)
    assert "strike" in out


@pytest.mark.parametrize("place", ["config.yaml", "experiment/x.yaml"])
def test_a_pipe_or_device_in_the_configuration_keeps_nobody_waiting(call, home, place):
    (home / "conf").unlink(missing_ok=True)  # a workspace of its own
    file = home / "conf" / place
    file.parent.mkdir(parents=True)
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(file)
        assert call("list", "experiments")[0] == 0
        words = ("task=digits", "attack=ipm", "rounds=1", "--dry-run")
        code, _, err = call("grid", *words)
        if "experiment" in place:
            assert (code, err.count("expected a regular file")) == (2, 1)
        file.unlink()


def test_list_names_every_choice_of_a_group(call):
    _, out, _ = call("list", "attacks")
    for path in (REPOSITORY / "conf" / "attack").glob("*.yaml"):
        assert path.stem in out
    code, _, err = call("list", "attakcs")
    assert code == 2
    assert "attacks" in err


def test_a_result_says_what_to_type_next(capsys):
    result = Result(
        "id", "a run", "KILLED", 3, None, None, None, None, (), 1.0, 1.0, "0" * 64, "0" * 64
    )
    show_result(result)
    assert "the same command continues it" in capsys.readouterr().out
    show_result(dataclasses.replace(result, status="FINISHED"))
    assert "fl-platform ui" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("nu=2", "did you mean attack.nu?"),
        ("lr=0.1", "did you mean server.lr or task.local.lr?"),
        ("rouns=3", "did you mean 'rounds'?"),
    ],
)
def test_a_setting_typed_without_its_group_is_found(call, typed, meant):
    code, _, err = call("config", "attack=strike", typed)
    assert code == 2
    assert meant in err


def test_the_version_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fl-platform", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("fl-platform ")


def test_a_report_on_nothing_makes_no_store(call, home):
    code, _, err = call("report", "nothing")
    assert code == 2
    assert "experiment: expected one that has runs, got 'nothing'" in err
    assert not (home / "mlruns").exists()


def test_a_traceback_is_left_for_faults_of_ours():
    assert cli._exit_code(RuntimeError("planted")) is None
    assert cli._exit_code(OSError("disk full")) == 4


OLD_NAMES = [
    ("--fresh", "--restart", "runtime.fresh=true"),
    ("--continue-anyway", "--ignore-mismatch", "runtime.continue_anyway=true"),
]


@pytest.mark.parametrize(("old", "new", "setting"), OLD_NAMES)
def test_an_old_option_does_what_the_new_one_does_and_names_it(
    call, monkeypatch, old, new, setting
):
    seen = []

    def record(overrides, home, plugins):
        seen.append(overrides)
        raise ConfigError("seen")

    monkeypatch.setattr(cli, "_compose", record)
    assert f"{old} is now {new}" in call("run", old)[2]
    assert "is now" not in call("run", new)[2]
    assert seen == [[setting], [setting]]


def test_an_old_option_of_a_grid_reaches_its_options(call, monkeypatch):
    from fl_platform.grid import runner

    seen = []
    monkeypatch.setattr(runner, "dry", lambda grid, planned, home, options: seen.append(options))
    for old, new, _ in OLD_NAMES:
        for option in (old, new):
            with contextlib.suppress(AttributeError):  # the stub has no summary
                call("grid", "attack=none", "--dry-run", option)
    assert [(one.fresh, one.continue_anyway) for one in seen] == [
        (True, False), (True, False), (False, True), (False, True),
    ]  # fmt: skip


def test_the_old_verb_marks_killed_runs_too(call):
    code, out, err = call("runs", "reap")
    assert (code, out) == (0, "no run to mark\n")
    assert "runs reap is now runs mark-killed" in err
    assert call("runs", "mark-killed") == (0, "no run to mark\n", "")


def _commands(command, name="fl-platform"):
    yield name, command
    for word, each in getattr(command, "commands", {}).items():
        yield from _commands(each, f"{name} {word}")


COMMANDS = dict(_commands(typer.main.get_command(cli.app)))
SENTENCE = re.compile(r"[A-Z].*[^.]\.")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole_sentences_that_fit_80_columns(name, monkeypatch):
    """No text is cut, and each begins with a capital letter and ends with one full stop."""
    monkeypatch.setenv("COLUMNS", "80")
    command = COMMANDS[name]
    shown = CliRunner().invoke(cli.app, [*name.split()[1:], "--help"], terminal_width=80)
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= 80
    page = " ".join(shown.output.split())
    texts = [command.help, *(p.help for p in command.params if not getattr(p, "hidden", False))]
    texts += [sub.help for sub in getattr(command, "commands", {}).values() if not sub.hidden]
    for text in texts:
        assert SENTENCE.fullmatch(text), text
        assert " ".join(text.split()) in page
        assert "..." not in text

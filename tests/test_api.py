"""``import fl_platform as fl``: typed, lazy, and no obstacle to the modules of the same names."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from lightning.pytorch import Callback

import fl_platform as fl
from fl_platform.api import _text
from fl_platform.config.hydra_tree import parse_overrides

REPOSITORY = Path(__file__).resolve().parents[1]
QUIET = {"runtime.tracking": "journal", "runtime.progress": "none"}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    return tmp_path


def python(code, *arguments):
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, check=False, capture_output=True, text=True)


def test_a_run_its_frames_and_its_report(home):
    result = fl.run("task=digits", "attack=strike", rounds=2, home=home, **QUIET)
    assert (result.status, result.rounds) == ("FINISHED", 2)
    frame = fl.runs(home=home)
    assert list(frame["attack"]) == ["strike"]
    assert frame["accuracy_last"][0] == pytest.approx(result.accuracy_last)
    assert len(fl.runs("digits", home=home)) == 1
    for refuses in (fl.runs, fl.report, lambda name, home: fl.curves(experiment=name, home=home)):
        with pytest.raises(fl.ConfigError, match=r"got 'digts'; did you mean 'digits'\? There are"):
            refuses("digts", home=home)
    curves = fl.curves(home=home)
    assert list(curves["step"]) == [1, 2]
    with pytest.raises(ValueError, match=r"got 'test/acuracy'; did you mean 'test/accuracy'\?"):
        fl.curves("test/accuracy", "test/acuracy", home=home)
    folder = fl.report("digits", home=home, formats=["markdown"])
    assert list(folder.glob("tables/*.md"))


def test_curves_of_no_run_are_empty(home):
    assert fl.curves("test/acuracy", home=home).empty
    assert fl.runs("digits", home=home).empty


def test_callbacks_are_names_or_objects(home):
    typed = ("task=digits", "task.validation=0.2", "rounds=2")
    named = fl.run(*typed, callbacks="early_stop", home=home, **QUIET)
    assert named == fl.run(*typed, "callbacks=early_stop", home=home, **QUIET)
    with pytest.raises(fl.ConfigError, match="all names or all Lightning callbacks"):
        fl.run(*typed, callbacks=["early_stop", Callback()], home=home, **QUIET)


class Interrupt(Callback):
    """The signals that a notebook's interrupt button or a scheduler sends, after round 2."""

    def __init__(self, number):
        self.number = number

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 2:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(
    ("number", "ends"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_an_interruption_ends_the_caller_and_the_same_call_continues(home, number, ends):
    typed = ("task=digits", "rounds=4")
    with pytest.raises(ends):
        fl.run(*typed, home=home, callbacks=[Interrupt(number)], **QUIET)
    assert list(fl.runs(home=home)["status"]) == ["KILLED"]
    result = fl.run(*typed, home=home, **QUIET)
    assert (result.status, result.rounds) == ("FINISHED", 4)
    whole = fl.run(*typed, home=home, **{**QUIET, "runtime.fresh": True})
    assert whole.weights_sha256 == result.weights_sha256


THREADED = """
    import sys, threading
    import fl_platform as fl

    if __name__ == "__main__":
        threading.Thread(target=threading.Event().wait, daemon=True).start()
        outcome = fl.grid(
            "task=digits", attack=["none", "ipm"], rounds=1, jobs=2, report=False, home=sys.argv[1],
            **{"runtime.tracking": "journal"},
        )
        print(outcome)
"""


def test_a_grid_works_in_a_process_with_threads_such_as_a_kernel(home):
    script = home / "threaded.py"
    script.write_text(textwrap.dedent(THREADED))
    done = subprocess.run(
        [sys.executable, str(script), str(home)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.endswith("<GridResult of 'grid': 2 done>\n"), done.stdout + done.stderr


def test_a_grid_takes_lists_as_sweeps(home):
    outcome = fl.grid(
        "task=digits", attack=["ipm", "lie"], seed=range(2), rounds=1, jobs=1, report=False,
        home=home, **QUIET,
    )  # fmt: skip
    told = outcome.to_json()
    assert (told["cells"], told["done"]) == (4, 4)
    assert repr(outcome) == "<GridResult of 'grid': 4 done>"
    fl.run("task=digits", rounds=1, home=home, **QUIET)
    assert len(fl.runs(home=home)) == 5
    assert len(fl.runs(outcome, home=home)) == 4
    curves = fl.curves(experiment=outcome, home=home)
    assert sorted(curves.value_counts(["attack", "seed"]).index) == [
        ("ipm", 0), ("ipm", 1), ("lie", 0), ("lie", 1),
    ]  # fmt: skip


VALUES = [0, -3, 1.5, 1e-12, True, None, [1, 2], {"a": 1, "b": "x"}]
VALUES += ["plain", "a b", "true", "3", "", "range(0,3)", "a,b", "it's", "back\\slash", "\\", "\\'"]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_survives_the_grammar_of_overrides(value):
    (override,) = parse_overrides([f"key={_text(value, 'key')}"])
    assert not override.is_sweep_override()
    assert override.value() == value
    assert type(override.value()) is type(value)


def test_a_value_of_no_known_kind_is_refused():
    with pytest.raises(fl.ConfigError, match="seed: expected a number, text"):
        fl.compose(seed=object())


def test_the_face_is_what_it_says():
    assert set(fl.__all__) <= set(dir(fl))
    assert all(getattr(fl, name) is not None for name in fl.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fl.no_such_name


def test_packages_of_equal_names_stay_packages():
    import fl_platform.run as run_package
    from fl_platform.grid import run_grid
    from fl_platform.grid import runner as grid_runner
    from fl_platform.run import run
    from fl_platform.run import runner as run_runner

    assert isinstance(run_package, ModuleType)
    assert fl.run is run_package is sys.modules["fl_platform.run"]
    assert run_package.run is run is run_runner.run
    assert run_grid is grid_runner.run_grid
    assert callable(fl.run)
    assert callable(fl.grid)
    assert callable(fl.report)


def test_the_import_costs_nothing():
    heavy = "{'torch', 'lightning', 'mlflow', 'pandas', 'hydra', 'omegaconf'}"
    done = python(f"import sys, fl_platform; sys.exit(sorted({heavy} & set(sys.modules)) or 0)")
    assert done.returncode == 0, done.stderr


SNIPPET = """
import fl_platform as fl
from fl_platform.run import run

result = fl.run("task=digits", rounds=2)
accuracy: float | None = result.accuracy_tail
reveal_type(fl.run)
reveal_type(fl.grid("quick"))
reveal_type(fl.report("quick"))
reveal_type(fl.compose("task=digits"))
reveal_type(run)
reveal_type(fl.Result)
fl.run(3)
fl.report()
fl.run("seed=1").accuracy
"""
MISTAKES = [12, 13, 14]  # the lines that mypy has to refuse

CHECKED = f"""
[mypy]
mypy_path = {REPOSITORY}
follow_imports = skip
[mypy-fl_platform.*]
follow_imports = silent
"""


def test_a_type_checker_sees_the_face_and_its_mistakes(tmp_path):
    (tmp_path / "snippet.py").write_text(SNIPPET.lstrip())
    (tmp_path / "mypy.ini").write_text(CHECKED)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "snippet.py"],
        cwd=tmp_path, check=False, capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    seen = [line.partition('type is "')[2].rstrip('"') for line in lines if "type is" in line]
    assert len(seen) == 6, done.stdout + done.stderr
    assert "overrides: str" in seen[0]
    assert seen[0].endswith("Result")
    assert [kind.rpartition(".")[2] for kind in seen[1:4]] == ["GridResult", "Path", "Config"]
    assert "config: fl_platform.config.schema.Config" in seen[4]
    assert "Any" not in seen[5]
    refused = [int(line.split(":")[1]) for line in lines if ": error:" in line]
    assert refused == MISTAKES, done.stdout

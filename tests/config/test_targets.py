"""Nothing but a group's public rules can be named, and nothing runs while that is decided."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fl_platform.config import ConfigError, build_rule, compose
from fl_platform.config.targets import public_names

ROOT = Path(__file__).parents[2]

HOSTILE = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.Popen",
    "subprocess.run",
    "torch.load",
    "numpy.load",
    "pickle.loads",
    "mlflow.pyfunc.load_model",
    "urllib.request.urlopen",
    "pathlib.Path.write_text",
    "importlib.import_module",
    "hydra.utils.instantiate",
    "functools.partial",
    "fl_platform.attacks.torch.load",
    "fl_platform.attacks.strike.__globals__",
    "fl_platform.attacks.strike.__class__",
    "fl_platform.attacks.__loader__",
    "fl_platform.attacks.strike.torch.load",
    "fl_platform.attacks.ipm.Tensor",
    "fl_platform.attacks",
    "fl_platform.attacks.",
    "fl_platform.attacks..strike",
    "fl_platform.attacks.strike ",
    "fl_platform.attacks_evil.strike",
    "fl_platform.defenses.mean",
    "fl_platform.config.compose",
    "",
    "strike",
]


@pytest.mark.parametrize("target", HOSTILE)
def test_a_foreign_target_is_refused(target):
    with pytest.raises(ConfigError, match="_target_: expected one of the public names"):
        compose([f"attack._target_='{target}'"], ROOT)


@pytest.mark.parametrize("target", HOSTILE[:15])
@pytest.mark.parametrize("node", ["task.data", "task.model", "defense"])
def test_every_node_that_names_code_is_guarded(node, target):
    with pytest.raises(ConfigError, match=f"{node}._target_"):
        compose([f"{node}._target_={target}"], ROOT)


@pytest.mark.parametrize("target", [None, 3, ["os.system"], {"_target_": "os.system"}, "os.system"])
def test_a_node_written_by_hand_is_no_way_around(target):
    with pytest.raises(ConfigError, match="_target_"):
        build_rule({"_target_": target})


def test_a_public_name_of_its_group_is_accepted():
    config = compose(["attack._target_=fl_platform.attacks.ipm"], ROOT)
    assert build_rule(config.attack).func.__name__ == "ipm"


@pytest.mark.parametrize(
    ("node", "target"),
    [("task.data", "fl_platform.data.iid"), ("task.data", "fl_platform.data.Dataset")],
)
def test_a_neighbour_that_is_no_rule_is_refused(node, target):
    assert target.rpartition(".")[2] in public_names(ROOT / "fl_platform/data/__init__.py")
    with pytest.raises(ConfigError, match="is not valid as data: it does not return Dataset"):
        compose([f"{node}._target_={target}"], ROOT)


def write_plugin(home: Path, name: str, body: str) -> None:
    (home / f"{name}.py").write_text(body)


RULE = """
from pathlib import Path
from torch import Tensor, load
__all__ = ["loud", "load"]
Path(__file__).with_suffix(".imported").touch()
def loud(update: Tensor, *, gain: float = 2.0) -> Tensor:
    return gain * update
"""


def test_a_plugin_is_admitted_by_name_only(home):
    write_plugin(home, "fl_plugin_loud", RULE)
    overrides = ["attack._target_=fl_plugin_loud.loud", "+attack.gain=3"]
    with pytest.raises(ConfigError, match="public names"):
        compose(overrides, home)
    assert not (home / "fl_plugin_loud.imported").exists()
    config = compose(overrides, home, plugins=["fl_plugin_loud"])
    assert config.attack["gain"] == 3.0
    assert build_rule(config.attack)(2.0) == 6.0


def test_a_name_that_a_package_only_passes_on_is_refused(home):
    write_plugin(home, "fl_plugin_passing", RULE)
    overrides = ["attack._target_=fl_plugin_passing.load"]
    with pytest.raises(ConfigError, match=r"not defined in fl_plugin_passing but in torch"):
        compose(overrides, home, plugins=["fl_plugin_passing"])


@pytest.mark.parametrize("plugin", ["no_such_thing_here", "../x", "os.path", "", "a b"])
def test_a_plugin_that_is_not_there_is_refused(home, plugin):
    with pytest.raises(ConfigError, match="--plugin: expected an importable package"):
        compose([], home, plugins=[plugin])


def test_a_plugins_conf_joins_the_choices(home):
    package = home / "fl_plugin_pack"
    (package / "conf" / "attack").mkdir(parents=True)
    (package / "__init__.py").write_text(RULE)
    (package / "conf" / "attack" / "loud.yaml").write_text(
        "_target_: fl_plugin_pack.loud\ngain: 4\n"
    )
    config = compose(["attack=loud"], home, plugins=["fl_plugin_pack"])
    assert config.attack["gain"] == 4.0
    with pytest.raises(ConfigError, match="there is no 'loud'"):
        compose(["attack=loud"], home)


BOMB = "_target_: fl_platform.attacks.none\na: &a [x, x, x]\nb: [*a, *a]\n"
FILES = {
    "a tag": ("_target_: !!python/object/apply:os.system ['touch CANARY']\n", "tag"),
    "an environment value": (
        "_target_: fl_platform.attacks.none\nx: ${oc.env:SECRET}\n",
        "attack.x",
    ),
    "its target from there": ("_target_: ${oc.env:SECRET}\n", "attack._target_"),
    "a nested resolver": ("_target_: ${oc.decode:${oc.env:SECRET}}\n", "attack._target_"),
    "an alias": (BOMB, "line 2: expected values written out"),
    "a cycle": ("a: &a\n  b: *a\n", "line 1"),
    "a duplicate": ("_target_: fl_platform.attacks.none\n_target_: os.system\n", "duplicate"),
    "deep nesting": ("a: " + "[" * 50000, "nested too deeply"),
    "a large file": ("# " + "x" * 70000, "at most 65536 bytes"),
    "a NUL": ("\x00", "special characters"),
    "a list": ("- 1\n", "attack"),
    "nothing": ("", "attack._target_"),
    "an octal": ("_target_: fl_platform.attacks.none\nknowledge: 010\n", "leading zero"),
    "a partial": ("_target_: fl_platform.attacks.none\n_partial_: true\n", "no such parameter"),
    "arguments": ("_target_: fl_platform.attacks.none\n_args_: [1]\n", "no such parameter"),
}


@pytest.mark.parametrize("what", FILES)
def test_a_hostile_file_is_refused_in_one_line(home, monkeypatch, what):
    text, says = FILES[what]
    canary = home / "canary"
    monkeypatch.setenv("SECRET", "s3cret-value")
    (home / "conf/attack/evil.yaml").write_text(text.replace("CANARY", str(canary)))
    with pytest.raises(ConfigError, match=says) as refusal:
        compose(["attack=evil"], home)
    assert "s3cret-value" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not canary.exists()


@pytest.mark.parametrize(
    "override", ["attack=../../../secret", "experiment=../../../secret", "attack=evil"]
)
def test_no_file_outside_the_folder_is_read(home, override):
    (home.parent / "secret.yaml").write_text("seed: 7\n")
    (home / "conf/attack/evil.yaml").write_text("defaults:\n  - ../../../secret\n")
    with pytest.raises(ConfigError, match=r"/secret: expected a file inside conf/"):
        compose([override], home)


@pytest.mark.parametrize("override", ["attack=${oc.env:SECRET}", "task.name=${oc.env:SECRET}"])
def test_no_environment_value_is_read_for_an_override(monkeypatch, override):
    monkeypatch.setenv("SECRET", "s3cret-value")
    with pytest.raises(ConfigError) as refusal:
        compose([override], ROOT)
    assert "s3cret-value" not in str(refusal.value)


CHEAP = """
import sys
from pathlib import Path
from fl_platform.config import ConfigError, compose
for override in sys.argv[2:]:
    try:
        compose([override], Path(sys.argv[1]))
    except ConfigError:
        pass
    else:
        sys.exit("accepted " + override)
sys.exit(sorted({"torch", "lightning", "mlflow", "sklearn"} & set(sys.modules)) or 0)
"""


def test_cheap_questions_are_settled_before_anything_heavy_is_imported():
    overrides = [
        "attack._target_=os.system",
        "attack._target_=fl_platform.attacks.torch.load",
        "defense=krumm",
        "roundz=1",
        "attack.nuu=1",
        "rounds=-1",
        "byzantine.fraction=nan",
        "seed=1,2",
    ]
    command = [sys.executable, "-c", CHEAP, str(ROOT), *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

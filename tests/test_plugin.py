"""Rules of somebody else's package: built, installed and named by ``--plugin``."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fl_platform import cli

REPOSITORY = Path(__file__).resolve().parents[1]

PACKAGE = {
    "pyproject.toml": """
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "borrowed-rules"
        version = "1.0"
        [tool.hatch.build.targets.wheel]
        packages = ["borrowed_rules"]
    """,
    "borrowed_rules/__init__.py": '''
        """An attack and a defense that the platform has never heard of."""
        import math
        from typing import Annotated
        import torch
        from torch import Tensor, nn
        from fl_platform.data import Dataset, Partition
        from fl_platform.core import Aggregate, Updates
        from fl_platform.core.constraints import Above
        from fl_platform.defenses import tolerates

        __all__ = ["opposite", "first_row", "halves", "squares", "flat"]

        def opposite(
            honest: Updates, num_byzantine: int, *, scale: Annotated[float, Above(0)] = 1.0
        ) -> Tensor:
            """The honest mean turned round."""
            return (-scale * honest.mean()).expand(num_byzantine, -1)

        @tolerates(lambda n: n - 1)
        def first_row(updates: Updates, num_byzantine: int) -> Aggregate:
            """Whoever arrives first."""
            return Aggregate(updates.matrix[0].clone())

        def halves(
            labels: Tensor, num_clients: int, seed: int, *, first: Annotated[int, Above(0)] = 100
        ) -> Partition:
            """Client 0 has the first images, the others share the rest."""
            rest = torch.arange(first, len(labels)).tensor_split(num_clients - 1)
            return Partition((torch.arange(first), *rest))

        def flat(num_classes: int, image_shape: tuple[int, ...], *, bias: bool = True) -> nn.Module:
            """One linear layer."""
            size = math.prod(image_shape)
            return nn.Sequential(nn.Flatten(), nn.Linear(size, num_classes, bias=bias))

        def squares(*, size: Annotated[int, Above(0)] = 300) -> Dataset:
            """Images of one grey level, whose class is whether it is dark."""
            labels = torch.arange(size) % 2
            images = (labels * 200).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 4)
            pair = (images.contiguous(), labels)
            return Dataset("squares", *pair, *pair, 2, (0.5,), (0.5,))

        def hidden(updates: Updates, num_byzantine: int) -> Aggregate:
            """Not public."""
            return Aggregate(updates.mean())
    ''',
    "borrowed_rules/conf/attack/opposite.yaml": """
        # fl-platform run --plugin borrowed_rules attack=opposite
        _target_: borrowed_rules.opposite
        scale: 1.0
    """,
    "borrowed_rules/conf/defense/first_row.yaml": """
        # fl-platform run --plugin borrowed_rules defense=first_row
        _target_: borrowed_rules.first_row
        on_excess_f: clamp
        assumed_f: null
    """,
    "borrowed_rules/conf/partition/halves.yaml": """
        # fl-platform run --plugin borrowed_rules partition=halves
        _target_: borrowed_rules.halves
        first: 100
    """,
    "borrowed_rules/conf/model/flat.yaml": """
        # fl-platform run --plugin borrowed_rules model=flat
        _target_: borrowed_rules.flat
        bias: true
    """,
    "borrowed_rules/conf/task/squares.yaml": """
        # fl-platform run --plugin borrowed_rules task=squares
        name: squares
        data:
          _target_: borrowed_rules.squares
          size: 300
        model:
          _target_: fl_platform.models.logistic_regression
        partition: iid
        clients: 10
        rounds: 5
        local: {batch: 10, lr: 0.1}
    """,
    "borrowed_rules/conf/defense/hidden.yaml": """
        # fl-platform run --plugin borrowed_rules defense=hidden
        _target_: borrowed_rules.hidden
    """,
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A folder with the package installed by pip, as a person's environment would have it."""
    source = tmp_path_factory.mktemp("source")
    for name, text in PACKAGE.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.splitlines()[1:]
        indent = len(lines[0]) - len(lines[0].lstrip())
        path.write_text("\n".join(line[indent:] for line in lines) + "\n")
    target = tmp_path_factory.mktemp("environment")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    options = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([*pip, *options, str(source)], check=True)
    return target


@pytest.fixture
def call(environment, tmp_path, monkeypatch, capsys):
    (tmp_path / "conf").symlink_to(REPOSITORY / "conf")
    monkeypatch.syspath_prepend(str(environment))

    def run(*arguments):
        short = ["rounds=1", "runtime.tracking=journal", "runtime.progress=none"]
        command = ["fl-platform", "run", *arguments, *short, "--home", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def test_borrowed_rules_run_like_our_own_but_only_when_asked_for(call):
    rules = ["attack=opposite", "defense=first_row"]
    code, _, err = call(*rules)
    assert code == 2
    assert "first_row" in err
    code, out, _ = call(*rules, "--plugin", "borrowed_rules", "attack.scale=2")
    assert code == 0
    assert "opposite(scale=2) vs first_row, digits s0" in out


def test_a_borrowed_partition_network_and_data_set_need_no_fork(call):
    parts = ["partition=halves", "model=flat", "task=squares"]
    code, _, err = call(*parts)
    assert code == 2
    assert "there is no" in err
    borrowed = ["--plugin", "borrowed_rules"]
    code, out, err = call(*parts, "partition.first=50", "model.bias=false", *borrowed)
    assert (code, err) == (0, "")
    assert "none vs mean, squares s0" in out
    code, _, err = call(*parts, "partition.first=0", *borrowed)
    assert code == 2
    assert "partition.first: expected" in err


VERSION = """
from torch import Tensor

__all__ = ["shrink"]

def shrink(update: Tensor) -> Tensor:
    return {factor} * update
"""


def test_another_version_of_a_plugin_is_other_code(tmp_path):
    """A process sees one version of a module, so each command is a process of its own."""
    home = tmp_path
    (home / "conf").symlink_to(REPOSITORY / "conf")

    def command(*arguments, factor=0.5):
        (home / "changing_rules.py").write_text(VERSION.format(factor=factor))
        typed = [*arguments, "rounds=1", "runtime.tracking=journal", "runtime.progress=none"]
        done = subprocess.run(
            [sys.executable, "-m", "fl_platform.cli", "run", "--home", str(home), *typed],
            cwd=home, check=False, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stderr

    borrowed = ["--plugin", "changing_rules", "attack._target_=changing_rules.shrink"]
    command(*borrowed)
    assert not command(*borrowed)
    assert "other code (changing_rules) than the current one" in command(*borrowed, factor=0.25)
    # Who does not use it is not touched by it.
    command("--plugin", "changing_rules", "attack=ipm")
    assert not command("--plugin", "changing_rules", "attack=ipm", factor=0.125)
    assert not command("attack=ipm")


def test_a_process_that_is_no_fork_admits_the_plugins_again(tmp_path):
    home = tmp_path
    (home / "conf").symlink_to(REPOSITORY / "conf")
    (home / "changing_rules.py").write_text(VERSION.format(factor=0.5))
    code = """
        import pickle, sys
        from pathlib import Path
        from fl_platform.config import compose
        from fl_platform.grid.slurm_executor import ArrayTask
        home = Path(sys.argv[1])
        typed = ["attack._target_=changing_rules.shrink", "rounds=1"]
        asked = compose(typed, home, plugins=["changing_rules"])
        (home / "job.pkl").write_bytes(pickle.dumps(ArrayTask([asked], home, "")))
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(home)], check=True)
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))()[0][0])"
    path = str(home / "job.pkl")
    done = subprocess.run(
        [sys.executable, "-c", code, path], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "ended"


def test_their_signatures_are_checked_like_our_own(call):
    code, _, err = call("attack=opposite", "attack.scale=-1", "--plugin", "borrowed_rules")
    assert code == 2
    assert "scale" in err


def test_what_a_plugin_does_not_make_public_stays_out(call):
    code, _, err = call("defense=hidden", "--plugin", "borrowed_rules")
    assert code == 2
    assert "hidden" in err


def test_a_plugin_that_is_not_there_is_named(call):
    code, _, err = call("--plugin", "no_such_package")
    assert code == 2
    assert "no_such_package" in err

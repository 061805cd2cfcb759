"""Rules of somebody else's package: built, installed and named by ``--plugin``."""

import subprocess
import sys
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
        from typing import Annotated
        from torch import Tensor
        from fl_platform.core import Aggregate, Updates
        from fl_platform.core.parameters import Above
        from fl_platform.defenses import tolerates

        __all__ = ["opposite", "first_row"]

        def opposite(
            honest: Updates, num_byzantine: int, *, scale: Annotated[float, Above(0)] = 1.0
        ) -> Tensor:
            """The honest mean turned round."""
            return (-scale * honest.mean()).expand(num_byzantine, -1)

        @tolerates(lambda n: n - 1)
        def first_row(updates: Updates, num_byzantine: int) -> Aggregate:
            """Whoever arrives first."""
            return Aggregate(updates.matrix[0].clone())

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
    assert "digits opposite(scale=2) vs first_row s0" in out


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

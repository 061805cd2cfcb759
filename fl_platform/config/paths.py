"""Where a person's ``conf/`` and ``mlruns/`` lie."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fl_platform
from fl_platform.config.errors import ConfigError
from fl_platform.config.schema import Config

MAIN = Path("conf") / "config.yaml"


def find_home(option: str | Path | None, env: Mapping[str, str], cwd: Path) -> Path:
    """The folder of ``conf/`` and ``mlruns/``.

    ``option`` (``--home``), else ``FL_PLATFORM_HOME``, else the nearest parent of ``cwd`` with
    ``conf/config.yaml``, else ``cwd`` itself, which then uses the ``conf/`` that came installed.

    Raises:
        ConfigError: a folder was named that does not exist.
    """
    named = {"--home": option, "FL_PLATFORM_HOME": env.get("FL_PLATFORM_HOME")}
    for source, value in named.items():
        if value:
            home = (cwd / Path(value).expanduser()).resolve()
            if not home.is_dir():
                raise ConfigError(f"{source}: expected a folder, got {str(value)!r}.")
            return home
    start = cwd.resolve()
    for folder in (start, *start.parents):
        if (folder / MAIN).is_file():
            return folder
    return start


def conf_folder(home: Path) -> Path:
    """``home/conf``, or the copy in the installed package where ``home`` has none.

    Raises:
        ConfigError: neither has a ``config.yaml``.
    """
    package = Path(fl_platform.__file__).parent
    # An installed package holds its copy; in a checkout ``conf/`` lies beside the package.
    for folder in (home, package, package.parent):
        if (folder / MAIN).is_file():
            return (folder / "conf").resolve()
    raise ConfigError(f"--home: expected conf/config.yaml in {str(home)!r}, found none.")


def data_node(config: Config, home: Path) -> dict[str, Any]:
    """The task's data node with its ``root`` spelt out: a relative one lies in ``home``."""
    node = dict(config.task.data)
    return node | {"root": str(home / node["root"])} if "root" in node else node

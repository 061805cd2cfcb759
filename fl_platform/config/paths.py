"""The workspace (home): the folder of the user's ``conf/`` and ``mlruns/``."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import fl_platform
from fl_platform.config.errors import ConfigError
from fl_platform.config.schema import Config
from fl_platform.core.outside import OutsideError, read_file

MAIN = Path("conf") / "config.yaml"
OWN_GROUPS = ("attack", "defense", "mixing", "task", "preset", "experiment", "suite")


def find_home(option: str | Path | None, env: Mapping[str, str], cwd: Path) -> Path:
    """The folder of ``conf/`` and ``mlruns/``.

    ``option`` (``--home``), else ``FL_PLATFORM_HOME``, else the nearest of ``cwd`` and its parents
    with a ``conf/config.yaml`` of this platform, with own files such as ``conf/experiment/x.yaml``,
    or with runs below ``mlruns/``, else ``cwd``. A workspace without a complete ``conf/`` uses the
    installed one.

    Raises:
        ConfigError: a named folder that does not exist.
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
        runs = folder / "mlruns" / "runs"
        if _is_ours(folder / MAIN) or _has_own_files(folder) or runs.is_dir():
            return folder
    return start


def _has_own_files(folder: Path) -> bool:
    """True if ``conf/`` extends the installed one, and is neither foreign nor of a plug-in."""
    conf = folder / "conf"
    if not conf.is_dir() or any(conf.glob("*.yaml")) or (folder / "__init__.py").exists():
        return False
    return any(any((conf / group).glob("*.yaml")) for group in OWN_GROUPS)


def _is_ours(main: Path) -> bool:
    """True if a ``conf/config.yaml`` belongs to this platform: other projects use Hydra too."""
    try:
        text = read_file(main, "yaml", follow=True).decode("utf-8", "replace")
    except (OutsideError, OSError):
        return False
    chosen = re.findall(r"^\s*-\s*(?:override\s+)?(attack|defense)\s*:", text, re.MULTILINE)
    return {"attack", "defense"} <= set(chosen)


def conf_folder(home: Path) -> Path:
    """``home/conf``, or the copy in the installed package if ``home`` has none.

    Raises:
        ConfigError: neither has a ``config.yaml``.
    """
    package = Path(fl_platform.__file__).parent
    # An installed package contains its copy; in a checkout ``conf/`` is beside the package.
    for folder in (home, package, package.parent):
        if _is_ours(folder / MAIN):
            return (folder / "conf").resolve()
    raise ConfigError(f"--home: expected conf/config.yaml in {str(home)!r}, found none.")


def conf_folders(home: Path) -> list[Path]:
    """The folders searched for configuration files: those of ``home``, then a complete ``conf/``.

    A ``conf/`` with some files only, such as ``conf/experiment/mine.yaml``, extends the installed
    one; a ``conf/`` with a ``config.yaml`` of another project is ignored.
    """
    whole, own = conf_folder(home), (home / "conf").resolve()
    adds = own != whole and own.is_dir() and not (home / MAIN).exists()
    return [own, whole] if adds else [whole]


def tuning_files(home: Path) -> dict[str, Path]:
    """Study files by name: the installed ones, and those of ``home/tuning``, which go first."""
    package = Path(fl_platform.__file__).parent
    files: dict[str, Path] = {}
    for folder in (package.parent, package, home):  # a checkout has them beside the package
        found = sorted((folder / "tuning").glob("*.yaml"))
        files |= {path.stem: path.resolve() for path in found}
    return dict(sorted(files.items()))


def looked_in(folders: Sequence[Path], home: Path | None = None) -> str:
    """A sentence with the searched folders, and with a ``conf/`` of ``home`` that is left out."""
    foreign = home is not None and (home / MAIN).exists() and not _is_ours(home / MAIN)
    left_out = f" Not searched: {home}/conf, whose config.yaml is another project's."
    searched = f" Searched: {', '.join(map(str, folders))} (--home names another workspace)."
    return searched + (left_out if foreign else "")


def plugin_with(home: Path, group: str, name: str) -> str:
    """A hint at a package with the choice ``name``, where ``--plugin`` would find that package."""
    for place in dict.fromkeys([*(Path(entry) for entry in sys.path), home, Path.cwd()]):
        for found in sorted(place.glob(f"*/conf/{group}/{name}.yaml")):
            package = found.parents[len(Path(group, name).parts)]
            if (package / "__init__.py").is_file() and package.name != "fl_platform":
                own = package.name
                where = f"add --plugin {own}. In Python: plugins=['{own}']."
                return f" Package {own} contains it: {where}"
    return ""


def data_node(config: Config, home: Path) -> dict[str, Any]:
    """The task's data node with an absolute ``root``: a relative one is below ``home``."""
    node = dict(config.task.data)
    return node | {"root": str(home / node["root"])} if "root" in node else node


def refuse_missing_data(config: Config, home: Path) -> None:
    """Refuse a missing data file before any large import.

    Raises:
        ConfigError: a missing file; the message contains the searched path.
    """
    node = data_node(config, home)
    root, file = node.get("root"), node.get("file")
    if not isinstance(root, str) or not isinstance(file, str):
        return
    path, near = Path(root) / file, Path.cwd() / file
    if not path.exists():
        hint = f" Found {near}: use task.data.file={near}" if near.exists() else ""
        raise ConfigError(
            f"task.data.file: expected a file at {path.absolute()}, got none (a relative path is"
            f" below task.data.root, a relative root below the workspace {home}).{hint}"
        )

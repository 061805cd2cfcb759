"""Several configurations from one line, in Hydra's sweep grammar."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from fl_platform.config.errors import ConfigError
from fl_platform.config.hydra_internals import check_files, choice_parser
from fl_platform.config.hydra_tree import FAILURES, config_folders, parse_overrides


def expand(overrides: Sequence[str], home: Path, *, plugins: Sequence[str] = ()) -> list[list[str]]:
    """One list of overrides per combination; the last override varies fastest.

    ``seed=0,1,2``, ``attack.nu=range(0.25,1.01,0.25)``, ``defense=choice(mean,median)`` and
    ``defense=glob(*,exclude=mean)`` are sweeps; anything else is one value.

    Raises:
        ConfigError: as ``parse_overrides``, or a sweep without values.
    """
    parse_overrides(overrides)
    folders = config_folders(home, plugins)
    parser = choice_parser(folders, check_files(folders))
    ways = []
    for override in parser.parse_overrides(list(overrides)):
        text = str(override.input_line)
        if not override.is_sweep_override():
            ways.append([text])
            continue
        try:
            key = text.partition("=")[0]
            values = list(override.sweep_string_iterator())
        except FAILURES as error:
            raise ConfigError(f"{text}: {error}") from None
        if not values:
            raise ConfigError(
                f"{text}: expected at least one value, got a pattern that matches none."
            )
        ways.append([f"{key}={value}" for value in values])
    return [list(way) for way in product(*ways)]

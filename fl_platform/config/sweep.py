"""Several configurations from one line, in Hydra's sweep grammar."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from typing import Any

from fl_platform.config.errors import ConfigError
from fl_platform.config.hydra_internals import check_files, choice_parser
from fl_platform.config.hydra_tree import FAILURES, config_folders, parse_overrides

MOST = 20_000  # runs of one command: each takes some kilobytes while it is planned


def expand(overrides: Sequence[str], home: Path, *, plugins: Sequence[str] = ()) -> list[list[str]]:
    """One list of overrides per combination; the last override varies fastest.

    ``seed=0,1,2``, ``attack.nu=range(0.25,1.01,0.25)``, ``defense=choice(mean,median)`` and
    ``defense=glob(*,exclude=mean)`` are sweeps; anything else is one value.

    Raises:
        ConfigError: what ``parse_overrides`` refuses, or a sweep over nothing or over more than
            `MOST` values or combinations.
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
            values = list(islice(_values(override), MOST + 1))
        except FAILURES as error:
            raise ConfigError(f"{text}: {error}") from None
        if not values:
            raise ConfigError(
                f"{text}: expected at least one value, got a pattern that matches none."
            )
        ways.append([f"{key}={value}" for value in values])
        if math.prod(map(len, ways)) > MOST:
            raise ConfigError(
                f"{text}: expected at most {MOST} combinations in one command, got more. Split it:"
                " grids of the same experiment share one report."
            )
    return [list(way) for way in product(*ways)]


def _values(override: Any) -> Iterator[str]:
    """The values of a sweep, one after another; a shuffled range would be made as a whole."""
    limits = override.value()
    if hasattr(limits, "step") and abs((limits.stop - limits.start) / (limits.step or 1)) > MOST:
        limits.shuffle = False
    values: Iterator[str] = override.sweep_string_iterator()
    return values

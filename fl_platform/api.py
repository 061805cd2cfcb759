"""The face for scripts and notebooks: a run, a grid, recorded runs as frames, a report.

Overrides are those of the command line. A setting may also be a keyword, whose value is taken as
it is: ``fl.run("task=digits", "attack=strike", rounds=10)``; a dotted key goes through a mapping:
``fl.run(**{"attack.nu": 0.5})``.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_platform.config import Config, ConfigError, config_hash, find_home
from fl_platform.config import compose as compose_config
from fl_platform.config.errors import nearest

if TYPE_CHECKING:
    import pandas as pd
    from lightning.pytorch import Callback

    from fl_platform.grid.runner import GridResult
    from fl_platform.run.result import Result
    from fl_platform.tracking.frames import Source

Home = Path | str | None
FORMATS = ("html", "markdown", "latex", "csv")
_ABOUT = (
    *("run_id", "experiment", "status", "task", "attack", "defense", "mixing", "seed"),
    *("attack_label", "defense_label"),
)


def compose(
    *overrides: str, home: Home = None, plugins: Sequence[str] = (), **settings: Any
) -> Config:
    """The checked configuration of one run.

    Args:
        overrides: as on the command line: ``"attack=strike"``, ``"attack.nu=0.5"``.
        home: folder of ``conf/`` and ``mlruns/``. Default: ``FL_PLATFORM_HOME``, else the nearest
            parent of the working directory with own ``conf/`` files or with runs, else that
            directory.
        plugins: packages whose rules and ``conf/`` may be used.
        settings: further overrides by keyword: numbers, text, ``None``, lists, mappings.

    Raises:
        ConfigError: a configuration that cannot be run; one line says why.
    """
    typed = [*overrides, *(f"{key}={_text(value, key)}" for key, value in settings.items())]
    return compose_config(typed, _home(home), plugins=plugins)


def run(
    *overrides: str,
    home: Home = None,
    plugins: Sequence[str] = (),
    callbacks: str | Sequence[str] | Sequence[Callback] = (),
    **settings: Any,
) -> Result:
    """Run one configuration, or continue it; a finished run returns its stored result.

    Ctrl-C, or a notebook's interrupt button, ends the run after its current round with a checkpoint
    and raises KeyboardInterrupt, so that a loop or the following cells end too.

    Args:
        overrides: as for `compose`.
        home: as for `compose`.
        plugins: as for `compose`.
        callbacks: Lightning callbacks of this call, which are no part of the run's identity; or
            names, such as ``"early_stop"``, which are, as for ``callbacks=early_stop``.
        settings: as for `compose`.

    Raises:
        ConfigError: a configuration that cannot be run; one line says why.
        KeyboardInterrupt: SIGINT; SystemExit: SIGTERM or SIGHUP. The same call continues the run.
    """
    own: list[Any] = [callbacks] if isinstance(callbacks, str) else list(callbacks)
    if names := [name for name in own if isinstance(name, str)]:
        if len(names) < len(own):
            raise ConfigError("callbacks: expected all names or all Lightning callbacks, got both.")
        settings["callbacks"], own = callbacks, []
    config, place = compose(*overrides, home=home, plugins=plugins, **settings), _home(home)
    from fl_platform.core.process import Stopper
    from fl_platform.run.early import refuse_early
    from fl_platform.tracking.run_folder import run_folder

    if not run_folder(place, config_hash(config)).result_file.exists():
        refuse_early(config, place)
    from fl_platform.run.runner import run as run_config

    stopper = Stopper()
    result = run_config(config, place, callbacks=own, stopper=stopper)
    _raise_stop(stopper.signal, f"{result.status.lower()} after round {result.rounds}")
    return result


def grid(
    *arguments: str,
    home: Home = None,
    plugins: Sequence[str] = (),
    jobs: int | None = None,
    report: bool = True,
    **settings: Any,
) -> GridResult:
    """Run every combination of attacks, defenses and seeds; the same call continues it.

    Args:
        arguments: the name of an experiment, if any, then overrides and sweeps as on the command
            line: ``"table1"``, ``"seed=range(0,5)"``.
        home: as for `compose`.
        plugins: as for `compose`.
        jobs: worker processes. Default: one per GPU, or per physical core where there is none.
        report: whether the report is written.
        settings: as for `compose`; a list, tuple or range is a sweep:
            ``attack=["lie", "strike"], seed=range(5)``.

    Raises:
        ConfigError: a combination that cannot be run, named.
        KeyboardInterrupt: SIGINT; SystemExit: SIGTERM or SIGHUP. The same call continues the grid.
    """
    from fl_platform.grid.plan import plan_grid, refuse_runs

    typed = [*arguments]
    for key, value in settings.items():
        several = value if isinstance(value, list | tuple | range) else [value]
        typed.append(f"{key}={','.join(_text(item, key) for item in several)}")
    place = _home(home)
    asked, planned = plan_grid(typed, place, plugins)
    refuse_runs(planned, place)
    from fl_platform.grid.runner import Options, run_grid

    outcome = run_grid(asked, planned, place, Options(jobs=jobs, report=report), typed)
    done = len(outcome.table.of_state("done"))
    _raise_stop(outcome.signal, f"{done} of {len(planned)} runs finished")
    return outcome


def runs(
    experiment: str | GridResult | None = None, *, home: Home = None, source: Source = "auto"
) -> pd.DataFrame:
    """Recorded runs, one row per run; accuracies in percent.

    Args:
        experiment: the name under which runs are filed, its own and those that its grids share
            with others, or the result of `grid`: its runs alone. Default: all.
        home: as for `compose`.
        source: ``folders``, ``mlflow`` or ``auto``, as for `fl_platform.tracking.frames.runs`.

    Raises:
        ConfigError: the store has runs and none of that experiment; the message lists those that
            have runs.
    """
    from fl_platform.tracking import frames as table

    frame = table.runs(_home(home), source)
    frame = frame[frame["attack"] != ""]  # a parent of a grid or study has no attack
    if isinstance(experiment, str):
        from fl_platform.grid.filed import runs_of

        frame = frame if frame.empty else runs_of(_home(home), frame, experiment)
    elif experiment is not None:
        frame = frame[frame["config_hash"].isin(experiment.hashes)]
    return frame.reset_index(drop=True)


def curves(
    *keys: str,
    experiment: str | GridResult | None = None,
    home: Home = None,
    source: Source = "auto",
) -> pd.DataFrame:
    """Metrics over rounds, one row per run, key and round, with the run's attack, defense and seed.

    Args:
        keys: names of metrics. Default: ``test/accuracy``, from 0 to 1.
        experiment: as for `runs`.
        home: as for `compose`.
        source: as for `runs`.

    Raises:
        ConfigError: as for `runs`.
        ValueError: a key that no run has logged.
    """
    from fl_platform.tracking import frames as table

    values = table.curves(_home(home), keys or ("test/accuracy",), source)
    absent = sorted(set(keys) - set(values["key"]))
    if absent and (known := table.metric_names(_home(home), source)):
        close = nearest(absent[0], known)
        raise ValueError(f"Expected a metric that a run has logged, got {absent[0]!r}{close}")
    about = runs(experiment, home=home, source=source)[list(_ABOUT)]
    return about.merge(values, on="run_id")


def report(
    experiment: str,
    *,
    home: Home = None,
    out: Path | str | None = None,
    formats: Sequence[str] = FORMATS,
    source: Source = "auto",
) -> Path:
    """Write the tables, figures and page of an experiment; the folder in which they are.

    Args:
        experiment: the name under which its runs are filed.
        home: as for `compose`.
        out: the folder. Default: ``mlruns/reports/EXPERIMENT``.
        formats: any of html, markdown, latex and csv.
        source: as for `runs`.

    Raises:
        ConfigError: there is no run of that experiment; the message lists those that have runs.
    """
    from fl_platform.grid import results as outcome

    place = _home(home)
    frame = outcome.frame_of(place, experiment, source)
    target = None if out is None else Path(out)
    return outcome.write(place, experiment, frame, target, formats, source=source)[0]


def _raise_stop(number: int | None, state: str) -> None:
    """End the caller too if a signal asked for a stop: a script's loop, a notebook's next cells."""
    if not number:
        return
    if number == signal.SIGINT:
        raise KeyboardInterrupt(f"{state}; the same call continues")
    sys.exit(128 + number)


def _home(home: Home) -> Path:
    return find_home(home, os.environ, Path.cwd())


def _text(value: Any, key: str) -> str:
    """A Python value in the grammar of overrides; text that could be read otherwise in quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        return repr(float(value))
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w./-]*", value, re.ASCII)
        special = value.lower() in ("null", "true", "false", "nan", "inf")
        # In Hydra's quotes a backslash is itself unless it stands before a quote or the end.
        escaped = re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), value)
        return value if plain and not special else f"'{escaped}'"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_text(it, key)}" for name, it in value.items()) + "}"
    if isinstance(value, list | tuple | range):
        return "[" + ",".join(_text(item, key) for item in value) + "]"
    raise ConfigError(
        f"{key}: expected a number, text, None, a list or a mapping, got {type(value).__name__}."
    )

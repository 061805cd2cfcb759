"""A reproduction from start to end: suite, runs, comparison, report, log entry, exit code."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_platform.config import ConfigError
from fl_platform.core.terminal import wide_output
from fl_platform.core.text import printable
from fl_platform.data.locate import DataError
from fl_platform.grid.plan import PlannedRun
from fl_platform.repro import compare as drift
from fl_platform.repro.conditions import (
    CouldNotRun,
    Stored,
    differing,
    diverged_before,
    named,
    refuse_other_runs,
    refuse_unnamed_code,
    renewed,
    shared_conditions,
    some,
    stored,
)
from fl_platform.repro.log import Clock, SuiteLog, stamp
from fl_platform.repro.reference import (
    DIGITS,
    Origin,
    Reference,
    ReferenceRun,
    read_reference,
    write_reference,
)
from fl_platform.repro.report import ComparisonResult, sentences, table, write_page
from fl_platform.repro.spec import Suite, load_suite
from fl_platform.run import provenance
from fl_platform.tracking.atomic import write_atomic
from fl_platform.tracking.lock import RunOwned

if TYPE_CHECKING:
    from fl_platform.grid.spec import Grid

AGREES, DRIFTED, COULD_NOT_RUN = 0, 1, 2


class Interrupted(Exception):  # noqa: N818 - requested by the user, not an error
    """A signal ended the runs; the same command continues them."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


@dataclass
class SuiteSession:
    """One start of a suite, under its lock.

    Attributes:
        facts: Values of the log entry besides the verdict.
    """

    suite: Suite
    home: Path
    log: SuiteLog
    clock: Clock
    jobs: int | None = None
    tracking: str = "journal"
    facts: dict[str, Any] = field(default_factory=dict)


def run_suite(
    name: str,
    home: Path,
    *,
    jobs: int | None = None,
    clock: Clock = Clock(),  # noqa: B008 - two functions, nothing that could change
) -> int:
    """Repeat a suite and compare it with its reference; 0: agrees, 1: drifted.

    Finished runs of the current conditions are not repeated. Runs of other code or another machine
    are repeated; the old ones are kept.

    Args:
        name: Name of the suite.
        home: The workspace.
        jobs: Number of processes. Default: one per GPU or physical core.
        clock: Clocks of the log entry.

    Returns:
        Exit code; 128 plus the number of a signal that stopped it. The same call then continues.

    Raises:
        ConfigError: The suite file is missing or invalid.
        CouldNotRun: No comparison is possible; the log has the reason.
    """
    try:
        suite = load_suite(name, home)
        session = SuiteSession(suite, home, SuiteLog(home, name), clock, jobs)
        try:
            with session.log.lock:
                return _recorded(session)
        except RunOwned as owned:
            owner = f"process {owned.owner.get('pid', '?')} on {owned.owner.get('host', '?')}"
            why = f"{owner} is running {name}; this start is skipped"
            session.log.note("skipped", clock.wall(), why=why)
            raise CouldNotRun(why) from None
    except (CouldNotRun, ConfigError, OSError):
        raise
    except Exception as error:  # before or after the log entry; exit code 1 is that of a drift
        traceback.print_exc()
        raise CouldNotRun(f"{name} could not run: {type(error).__name__}: {error}") from error


def accept(
    name: str,
    home: Path,
    why: str,
    *,
    diverged: bool = False,
    clock: Clock = Clock(),  # noqa: B008
) -> Path:
    """Make the finished runs of a suite its reference; returns the file, to be committed.

    Args:
        name: Name of the suite.
        home: The workspace.
        why: Reason, stored in the file.
        diverged: Accept diverged runs that had not diverged in the previous reference.
        clock: Clocks of the time of acceptance.

    Raises:
        ConfigError: The reason is empty, or the suite file is missing or invalid.
        CouldNotRun: Runs are missing, diverged, or come from other code, uncommitted changes or
            different conditions.
    """
    suite = load_suite(name, home)
    if not why.strip():
        raise ConfigError("--why: expected a reason for the new reference, got nothing.")
    if suite.folder.parent != (home / "conf").resolve():
        raise ConfigError(
            f"repro accept: expected the suite in {home}/conf/suite/, got the package's."
        )
    refuse_unnamed_code(None)
    from fl_platform.grid.plan import plan_grid

    with SuiteLog(home, name).lock:
        _, cells = plan_grid(suite.grid(0, suite.reference_seeds), home)
        found = _accepted_runs(suite, home, cells)
        runs = [run.reference_run(label, cell.config.seed) for label, cell, run in found]
        if not diverged:
            _refuse_diverged(runs, read_reference(suite.reference_file))
        origin = Origin(
            accepted=stamp(clock.wall()),
            why=why.strip(),
            commit=" ".join(sorted({run.commit for _, _, run in found})),
            conditions=shared_conditions([run for _, _, run in found]),
        )
        by_hash = {run.config_hash: run for run in runs}
        write_reference(suite.reference_file, Reference(origin, by_hash))
    num_cells = len({run.cell for run in runs})
    print(f"{num_cells} cells, {suite.reference_seeds} seeds per cell: {suite.reference_file}")
    if suite.reference_seeds < drift.FEWEST:
        print(
            f"With fewer than {drift.FEWEST} seeds, results can only be compared on the same"
            " machine and code."
        )
    print("Commit this file: reproduction runs need a clean working tree.")
    return suite.reference_file


def _accepted_runs(
    suite: Suite, home: Path, cells: Sequence[PlannedRun]
) -> list[tuple[str, PlannedRun, Stored]]:
    """Stored runs of all cells; refuses missing runs and runs of other or uncommitted code."""
    runs = [(label, cell, stored(home, cell)) for label, cell in named(cells)]
    found = [(label, cell, run) for label, cell, run in runs if run is not None]
    if len(found) < len(runs):
        missing = [cell.name for _, cell, run in runs if run is None]
        typed = " ".join(f"'{word}'" for word in suite.grid(0, suite.reference_seeds))
        raise CouldNotRun(f"{some(missing, len(runs))} are not finished: fl-platform grid {typed}")
    conditions = shared_conditions([run for _, _, run in found])
    if conditions["code_fingerprint"] != provenance.code_fingerprint():
        raise CouldNotRun("the runs come from other code than the current: repeat them first.")
    dirty = [cell.name for _, cell, run in found if run.dirty]
    if dirty:
        raise CouldNotRun(f"{some(dirty, len(found))} come from code with uncommitted changes.")
    return found


def _refuse_diverged(runs: Sequence[ReferenceRun], before: Reference | None) -> None:
    """Refuse diverged runs that had not diverged in the previous reference."""
    fallen = [
        f"{run.cell} s{run.seed}"
        for run in runs
        if run.accuracy is None and not diverged_before(before, run.config_hash)
    ]
    if fallen:
        raise CouldNotRun(
            f"{some(fallen, len(runs))} diverged; accept them as the result with --diverged."
        )


def history(name: str, home: Path) -> Path | None:
    """Print the past starts of a suite and draw their differences; returns the figure's path."""
    from fl_platform.report.figures.style import save
    from fl_platform.repro.timeline import history_figure, show_history

    load_suite(name, home)
    log = SuiteLog(home, name)
    entries = list(log.entries())
    if not entries:
        print(f"No run of {name} yet. Start it: fl-platform repro run {name}")
        return None
    show_history(entries, wide_output())
    figure = history_figure(entries)
    return None if figure is None else save(figure, log.folder / "history", ("png",))[0]


def _recorded(session: SuiteSession) -> int:
    """Run, compare, and write the outcome to the log in every case."""
    start = session.clock.monotonic()
    commit, _ = provenance.git_state()
    code = provenance.code_fingerprint()
    session.facts = {"commit": commit, "code_fingerprint": code}

    def note(verdict: str, code: int, why: str = "") -> None:
        seconds = session.clock.monotonic() - start
        session.log.note(
            "run", session.clock.wall(), verdict=verdict, code=code, why=why, seconds=seconds,
            **session.facts,
        )  # fmt: skip

    try:
        result = _compare(session)
        _report(session, result, session.clock.monotonic() - start)
    except Interrupted as stop:
        note("stopped", 128 + stop.signal, f"by signal {stop.signal}")
        return 128 + stop.signal
    except (KeyboardInterrupt, SystemExit) as stop:  # a signal between two grids
        stopped = stop.code if isinstance(stop, SystemExit) else 130
        note("stopped", stopped if isinstance(stopped, int) else 1, "by a signal")
        raise
    except Exception as error:
        why = printable(" ".join(str(error).split()) or type(error).__name__)
        if not isinstance(error, CouldNotRun | ConfigError | DataError | OSError):
            file = session.log.folder / "failure.txt"
            write_atomic(file, traceback.format_exc().encode(errors="backslashreplace"))
            why = f"{type(error).__name__}: {why} ({file})"
        note("could not run", COULD_NOT_RUN, why)
        raise CouldNotRun(f"{session.suite.name} could not run: {why}") from error
    verdict, code_out = ("drifted", DRIFTED) if result.drifted else ("agrees", AGREES)
    note(verdict, code_out)
    return code_out


def _compare(session: SuiteSession) -> ComparisonResult:
    """Run unfinished runs and compare all cells with the reference."""
    suite, home = session.suite, session.home
    reference = read_reference(suite.reference_file)
    refuse_unnamed_code(reference)
    from fl_platform.grid.plan import plan_grid

    grid, every = plan_grid(suite.grid(0, suite.reference_seeds), home)
    if reference is None:
        _work(session, grid, every)
        raise CouldNotRun(
            f"{len(every)} runs are finished, but no reference exists. Create it:"
            f" fl-platform repro accept {suite.name} --why ..."
        )
    refuse_other_runs(reference, every)
    cells = named([cell for cell in every if cell.config.seed < suite.seeds])
    _work(session, grid, [cell for _, cell in cells])
    pairs, changed = _paired(reference, cells, home)
    flagged = [] if not changed else drift.flag(pairs, suite.bands)
    if flagged:
        rest = [(label, cell) for label, cell in named(every) if label in flagged]
        if len(rest) > sum(len(pairs[label]) for label in flagged):
            print(f"{len(flagged)} cells exceed the margin: running them with all reference seeds")
            _work(session, grid, [cell for _, cell in rest])
            more, changed = _paired(reference, rest, home)
            pairs |= more
        few = [label for label in flagged if len(pairs[label]) < drift.FEWEST]
        if few:
            raise CouldNotRun(
                f"{some(few, len(pairs))} differ by more than {suite.bands.margin:g} points under"
                f" other conditions ({', '.join(changed)}), and a reference of fewer than"
                f" {drift.FEWEST} seeds cannot separate chance from drift."
            )
    exact = not changed
    found = drift.compare(pairs, suite.bands, exact=exact)
    return ComparisonResult(suite, reference, found, exact, changed)


def _work(session: SuiteSession, grid: Grid, cells: Sequence[PlannedRun]) -> None:
    """Run every cell that is unfinished under the current conditions."""
    from fl_platform.grid.plan import refuse_runs

    refuse_runs(cells, session.home)
    from fl_platform.grid.runner import Options, run_grid

    options = Options(jobs=session.jobs, report=False)
    outcome = run_grid(grid, renewed(cells, session.home), session.home, options, ["repro"])
    session.tracking = cells[0].config.runtime.tracking
    if outcome.signal:
        raise Interrupted(outcome.signal)
    failed = outcome.table.of_state("failed")
    if failed:
        reasons = [f"{entry.planned.name} ({entry.reason})" for entry in failed]
        raise CouldNotRun(f"{some(reasons, len(cells))} failed")


def _paired(
    reference: Reference, cells: Sequence[tuple[str, PlannedRun]], home: Path
) -> tuple[dict[str, list[drift.Pair]], dict[str, tuple[Any, Any]]]:
    """Pairs of reference and current run per cell, and the conditions that differ."""
    pairs: dict[str, list[drift.Pair]] = {}
    changed: dict[str, tuple[Any, Any]] = {}
    for label, cell in cells:
        run = stored(home, cell)
        if run is None:
            raise CouldNotRun(f"the result of {cell.name} disappeared during the comparison.")
        changed |= differing(reference.origin.conditions, run.conditions)
        then, now = reference.outcomes[cell.config_hash[:DIGITS]], run.reference_run(label, 0)
        same = then.weights == now.weights
        pair = drift.Pair(cell.config.seed, then.accuracy, now.accuracy, same)
        pairs.setdefault(label, []).append(pair)
    return pairs, changed


def _report(session: SuiteSession, result: ComparisonResult, seconds: float) -> None:
    """Print the result, write the page, record it in MLflow, and collect the log's facts."""
    from fl_platform.grid.results import show
    from fl_platform.report.html import Picture
    from fl_platform.repro.publish import publish
    from fl_platform.repro.timeline import history_figure

    suite, found, at = result.suite, result.comparisons, session.clock.wall()
    runs, equal = sum(c.n for c in found), sum(c.equal for c in found)
    figure = history_figure(list(session.log.entries()))
    caption = "Differences to the reference of the time, one line per cell."
    picture = None if figure is None else Picture("history", figure, caption)
    folder = session.log.folder / stamp(at).replace(":", "")
    paths = write_page(result, folder, picture)
    show([table(result)], wide_output())
    for sentence in sentences(result):
        print(printable(sentence))
    print(f"report: {paths[0]}")
    verdict = "drifted" if result.drifted else "agrees"
    largest = max((c.mean for c in found), key=abs, default=0.0)
    session.facts |= {
        "cells": len(found),
        "runs": runs,
        "equal": equal,
        "exact": result.exact,
        "drifted": [c.cell for c in result.drifted],
        "differences": {c.cell: c.mean for c in found if c.mean},
        "report": str(paths[0].relative_to(session.log.folder)),
        "run_id": publish(
            session.home,
            name=f"repro {suite.name}: {verdict}",
            experiment=suite.experiment,
            at=at,
            tags={
                "suite": suite.name,
                "verdict": verdict,
                "drifted": ", ".join(c.cell for c in result.drifted),
                "commit": session.facts["commit"],
                "code_fingerprint": session.facts["code_fingerprint"],
                "reference": result.reference.origin.accepted,
                "dirty": "false",
            },
            params=suite.params(),
            values={
                "repro/cells": len(found),
                "repro/drifted": len(result.drifted),
                "repro/equal": equal / runs,
                "repro/largest": largest,
                "repro/seconds": seconds,
            },
            paths=paths,
            tracking=session.tracking,
        ),
    }

"""The story of a reproduction: suite -> slot -> runs -> comparison -> report, exit code, diary."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fl_platform.config import ConfigError
from fl_platform.console import standard_output
from fl_platform.core.text import printable
from fl_platform.grid.plan import PlannedRun
from fl_platform.repro import compare as drift
from fl_platform.repro.conditions import (
    CouldNotRun,
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
from fl_platform.repro.log import Clock, Diary, stamp
from fl_platform.repro.reference import (
    DIGITS,
    Origin,
    Reference,
    read_reference,
    write_reference,
)
from fl_platform.repro.report import Judged, sentences, table, write_page
from fl_platform.repro.spec import Suite, load_suite
from fl_platform.run import provenance
from fl_platform.tracking.lock import RunOwned

if TYPE_CHECKING:
    from fl_platform.grid.spec import Grid

AGREES, DRIFTED, COULD_NOT_RUN = 0, 1, 2


class Stopped(Exception):  # noqa: N818 - no error: asked for
    """A signal ended the runs; the same command goes on."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


@dataclass
class Session:
    """One start of a suite, under its lock.

    Attributes:
        facts: what the diary says of it beside the verdict.
    """

    suite: Suite
    home: Path
    diary: Diary
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

    What is done under today's conditions is not run again; what other code or another machine
    made is run anew beside it.

    Args:
        jobs: number of processes. Default: one per GPU or physical core.

    Returns:
        128 and the signal's number where one stopped it; the same call then goes on.

    Raises:
        ConfigError: the suite's file cannot be used.
        CouldNotRun: there was nothing to compare; the diary has the reason.
    """
    suite = load_suite(name, home)
    session = Session(suite, home, Diary(home, name), clock, jobs)
    try:
        with session.diary.lock:
            return _recorded(session)
    except RunOwned as owned:
        who = f"process {owned.owner.get('pid', '?')} on {owned.owner.get('host', '?')}"
        why = f"{who} is at work on {name}; this start is skipped"
        session.diary.note("skipped", clock.wall(), why=why)
        raise CouldNotRun(why) from None


def accept(
    name: str,
    home: Path,
    why: str,
    *,
    diverged: bool = False,
    clock: Clock = Clock(),  # noqa: B008
) -> Path:
    """Make the finished runs of a suite its reference; the file, which is then to be committed.

    Args:
        why: in a person's words; stays in the file.
        diverged: take runs that diverged, although the reference before did not have them so.

    Raises:
        ConfigError: no reason was given, or the files do not serve.
        CouldNotRun: runs are missing, of other code, of changed trees, of mixed conditions, or
            diverged.
    """
    suite = load_suite(name, home)
    if not why.strip():
        raise ConfigError("--why: expected a reason that others can check, got nothing.")
    if suite.folder.parent != (home / "conf").resolve():
        raise ConfigError(f"repro accept: expected conf/suite/ in {home}, found that of a wheel.")
    refuse_unnamed_code(None)
    from fl_platform.grid.runner import plan_grid  # imports torch, for which no refusal need wait

    with Diary(home, name).lock:
        _, cells = plan_grid(suite.grid(0, suite.reference_seeds), home)
        runs = [(label, cell, stored(home, cell)) for label, cell in named(cells)]
        found = [(label, cell, run) for label, cell, run in runs if run is not None]
        if len(found) < len(runs):
            missing = [cell.name for _, cell, run in runs if run is None]
            typed = " ".join(f"'{word}'" for word in suite.grid(0, suite.reference_seeds))
            raise CouldNotRun(
                f"{some(missing, len(runs))} are not finished: fl-platform grid {typed}"
            )
        conditions = shared_conditions([run for _, _, run in found])
        if conditions["code_fingerprint"] != provenance.code_fingerprint():
            raise CouldNotRun("the runs are of other code than today's: run them anew first.")
        dirty = [cell.name for _, cell, run in found if run.dirty]
        if dirty:
            raise CouldNotRun(f"{some(dirty, len(found))} come from a tree with changes.")
        before = read_reference(suite.reference_file)
        outcomes = [run.outcome(label, cell.config.seed) for label, cell, run in found]
        fallen = [
            f"{o.cell} s{o.seed}"
            for o in outcomes
            if o.accuracy is None and not diverged and not diverged_before(before, o.config_hash)
        ]
        if fallen:
            raise CouldNotRun(
                f"{some(fallen, len(outcomes))} diverged; --diverged takes that as the result."
            )
        commits = sorted({run.commit for _, _, run in found})
        origin = Origin(
            accepted=stamp(clock.wall()), why=why.strip(), commit=" ".join(commits),
            conditions=conditions,
        )  # fmt: skip
        by_hash = {outcome.config_hash: outcome for outcome in outcomes}
        write_reference(suite.reference_file, Reference(origin, by_hash))
    cells_found = len({outcome.cell for outcome in outcomes})
    print(f"{cells_found} cells, {suite.reference_seeds} seeds each: {suite.reference_file}")
    if suite.reference_seeds < drift.FEWEST:
        print(f"fewer than {drift.FEWEST} seeds: under other conditions only bits can be compared")
    print("commit it: a tree with changes is not reproduced")
    return suite.reference_file


def history(name: str, home: Path) -> Path | None:
    """Print every past start of a suite and draw them; the figure, if there is one."""
    from fl_platform.report.figures.style import save
    from fl_platform.repro.timeline import history_figure, show_history

    load_suite(name, home)
    diary = Diary(home, name)
    entries = list(diary.entries())
    if not entries:
        print(f"no run of {name} yet: fl-platform repro run {name}")
        return None
    show_history(entries, standard_output())
    figure = history_figure(entries)
    return None if figure is None else save(figure, diary.folder / "history", ("png",))[0]


def _recorded(session: Session) -> int:
    """Run and compare; whatever comes of it, the diary says so."""
    began = session.clock.monotonic()
    commit, _ = provenance.git_state()
    code = provenance.code_fingerprint()
    session.facts = {"commit": commit, "code_fingerprint": code}

    def note(verdict: str, code: int, why: str = "") -> None:
        seconds = session.clock.monotonic() - began
        session.diary.note(
            "run", session.clock.wall(), verdict=verdict, code=code, why=why, seconds=seconds,
            **session.facts,
        )  # fmt: skip

    try:
        judged = _judge(session)
        _tell(session, judged, session.clock.monotonic() - began)
    except Stopped as stopped:
        note("stopped", 128 + stopped.signal, f"by signal {stopped.signal}")
        return 128 + stopped.signal
    except Exception as error:
        why = printable(" ".join(str(error).split()) or type(error).__name__)
        if not isinstance(error, CouldNotRun | ConfigError | OSError):
            file = session.diary.folder / "failure.txt"
            file.write_text(traceback.format_exc(), encoding="utf-8")
            why = f"{type(error).__name__}: {why} ({file})"
        note("could not run", COULD_NOT_RUN, why)
        raise CouldNotRun(f"{session.suite.name} could not run: {why}") from error
    verdict, code_out = ("drifted", DRIFTED) if judged.drifted else ("agrees", AGREES)
    note(verdict, code_out)
    return code_out


def _judge(session: Session) -> Judged:
    """Run what is to be run, and compare."""
    suite, home = session.suite, session.home
    reference = read_reference(suite.reference_file)
    refuse_unnamed_code(reference)
    from fl_platform.grid.runner import plan_grid  # imports torch, for which no refusal need wait

    grid, every = plan_grid(suite.grid(0, suite.reference_seeds), home)
    if reference is None:
        _work(session, grid, every)
        raise CouldNotRun(
            f"there is no reference yet; {len(every)} runs are done:"
            f" fl-platform repro accept {suite.name} --why ..."
        )
    refuse_other_runs(reference, every)
    cells = named([cell for cell in every if cell.config.seed < suite.seeds])
    _work(session, grid, [cell for _, cell in cells])
    pairs, changed = _beside(reference, cells, home)
    doubted = [] if not changed else drift.suspects(pairs, suite.bands)
    if doubted:
        rest = [(label, cell) for label, cell in named(every) if label in doubted]
        if len(rest) > sum(len(pairs[label]) for label in doubted):
            print(f"{len(doubted)} cells look off: they are run with every reference seed")
            _work(session, grid, [cell for _, cell in rest])
            more, changed = _beside(reference, rest, home)
            pairs |= more
        few = [label for label in doubted if len(pairs[label]) < drift.FEWEST]
        if few:
            raise CouldNotRun(
                f"{some(few, len(pairs))} differ by more than {suite.bands.margin:g} points under"
                f" other conditions ({', '.join(changed)}), and fewer than {drift.FEWEST} reference"
                " seeds cannot tell chance from drift."
            )
    exact = not changed
    found = drift.compare(pairs, suite.bands, exact=exact)
    return Judged(suite, reference, found, exact, changed)


def _work(session: Session, grid: Grid, cells: Sequence[PlannedRun]) -> None:
    """Have every cell finished under today's conditions."""
    from fl_platform.grid.runner import Options, run_grid

    options = Options(jobs=session.jobs, report=False)
    outcome = run_grid(grid, renewed(cells, session.home), session.home, options, ["repro"])
    session.tracking = cells[0].config.runtime.tracking
    if outcome.signal:
        raise Stopped(outcome.signal)
    failed = outcome.table.of_state("failed")
    if failed:
        told_cells = [f"{entry.planned.name} ({entry.reason})" for entry in failed]
        raise CouldNotRun(f"{some(told_cells, len(cells))} failed")


def _beside(
    reference: Reference, cells: Sequence[tuple[str, PlannedRun]], home: Path
) -> tuple[dict[str, list[drift.Pair]], dict[str, tuple[Any, Any]]]:
    """The runs of each cell beside their reference, and the conditions that are not its."""
    pairs: dict[str, list[drift.Pair]] = {}
    changed: dict[str, tuple[Any, Any]] = {}
    for label, cell in cells:
        run = stored(home, cell)
        if run is None:
            raise CouldNotRun(f"{cell.name} was over and is not any more: who moved it?")
        changed |= differing(reference.origin.conditions, run.conditions)
        then, now = reference.outcomes[cell.config_hash[:DIGITS]], run.outcome(label, 0)
        same = then.weights == now.weights
        pair = drift.Pair(cell.config.seed, then.accuracy, now.accuracy, same)
        pairs.setdefault(label, []).append(pair)
    return pairs, changed


def _tell(session: Session, judged: Judged, seconds: float) -> None:
    """Screen, page, MLflow; and what the diary keeps."""
    from fl_platform.grid.results import show
    from fl_platform.report.html import Picture
    from fl_platform.repro.parent import publish
    from fl_platform.repro.timeline import history_figure

    suite, found, at = judged.suite, judged.comparisons, session.clock.wall()
    runs, equal = sum(c.n for c in found), sum(c.equal for c in found)
    figure = history_figure(list(session.diary.entries()))
    caption = "Differences to the reference that was then valid, a line a cell."
    picture = None if figure is None else Picture("history", figure, caption)
    folder = session.diary.folder / stamp(at).replace(":", "")
    paths = write_page(judged, folder, picture)
    show([table(judged)], standard_output())
    for sentence in sentences(judged):
        print(printable(sentence))
    print(f"report: {paths[0]}")
    verdict = "drifted" if judged.drifted else "agrees"
    largest = max((c.mean for c in found), key=abs, default=0.0)
    session.facts |= {
        "cells": len(found),
        "runs": runs,
        "equal": equal,
        "exact": judged.exact,
        "drifted": [c.cell for c in judged.drifted],
        "differences": {c.cell: c.mean for c in found if c.mean},
        "report": str(paths[0].relative_to(session.diary.folder)),
        "run_id": publish(
            session.home,
            name=f"repro {suite.name}: {verdict}",
            experiment=suite.experiment,
            at=at,
            tags={
                "suite": suite.name,
                "verdict": verdict,
                "drifted": ", ".join(c.cell for c in judged.drifted),
                "commit": session.facts["commit"],
                "code_fingerprint": session.facts["code_fingerprint"],
                "reference": judged.reference.origin.accepted,
                "dirty": "false",
            },
            values={
                "repro/cells": len(found),
                "repro/drifted": len(judged.drifted),
                "repro/equal": equal / runs,
                "repro/largest": largest,
                "repro/seconds": seconds,
            },
            paths=paths,
            tracking=session.tracking,
        ),
    }

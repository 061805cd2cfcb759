"""The story of an arena: attackers -> runs side by side -> the worst -> final numbers."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fl_platform.config import Config, ConfigError, config_hash, expand
from fl_platform.core.process import Stopped, Stopper
from fl_platform.core.text import reason
from fl_platform.run import provenance
from fl_platform.run.early import refuse_early
from fl_platform.run.lookup import digest_of
from fl_platform.study.arena.batch import ArenaSetting, batches, enter, play, play_in_worker
from fl_platform.study.arena.search import NONE, Played, Stages, Trial
from fl_platform.study.arena.spec import ArenaSpec, load_arena
from fl_platform.study.arena.standing import Standing, as_csv, standing, table
from fl_platform.tracking.atomic import write_atomic
from fl_platform.tracking.journal import Journal, records
from fl_platform.tracking.lock import RunLock
from fl_platform.tracking.run_folder import RunFolder, head

Batch = tuple["Arena", list[Trial]]


@dataclass
class ArenaOutcome:
    """How a call of `run_arenas` ended.

    Attributes:
        standings: of the arenas that are complete, in the order of the command line.
        unfinished: how many are not.
        signal: number of the signal that stopped it, if any.
    """

    standings: list[Standing]
    unfinished: int
    signal: int | None

    @property
    def exit_code(self) -> int:
        """0: complete; 128 + signal: stopped by one; 1: out of time."""
        if self.signal is not None:
            return 128 + self.signal
        return 1 if self.unfinished else 0


class Arena:
    """One defense with its folder: ``mlruns/arena/<hash>/``, a journal of finished runs.

    Args:
        spec: settings.
        typed: overrides of the command line, one combination of a sweep.
        home: workspace.
        plugins: packages with further rules.
        restart: put earlier records aside.
        ignore_mismatch: continue records of other code or of another machine.

    Raises:
        ConfigError: an override or an attack of the file is invalid, or the defense cannot run.
        DataError: a missing folder of the data set.
        IdentityMismatch: the records were made by other code, from other data or on another
            machine.
        RunOwned: another process works on this arena.
    """

    def __init__(
        self,
        spec: ArenaSpec,
        typed: Sequence[str],
        home: Path,
        plugins: Sequence[str] = (),
        *,
        restart: bool = False,
        ignore_mismatch: bool = False,
    ) -> None:
        keys = {text.partition("=")[0] for text in typed}
        taken = sorted(keys & {"seed", "attack", "task.validation"})
        if taken:
            raise ConfigError(f"{taken[0]}: tuning/arena.yaml sets this; change it in the file.")
        base = [text for text in spec.base if text.partition("=")[0] not in keys]
        defense = [t for t in typed if t.partition("=")[0].split(".")[0] in ("defense", "mixing")]
        own = [text for text in typed if text.partition("=")[0] != "rounds"]
        chosen = tuple(defense), spec.validation, tuple(plugins)
        self.setting = ArenaSetting(home, (*base, *own), *chosen)
        probe = Trial(NONE, spec.seeds[0], "validation", 1)
        config = self.setting.config(probe)
        length = _rounds(ArenaSetting(home, (*base, *typed), *chosen))
        tail = config.evaluation.tail
        self.plan = Stages(
            spec,
            length,
            tail,
            _attacks(spec.listed, home, plugins),
            _attacks(spec.adaptive, home, plugins),
        )
        self.name = " ".join(own)
        identity = [config_hash(config), length, tail, list(typed), asdict(spec)]
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self.folder = RunFolder(home.absolute() / "mlruns" / "arena" / key[:16])
        if not self.folder.journal.exists():  # to show an older result needs no data
            refuse_early(config, home)
        self.folder.create()
        self._lock = RunLock(self.folder.lock).acquire()
        self.done: dict[Trial, Played] = {}
        self.failed = False
        try:
            if restart:
                from fl_platform.tracking.active_run import begin_afresh  # imports Lightning

                self._lock = begin_afresh(self.folder, self._lock)
            described = self.folder.create_or_verify(
                name=self.name,
                config_hash=key,
                experiment="arena",
                conditions={**_conditions(config), **self._data(config)},
                continue_anyway=ignore_mismatch,
            )
            self._journal = Journal(self.folder.journal, head(described))
            for record, _ in records(self.folder.journal):
                if record["kind"] == "trial":
                    self.done[_trial(record)] = Played(tuple(record["curve"]), record["reason"])
        except BaseException:
            self._lock.release()
            raise

    def _data(self, config: Config) -> dict[str, Any]:
        """The digest of the data; where they are missing now, the recorded one."""
        known = (self.folder.describe() or {}).get("conditions", {})
        digest = digest_of(config, self.setting.home) or known.get("data_digest")
        return {} if digest is None else {"data_digest": digest}

    def batches(self, in_flight: set[Trial]) -> list[list[Trial]]:
        """Batches of the current stage that are not running yet."""
        if self.failed:
            return []
        todo = [trial for trial in self.plan.pending(self.done) if trial not in in_flight]
        return batches(todo, self.plan.spec.side_by_side)

    def keep(self, played: Sequence[tuple[Trial, Played, float]]) -> None:
        """Record finished runs."""
        now = time.time()
        self._journal.append(
            {
                "kind": "trial",
                "time": now,
                **asdict(trial),
                "curve": [round(value, 6) for value in each.curve],
                "reason": each.reason,
                "seconds": seconds,
            }
            for trial, each, seconds in played
        )
        for trial, each, _ in played:
            self.done[trial] = Played(tuple(round(v, 6) for v in each.curve), each.reason)

    @property
    def complete(self) -> bool:
        """Whether no run is missing."""
        return not self.plan.pending(self.done)

    def standing(self) -> Standing:
        """The result of the complete arena."""
        return standing(self.plan, self.done, self.name)

    def close(self) -> None:
        """Make the records durable and release the folder."""
        self._journal.close()
        self._lock.release()


def run_arenas(
    typed: Sequence[str],
    home: Path,
    *,
    file: str = "arena",
    processes: int = 1,
    out: Path | None = None,
    seconds: float | None = None,
    plugins: Sequence[str] = (),
    restart: bool = False,
    ignore_mismatch: bool = False,
    say: Any = print,
) -> ArenaOutcome:
    """Run or continue the arena of each combination of ``typed``; print its table.

    Args:
        typed: overrides that make the defense and its setting; sweeps run several arenas.
        home: workspace: the folder of ``conf/``, ``tuning/`` and ``mlruns/``.
        file: settings, a file of ``tuning/``.
        processes: how many run batches at a time; 1: this process does.
        out: folder for ``arena.json`` and ``arena.csv``. Default: none is written.
        seconds: time after which no batch is started. Default: the file's.
        plugins: packages with further attacks, defenses and config files.
        restart: put earlier records of these arenas aside.
        ignore_mismatch: continue records of other code or of another machine.
        say: prints a line or a table.

    Raises:
        ConfigError: the file or an override is invalid.
    """
    spec = load_arena(file, home)
    options = {"restart": restart, "ignore_mismatch": ignore_mismatch}
    arenas: list[Arena] = []
    with Stopper() as stopper:
        try:
            for each in expand(list(typed), home, plugins=plugins):
                arenas.append(Arena(spec, each, home, plugins, **options))
            budget = spec.seconds if seconds is None else seconds
            limit = None if budget is None else time.monotonic() + budget
            if processes == 1:
                _run_here(arenas, stopper, limit, say)
            else:
                _run_in_processes(arenas, stopper, limit, processes, say)
            finished = [arena.standing() for arena in arenas if arena.complete]
        finally:
            for arena in arenas:
                arena.close()
    _show(finished, say)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        told = json.dumps([each.to_json() for each in finished], indent=1) + "\n"
        write_atomic(out / "arena.json", told.encode())
        write_atomic(out / "arena.csv", as_csv(finished).encode())
        say(f"rows: {out / 'arena.json'}, {out / 'arena.csv'}")
    return ArenaOutcome(finished, len(arenas) - len(finished), stopper.signal)


def _next(arenas: Sequence[Arena], in_flight: dict[Any, Batch]) -> Iterator[Batch]:
    """Batches that can be started, those of the first arenas first."""
    for arena in arenas:
        running = {t for owner, trials in in_flight.values() if owner is arena for t in trials}
        yield from ((arena, batch) for batch in arena.batches(running))


def _run_here(arenas: Sequence[Arena], stopper: Stopper, limit: float | None, say: Any) -> None:
    def leave() -> None:
        if stopper.signal is not None:
            raise Stopped("the arena was asked to stop")

    for arena in arenas:
        while (batch := next(iter(_next([arena], {})), None)) is not None:
            if stopper.signal is not None or _over(limit):
                return
            try:
                arena.keep(play(arena.setting, batch[1], leave))
            except Stopped:
                return
            except (ValueError, RuntimeError) as error:
                if len(arenas) == 1:
                    raise
                arena.failed = True  # the others go on
                say(f"{arena.name}: failed: {reason(error)}")
                continue
            _told(arena, say)


def _run_in_processes(
    arenas: Sequence[Arena], stopper: Stopper, limit: float | None, processes: int, say: Any
) -> None:
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(processes, context, initializer=enter, initargs=(stop,)) as pool:
        flying: dict[Future[Any], Batch] = {}
        while True:
            if stopper.signal is not None or _over(limit):
                stop.set()
            elif len(flying) < 2 * processes:  # one waits for each process, so that none is idle
                for arena, trials in _next(arenas, flying):
                    future = pool.submit(play_in_worker, arena.setting, trials)
                    flying[future] = (arena, trials)
                    if len(flying) >= 2 * processes:
                        break
            if not flying:
                return
            ended, _ = wait(flying, timeout=0.5, return_when=FIRST_COMPLETED)
            for future in ended:
                arena, _ = flying.pop(future)
                try:
                    played = future.result()
                except (ValueError, RuntimeError) as error:
                    if len(arenas) == 1 or isinstance(error, BrokenProcessPool):
                        raise
                    arena.failed = True  # the others go on
                    say(f"{arena.name}: failed: {reason(error)}")
                    continue
                if played is not None:
                    arena.keep(played)
                    _told(arena, say)


def _over(limit: float | None) -> bool:
    return limit is not None and time.monotonic() > limit


def _told(arena: Arena, say: Any) -> None:
    """A line of progress after each batch."""
    left = len(arena.plan.pending(arena.done))
    found = [t for t in arena.done if t.on == "validation"]
    low = min(found, key=lambda t: arena.plan.end(arena.done[t], t.rounds), default=None)
    worst = (
        ""
        if low is None
        else (
            f", lowest on validation {arena.plan.end(arena.done[low], low.rounds):.1f} %"
            f" ({' '.join(low.attack)})"
        )
    )
    say(f"{arena.name}: {len(arena.done)} runs, {left} left in this stage{worst}")


def _show(finished: Sequence[Standing], say: Any) -> None:
    for result in finished:
        say(f"\n{result.defense}\n{table(result)}\n{result.line()}")


def _attacks(
    lines: Sequence[str], home: Path, plugins: Sequence[str]
) -> tuple[tuple[str, ...], ...]:
    """Every attack of the file's lines, sweeps expanded."""
    found = [tuple(each) for line in lines for each in expand(line.split(), home, plugins=plugins)]
    return tuple(dict.fromkeys(found))


def _rounds(setting: ArenaSetting) -> int:
    from fl_platform.config import compose

    return compose(list(setting.base), setting.home, plugins=setting.plugins).rounds


def _conditions(config: Any) -> dict[str, Any]:
    """What alters the numbers beside the settings."""
    return {
        "device": config.runtime.device,
        "threads": config.runtime.threads,
        **provenance.instructions(),
        **provenance.code(config),
        **provenance.versions(),
    }


def _trial(record: dict[str, Any]) -> Trial:
    return Trial(
        tuple(record["attack"]), record["seed"], record["on"], record["rounds"], record["reference"]
    )


__all__ = ["Arena", "ArenaOutcome", "run_arenas"]

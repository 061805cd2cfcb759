"""The command line: verbs and options only; each verb imports the modules that it uses."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fl_platform.core.streams import guard_streams

app = typer.Typer(
    name="fl-platform",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs = typer.Typer(help="Manage recorded runs.", no_args_is_help=True)
app.add_typer(runs, name="runs")
repro = typer.Typer(
    help="Reproduce a suite and compare it with its reference.", no_args_is_help=True
)
app.add_typer(repro, name="repro")

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Overrides of the defaults: attack=strike attack.nu=0.75 seed=3."),
]
Home = Annotated[
    Path | None,
    typer.Option(
        help="Workspace: the folder of conf/ and mlruns/. Default: $FL_PLATFORM_HOME, else the"
        " nearest parent folder with own conf/ files or runs, else the working directory."
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="Load attacks, defenses and config files from this package."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="URL of the studies: sqlite, postgresql, journal, grpc. Default: mlruns/optuna.db."
    ),
]

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="File of conf/suite/, such as smoke or nightly.")
]


def _renamed(old: str, new: str) -> Callable[[bool], bool]:
    """Callback of a hidden option that keeps an old name for one release."""

    def notice(used: bool) -> bool:
        if used:
            print(f"{old} is now {new}; the old name works until the next release", file=sys.stderr)
        return used

    return notice


Restart = Annotated[
    bool,
    typer.Option(
        "--restart", help="Restart from round 0; earlier runs are kept in renamed folders."
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", hidden=True, callback=_renamed("--fresh", "--restart"))
]
IgnoreMismatch = Annotated[
    bool,
    typer.Option("--ignore-mismatch", help="Continue runs of another machine or other code."),
]
ContinueAnyway = Annotated[
    bool,
    typer.Option(
        "--continue-anyway",
        hidden=True,
        callback=_renamed("--continue-anyway", "--ignore-mismatch"),
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of worker processes. Default: --gpu-slots per GPU, or one per physical core.",
    ),
]

WorkersPerGpu = Annotated[
    str,
    typer.Option(help="Number of workers per GPU; auto: as many as free memory and cores allow."),
]
Executor = Annotated[
    str, typer.Option(help="Where the runs are executed: local or slurm (by submitit).")
]
RunsPerTask = Annotated[int, typer.Option(min=1, help="Number of runs per SLURM task.")]
SlurmOptions = Annotated[
    list[str] | None,
    typer.Option(help="Option of submitit, such as partition=gpu or timeout_min=60."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the runs and their estimated time and size.")
]
Worker = Annotated[
    bool,
    typer.Option(
        "--worker", help="Execute free runs one after the other, beside other workers, then leave."
    ),
]
Leases = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="With --worker: PostgreSQL database of workers that share no folder.",
    ),
]
Artifacts = Annotated[
    str,
    typer.Option(
        metavar="URI",
        help="With --leases: place for checkpoints. Default: the artifacts of the MLflow server.",
    ),
]
LeaseSeconds = Annotated[
    float,
    typer.Option(
        min=1, metavar="S", help="With --leases: seconds after which a silent worker's run is free."
    ),
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Print the table, write no report.")]
Trials = Annotated[
    int | None,
    typer.Option(min=1, help="Number of additional trials. Default: the budget of the study file."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Seconds after which no trial is started. Default: the budget of the study file.",
    ),
]
StudyName = Annotated[
    str | None, typer.Option(help="Study name. Default: file name and overrides.")
]
Final = Annotated[
    bool, typer.Option("--final", help="Evaluate on test data although trials are missing.")
]
ShownStudy = Annotated[
    str | None, typer.Option(metavar="STUDY", help="Print the best trials of a study.")
]

SETTINGS = {
    *("task", "model", "partition", "local", "attack", "defense", "mixing", "preset", "seed"),
    *("rounds", "byzantine", "server", "worker", "evaluation", "runtime", "observers", "data"),
}
EXITS = {"FINISHED": 0, "DIVERGED": 5, "KILLED": 143}


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"fl-platform {version('fl_platform')}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Experiments on Byzantine-robust federated learning."""


@app.command()
def run(
    overrides: Overrides = None,
    home: Home = None,
    plugin: Plugins = None,
    as_json: Json = False,
    restart: Restart = False,
    ignore_mismatch: IgnoreMismatch = False,
    fresh: Fresh = False,
    continue_anyway: ContinueAnyway = False,
) -> None:
    """Run one configuration, or continue an interrupted run."""
    typed = [*(overrides or [])]
    typed += ["runtime.fresh=true"] if restart or fresh else []
    typed += ["runtime.continue_anyway=true"] if ignore_mismatch or continue_anyway else []
    place = _home(home)
    config = _compose(typed, place, plugin)
    from fl_platform.config import config_hash
    from fl_platform.console import show_result
    from fl_platform.run.early import refuse_early
    from fl_platform.run.lookup import complete
    from fl_platform.tracking.lock import RunOwned, in_use, read_owner
    from fl_platform.tracking.run_folder import run_folder

    folder = run_folder(place, config_hash(config))
    if not folder.result_file.exists():
        refuse_early(config, place)
    if in_use(folder.lock):
        raise RunOwned(folder.lock, read_owner(folder.lock))
    result = None if config.runtime.fresh else complete(config, place)
    if result is None:  # importing Lightning takes seconds; a stored result needs none of it
        from fl_platform.run.runner import run as run_config

        result = run_config(config, place)
    else:
        _note_stored(config, place)
    show_result(result, config.runtime.tracking, folder.path)
    if as_json:
        print(json.dumps(result.to_json()))
    for number in (signal.SIGINT, signal.SIGHUP):
        if result.status == "KILLED" and result.reason.endswith(f"signal {number.value}"):
            raise typer.Exit(128 + number)
    raise typer.Exit(EXITS[result.status])


def _note_stored(config: Any, home: Path) -> None:
    """Print whether other code computed a stored result, and upload what is not uploaded yet."""
    from fl_platform.config import config_hash
    from fl_platform.run.lookup import of_other_code
    from fl_platform.tracking.exporter import pending
    from fl_platform.tracking.run_folder import run_folder

    other = of_other_code(config, home)
    if other:
        plugins = [name.partition(".")[2] for name in other if name.startswith("plugin.")]
        code = f"code ({', '.join(plugins)})" if plugins else "code"
        notice = f"stored result of other {code} than the current one; --restart repeats the run"
        print(notice, file=sys.stderr)
    folder, tracking = run_folder(home, config_hash(config)), config.runtime.tracking
    if tracking != "journal" and pending(folder, tracking):
        from fl_platform.tracking.uploader import follow

        follow(home, tracking, folder.path)


@app.command()
def grid(
    what: Annotated[
        list[str],
        typer.Argument(help="Experiment and overrides: table1 task=digits 'seed=range(0,5)'."),
    ],
    home: Home = None,
    plugin: Plugins = None,
    as_json: Json = False,
    jobs: Workers = None,
    gpu_slots: WorkersPerGpu = "1",
    executor: Executor = "local",
    cells: RunsPerTask = 1,
    slurm: SlurmOptions = None,
    dry_run: DryRun = False,
    worker: Worker = False,
    leases: Leases = None,
    artifacts: Artifacts = "",
    lease_seconds: LeaseSeconds = 60.0,
    no_report: NoReport = False,
    restart: Restart = False,
    ignore_mismatch: IgnoreMismatch = False,
    fresh: Fresh = False,
    continue_anyway: ContinueAnyway = False,
) -> None:
    """Run or continue a grid of attacks, defenses and seeds."""
    from fl_platform.grid.plan import plan_grid, refuse_runs

    if worker and (restart or fresh or jobs is not None or executor != "local"):
        raise typer.BadParameter(
            "--worker: expected no --restart, --jobs or --executor: a worker executes one run at a"
            " time and restarts none. Start more workers."
        )
    if (leases or artifacts) and not (worker and leases):
        raise typer.BadParameter(
            "--leases and --artifacts: expected --worker --leases URL, for workers without a"
            " shared folder."
        )
    place = _home(home)
    asked, planned = plan_grid(what, place, plugin or ())
    here = executor == "local" and not dry_run
    refuse_runs(planned, place, here=here)  # refusals come before slow imports
    from fl_platform.grid.runner import Options, dry, run_grid

    options = Options(
        jobs=jobs,
        gpu_slots=_workers_per_gpu(gpu_slots),
        executor=executor,
        cells=cells,
        slurm=tuple(slurm or ()),
        fresh=restart or fresh,
        continue_anyway=ignore_mismatch or continue_anyway,
        report=not no_report,
    )
    if dry_run:
        summary = dry(asked, planned, place, options)
    else:
        if worker:
            from fl_platform.grid.pull import SharedStore, pull

            store = SharedStore(leases, artifacts, lease_seconds) if leases else None
            result = pull(asked, planned, place, options, what, store)
        else:
            result = run_grid(asked, planned, place, options, what)
        summary = result.to_json()
        if result.report is not None:
            print(f"report: {result.report / 'index.html'}")
    if as_json:
        print(json.dumps(summary))
    if summary.get("stopped_by"):
        raise typer.Exit(128 + summary["stopped_by"])
    raise typer.Exit(1 if summary.get("failed") else 0)


@app.command()
def report(
    experiment: Annotated[str, typer.Argument(help="Name of the experiment, such as quick.")],
    home: Home = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the report. Default: mlruns/reports/EXPERIMENT.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Formats, separated by commas.")
    ] = "html,markdown,latex,csv",
    source: Annotated[
        str, typer.Option(help="Source of the runs: folders, mlflow or auto.")
    ] = "auto",
    width: Annotated[
        str, typer.Option(help="Width of figures and LaTeX tables: one, two (columns) or inches.")
    ] = "two",
    font_size: Annotated[float, typer.Option(help="Type size of figures, in points.")] = 8.0,
) -> None:
    """Write the report of an experiment from its stored runs."""
    from fl_platform.grid import results

    place = _home(home)
    origin, kinds = results.source(source), results.kinds(formats)
    page = results.page(width, font_size)
    frame = results.frame_of(place, experiment, origin)
    folder, paths = results.write(place, experiment, frame, out, kinds, source=origin, page=page)
    print(f"{len(frame)} runs, {len(paths)} files: {folder}")


@app.command()
def config(overrides: Overrides = None, home: Home = None, plugin: Plugins = None) -> None:
    """Print the resolved configuration of a run and its hash."""
    import dataclasses

    from omegaconf import OmegaConf

    from fl_platform.config import config_hash

    checked = _compose(overrides or [], _home(home), plugin)
    print(OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(checked))), end="")
    print(f"# config_hash: {config_hash(checked)}")


@app.command("list")
def list_rules(
    group: Annotated[
        str,
        typer.Argument(
            help="One of attacks, defenses, mixings, tasks, models, partitions, presets,"
            " experiments, suites."
        ),
    ] = "all",
    home: Home = None,
    plugin: Plugins = None,
) -> None:
    """List attacks, defenses and other components with references."""
    from fl_platform.config.hydra_tree import config_folders
    from fl_platform.console import show_rules

    show_rules(config_folders(_home(home), plugin or ()), group)


@app.command()
def papers(
    experiment: Annotated[
        str | None, typer.Argument(help="Name of an experiment that restates a paper.")
    ] = None,
    home: Home = None,
    plugin: Plugins = None,
) -> None:
    """List restated papers, or print the details of one."""
    from fl_platform.core.terminal import wide_output
    from fl_platform.grid.papers import show_paper, show_papers

    if experiment is None:
        show_papers(_home(home), wide_output(), plugin or ())
    else:
        show_paper(experiment, _home(home), wide_output(), plugin or ())


@app.command()
def tune(
    study: Annotated[
        str | None, typer.Argument(help="File of tuning/, such as strike_nu or worst_case.")
    ] = None,
    overrides: Overrides = None,
    trials: Trials = None,
    timeout: Timeout = None,
    storage: Storage = None,
    name: StudyName = None,
    final: Final = False,
    show: ShownStudy = None,
    home: Home = None,
    plugin: Plugins = None,
) -> None:
    """Create or resume a study of attack or defense parameters."""
    place = _home(home)
    if study is not None:
        from fl_platform.study.spec import load_spec

        load_spec(study, place)  # refused before slow imports
    if (study is None) == (show is None):
        raise typer.BadParameter("expected a file of tuning/, or --show STUDY.")
    if show is not None:
        from fl_platform.study.runner import show as show_study

        show_study(show, place, storage=storage)
        return
    from fl_platform.config import expand

    several = expand(overrides or [], place, plugins=plugin or ())
    if name is not None and len(several) > 1:
        raise typer.BadParameter("--name: expected one study, got a sweep over several.")
    from fl_platform.study.runner import prepare
    from fl_platform.study.runner import tune as tune_study

    for typed in several:
        prepare(str(study), typed, place, plugins=plugin or ())
    for typed in several:
        result = tune_study(
            str(study),
            typed,
            place,
            trials=trials,
            timeout=timeout,
            storage=storage,
            name=name,
            final=final,
            plugins=plugin or (),
        )
        if result.signal is not None:
            raise typer.Exit(128 + result.signal)


@app.command()
def arena(
    overrides: Overrides = None,
    file: Annotated[str, typer.Option(help="File of tuning/ with the settings.")] = "arena",
    processes: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Folder for arena.json and arena.csv. Default: none.")
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds after which no run is started; 0: print what is there."),
    ] = None,
    home: Home = None,
    plugin: Plugins = None,
    restart: Restart = False,
    ignore_mismatch: IgnoreMismatch = False,
) -> None:
    """Search the worst case of a defense over many attackers."""
    from fl_platform.study.arena.runner import run_arenas

    outcome = run_arenas(
        overrides or [],
        _home(home),
        file=file,
        processes=processes,
        out=out,
        seconds=seconds,
        plugins=plugin or (),
        restart=restart,
        ignore_mismatch=ignore_mismatch,
    )
    raise typer.Exit(outcome.exit_code)


@app.command()
def doctor(
    overrides: Overrides = None,
    home: Home = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Benchmark the client-training backends for this task on this machine."
        ),
    ] = False,
) -> None:
    """Check the installation, the device and the MLflow store."""
    place = _home(home)
    from fl_platform.doctor import examine, show_probe

    if probe:
        show_probe(_compose(overrides or [], place, None), place)
        return
    raise typer.Exit(examine(place))


@app.command()
def ui(
    home: Home = None,
    port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = 5000,
    studies: Annotated[
        bool, typer.Option("--studies", help="Open optuna-dashboard over the studies instead.")
    ] = False,
    storage: Annotated[
        str | None,
        typer.Option(help="With --studies: URL of the studies, as for tune."),
    ] = None,
    shared_machine: Annotated[
        bool,
        typer.Option("--shared-machine", hidden=True, help="No effect: the page has a login."),
    ] = False,
) -> None:
    """Serve the MLflow page on this machine, to this user only."""
    if studies:
        from fl_platform.study.dashboard import open_dashboard

        open_dashboard(_home(home), port, storage)
        return
    if storage is not None:
        raise typer.BadParameter(
            "--storage: expected --studies as well; the MLflow store has no such option."
        )
    from fl_platform.tracking.mlflow.ui import open_ui

    open_ui(_home(home), port)


@runs.command("sync")
def sync_runs(
    home: Home = None,
    to: Annotated[
        str,
        typer.Option(help="Exporter, as in runtime.tracking."),
    ] = "mlflow",
    plugin: Plugins = None,
) -> None:
    """Upload all run folders to MLflow; safe to repeat."""
    from fl_platform.config.targets import admit, check_exporter
    from fl_platform.tracking.mlflow.sync import sync

    place = _home(home)
    for each in plugin or ():
        admit(each, place)
    if to == "journal":
        raise typer.BadParameter("--to: expected mlflow or an exporter of a plug-in.")
    report = sync(place, check_exporter(to))
    print(f"{report.runs} runs checked, {report.records} records uploaded")
    for folder in report.busy:
        print(f"busy: {folder}")
    for folder, reason in report.failed.items():
        print(f"failed: {folder}: {reason}")
    raise typer.Exit(0 if report.complete else 1)


@app.command()
def conformance(
    rule: Annotated[
        str | None, typer.Argument(help="Rule of ours, such as krum. Default: all.")
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(help="Page whose tables are replaced, such as docs/conformance.md."),
    ] = None,
) -> None:
    """Compare rules with golden vectors and other libraries."""
    from fl_platform.adapters.conformance import conformance as compare_all

    try:
        report = compare_all(rule, write=write)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(1 if report.wrong else 0)


@runs.command("reap", hidden=True)
def reap_runs(home: Home = None) -> None:
    """Mark runs as KILLED whose process has ended; the old name of mark-killed."""
    _renamed("runs reap", "runs mark-killed")(True)
    mark_killed(home)


@runs.command("mark-killed")
def mark_killed(home: Home = None) -> None:
    """Mark runs as KILLED whose process has ended."""
    from fl_platform.tracking.mlflow.sync import reap

    idle = True
    for folder in reap(_home(home)):
        print(f"KILLED: {folder.path}")
        idle = False
    if idle:
        print("no run to mark")


@repro.command("run")
def repro_run(
    suite: SuiteName,
    home: Home = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of worker processes. Default: one per GPU, or one per physical core.",
        ),
    ] = None,
    scheduled: Annotated[bool, typer.Option("--scheduled", hidden=True)] = False,
) -> None:
    """Run a suite; exit code 0: agreement, 1: drift, 2: not run."""
    from fl_platform.repro.runner import run_suite

    if scheduled:
        print("--scheduled has no effect; renew the timer with fl-platform repro install")
    raise typer.Exit(run_suite(suite, _home(home), jobs=jobs))


@repro.command("accept")
def repro_accept(
    suite: SuiteName,
    why: Annotated[
        str, typer.Option(help="Reason for the new reference, stored in its file.")
    ] = "",
    diverged: Annotated[
        bool,
        typer.Option("--diverged", help="Accept runs that diverged, unlike in the last reference."),
    ] = False,
    home: Home = None,
) -> None:
    """Write the finished runs of a suite as its reference."""
    from fl_platform.repro.runner import accept

    accept(suite, _home(home), why, diverged=diverged)


@repro.command("history")
def repro_history(suite: SuiteName, home: Home = None) -> None:
    """Print and plot all past results of a suite."""
    from fl_platform.repro.runner import history

    figure = history(suite, _home(home))
    if figure is not None:
        print(f"figure: {figure}")


@repro.command("install")
def repro_install(
    suite: SuiteName,
    systemd: Annotated[bool, typer.Option("--systemd", help="Use a systemd user timer.")] = False,
    cron: Annotated[bool, typer.Option("--cron", help="Use a line of the crontab.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Install it for this user. Default: print it only.")
    ] = False,
    home: Home = None,
) -> None:
    """Print a systemd unit or cron line that runs a suite on schedule."""
    if systemd == cron:
        raise typer.BadParameter("expected one of --systemd and --cron.")
    from fl_platform.repro.schedule import install

    print(install(suite, _home(home), os.environ, cron=cron, write=write))


def _workers_per_gpu(typed: str) -> int | None:
    if typed == "auto":
        return None
    if not typed.isdecimal() or int(typed) < 1:
        raise typer.BadParameter(f"--gpu-slots: expected a number from 1 or auto, got {typed!r}.")
    return int(typed)


def _home(option: Path | None) -> Path:
    from fl_platform.config import find_home

    return find_home(option, os.environ, Path.cwd())


def _compose(overrides: list[str], home: Path, plugins: list[str] | None) -> Any:
    from fl_platform.config import compose

    return compose(overrides, home, plugins=plugins or ())


def main() -> None:
    """Run the command line; an error that the user can correct is one line and an exit code."""
    # typer would turn a Ctrl-C before the start of a run into exit code 1
    asked = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        asked.append(signal.SIGHUP)
    before = {number: signal.signal(number, _exit_on_signal) for number in asked}
    shown = guard_streams()
    hurry = True
    try:
        _refuse_setting_as_option(sys.argv[1:])
        app()
    except SystemExit as ended:
        hurry = isinstance(ended.code, int) and ended.code >= 128
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            traceback.print_exc()
            sys.exit(1)
        print(f"fl-platform: {error}", file=sys.stderr)
        sys.exit(code)
    finally:
        _finish_uploads(hurry)
        for number, handler in before.items():
            signal.signal(number, handler)
        shown.finish()


def _refuse_setting_as_option(words: list[str]) -> None:
    """Refuse ``--attack strike``, whose form here is ``attack=strike``."""
    if words[:1] and words[0] not in ("run", "grid", "config", "tune", "arena"):
        return
    for place, word in enumerate(words):
        if word == "--worker" and words[0] == "grid":  # an option; worker is a setting as well
            continue
        name, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name.replace("-", "_") in SETTINGS:
            from fl_platform.config import ConfigError

            after = words[place + 1] if len(words) > place + 1 else "VALUE"
            told = f"{name.replace('-', '_')}={value or after}"
            raise ConfigError(f"{word}: settings are typed without dashes, as key=value: {told}")


def _finish_uploads(hurry: bool) -> None:
    """Wait for the uploader if one was started; the result is already printed."""
    uploader = sys.modules.get("fl_platform.tracking.uploader")
    if uploader is not None:
        uploader.finish(hurry=hurry)


def _exit_on_signal(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _exit_code(error: Exception) -> int | None:
    """Exit code of an error that the user can correct; ``None`` for an internal error.

    Errors are recognized by class names, so that nothing must be imported.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    refusals = {"ConfigError", "DataError", "IdentityMismatch", "ExcessByzantine", "CouldNotRun"}
    refusals |= {"MissingPackage"}
    if names & refusals:
        return 2
    if names & {"CheckpointError", "RecordError", "OutsideError"}:
        return 3
    if "RunOwned" in names:
        return 75
    if isinstance(error, OSError) or "StoreError" in names:
        return 4
    return None


if __name__ == "__main__":
    main()

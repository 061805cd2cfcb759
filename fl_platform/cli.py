"""The command line: verbs and their arguments, nothing else; each verb imports what it needs."""

from __future__ import annotations

import json
import os
import signal
import sys
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
runs = typer.Typer(help="Look after recorded runs.", no_args_is_help=True)
app.add_typer(runs, name="runs")
repro = typer.Typer(
    help="Repeat a suite of conf/suite/ and compare it with its reference.", no_args_is_help=True
)
app.add_typer(repro, name="repro")

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="What differs from the defaults: attack=strike attack.nu=0.75 seed=3"),
]
Home = Annotated[
    Path | None,
    typer.Option(help="Folder of conf/ and mlruns/; else FL_PLATFORM_HOME, else found upwards."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", help="A package whose attacks, defenses and conf/ are to be known."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]

SuiteName = Annotated[
    str, typer.Argument(metavar="SUITE", help="A file of conf/suite/: smoke, nightly, ...")
]

SETTINGS = {
    *("task", "model", "partition", "local", "attack", "defense", "mixing", "preset", "seed"),
    *("rounds", "byzantine", "server", "worker", "evaluation", "runtime", "observers", "data"),
}
EXITS = {"FINISHED": 0, "DIVERGED": 5, "KILLED": 143}


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"fl-platform {version('fl_platform')}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Print it and leave."),
    ] = False,
) -> None:
    """Byzantine-robust federated learning: attacks, defenses, honest comparisons."""


@app.command()
def run(
    overrides: Overrides = None,
    home: Home = None,
    plugin: Plugins = None,
    as_json: Json = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over beside the old run.")] = False,
    continue_anyway: Annotated[
        bool, typer.Option("--continue-anyway", help="Go on although machine or code differ.")
    ] = False,
) -> None:
    """Run one configuration, or continue it where it was interrupted."""
    typed = [*(overrides or [])]
    typed += ["runtime.fresh=true"] if fresh else []
    typed += ["runtime.continue_anyway=true"] if continue_anyway else []
    place = _home(home)
    config = _compose(typed, place, plugin)
    from fl_platform.config import config_hash, refuse_missing_data
    from fl_platform.console import show_result
    from fl_platform.run.lookup import stored
    from fl_platform.tracking.lock import RunOwned, is_owned, passing, read_owner
    from fl_platform.tracking.run_folder import run_folder

    folder = run_folder(place, config_hash(config))
    if not folder.result_file.exists():
        refuse_missing_data(config, place)
    if is_owned(folder.lock) and not passing(folder.lock):
        raise RunOwned(folder.lock, read_owner(folder.lock))
    result = None if config.runtime.fresh else stored(config, place)
    if result is None:  # importing Lightning takes seconds; a stored result need not wait for it
        from fl_platform.run.runner import run as run_config

        result = run_config(config, place)
    else:
        _note_stored(config, place)
    show_result(result, config.runtime.tracking)
    if as_json:
        print(json.dumps(result.to_json()))
    for number in (signal.SIGINT, signal.SIGHUP):
        if result.status == "KILLED" and result.reason.endswith(f"signal {number.value}"):
            raise typer.Exit(128 + number)
    raise typer.Exit(EXITS[result.status])


def _note_stored(config: Any, home: Path) -> None:
    """Say where a stored result is of other code, and upload what an outage left behind."""
    from fl_platform.config import config_hash
    from fl_platform.run.lookup import of_other_code
    from fl_platform.tracking.exporter import pending
    from fl_platform.tracking.run_folder import run_folder

    other = of_other_code(config, home)
    if other:
        plugins = [name.partition(".")[2] for name in other if name.startswith("plugin.")]
        code = f"code ({', '.join(plugins)})" if plugins else "code"
        told = f"a stored result, by other {code} than today's: --fresh runs it anew"
        print(told, file=sys.stderr)
    folder, tracking = run_folder(home, config_hash(config)), config.runtime.tracking
    if tracking != "journal" and pending(folder, tracking):
        from fl_platform.tracking.uploader import follow

        follow(home, tracking, folder.path)


@app.command()
def grid(
    what: Annotated[
        list[str],
        typer.Argument(help="An experiment and its sweeps: table1 task=digits 'seed=range(0,5)'"),
    ],
    home: Home = None,
    plugin: Plugins = None,
    as_json: Json = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; else one a GPU slot or physical core.")
    ] = None,
    gpu_slots: Annotated[
        str, typer.Option(help="Cells that share one GPU; auto: by its memory and the cores.")
    ] = "1",
    executor: Annotated[str, typer.Option(help="local, or slurm through submitit.")] = "local",
    cells: Annotated[int, typer.Option(min=1, help="Cells in one SLURM task.")] = 1,
    slurm: Annotated[
        list[str] | None, typer.Option(help="A submitit setting: partition=gpu, timeout_min=60.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would run, how long, how large.")
    ] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Print the table only.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run finished cells anew too.")] = False,
    continue_anyway: Annotated[
        bool, typer.Option("--continue-anyway", help="Go on although machine or code differ.")
    ] = False,
) -> None:
    """Run a grid of attacks, defenses and seeds; the same command continues an unfinished one."""
    from fl_platform.grid.runner import Options, dry, plan_grid, run_grid

    place = _home(home)
    asked, planned = plan_grid(what, place, plugin or ())
    options = Options(
        jobs=jobs,
        gpu_slots=_slots(gpu_slots),
        executor=executor,
        cells=cells,
        slurm=tuple(slurm or ()),
        fresh=fresh,
        continue_anyway=continue_anyway,
        report=not no_report,
    )
    if dry_run:
        told = dry(asked, planned, place, options)
    else:
        outcome = run_grid(asked, planned, place, options, what)
        told = outcome.to_json()
        if outcome.report is not None:
            print(f"report: {outcome.report / 'index.html'}")
    if as_json:
        print(json.dumps(told))
    if told.get("stopped_by"):
        raise typer.Exit(128 + told["stopped_by"])
    raise typer.Exit(1 if told.get("failed") else 0)


@app.command()
def report(
    experiment: Annotated[str, typer.Argument(help="The name that its runs are filed under.")],
    home: Home = None,
    out: Annotated[Path | None, typer.Option(help="Else mlruns/reports/EXPERIMENT.")] = None,
    formats: Annotated[
        str, typer.Option("--format", help="Any of html, markdown, latex, csv, by commas.")
    ] = "html,markdown,latex,csv",
    source: Annotated[str, typer.Option(help="folders, mlflow, or auto.")] = "auto",
    width: Annotated[
        str, typer.Option(help="Of figures and LaTeX tables: one column, two, or inches.")
    ] = "two",
    font_size: Annotated[float, typer.Option(help="Of the type in figures, in points.")] = 8.0,
) -> None:
    """Redraw the tables, figures and page of an experiment from what is stored."""
    from fl_platform.grid import results as outcome

    place = _home(home)
    origin, kinds = outcome.source(source), outcome.kinds(formats)
    page = outcome.page(width, font_size)
    frame = outcome.frame_of(place, experiment, origin)
    folder, paths = outcome.write(place, experiment, frame, out, kinds, source=origin, page=page)
    print(f"{len(frame)} runs, {len(paths)} files: {folder}")


@app.command()
def config(overrides: Overrides = None, home: Home = None, plugin: Plugins = None) -> None:
    """Print the configuration that a run would have, and its hash."""
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
            help="attacks, defenses, mixings, tasks, models, partitions, presets, experiments or"
            " suites."
        ),
    ] = "all",
    home: Home = None,
    plugin: Plugins = None,
) -> None:
    """List components with their parameters and references, those of plug-ins too."""
    from fl_platform.config.hydra_tree import config_folders
    from fl_platform.console import show_rules

    show_rules(config_folders(_home(home), plugin or ()), group)


@app.command()
def tune(
    study: Annotated[
        str | None, typer.Argument(help="A file of tuning/: strike_nu, worst_case, ...")
    ] = None,
    overrides: Overrides = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Add so many; else as many as the file wants.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no trial is begun.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="Database URL that machines share; else mlruns/optuna.db.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the study; else the file and what was typed.")
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="Compare on the test set although trials are missing.")
    ] = False,
    show: Annotated[
        str | None, typer.Option(metavar="STUDY", help="Print the best trials of a study.")
    ] = None,
    home: Home = None,
    plugin: Plugins = None,
) -> None:
    """Create or join an Optuna study: the attack's best strength, the defense's best answer."""
    place = _home(home)
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
        outcome = tune_study(
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
        if outcome.signal is not None:
            raise typer.Exit(128 + outcome.signal)


@app.command()
def doctor(
    overrides: Overrides = None,
    home: Home = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Time the ways to train the named task's clients here.")
    ] = False,
) -> None:
    """Say what is installed, which device is used, and whether the store opens."""
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
        bool, typer.Option("--studies", help="Optuna's page over the studies instead.")
    ] = False,
    storage: Annotated[
        str | None, typer.Option(help="With --studies: a database URL, as of tune.")
    ] = None,
    shared_machine: Annotated[
        bool,
        typer.Option(
            "--shared-machine",
            help="Serve although other users of this machine can read and delete all.",
        ),
    ] = False,
) -> None:
    """Open the MLflow store in a browser, on this machine alone."""
    from fl_platform.tracking.mlflow.ui import refuse_shared_machine

    refuse_shared_machine(allowed=shared_machine)
    if studies:
        from fl_platform.study.dashboard import open_dashboard

        open_dashboard(_home(home), port, storage)
        return
    if storage is not None:
        raise typer.BadParameter("--storage: expected --studies beside it; MLflow has its own.")
    from fl_platform.tracking.mlflow.ui import open_ui

    open_ui(_home(home), port)


@runs.command("sync")
def sync_runs(
    home: Home = None,
    to: Annotated[
        str,
        typer.Option(help="Exporter, as in runtime.tracking. Default: mlflow."),
    ] = "mlflow",
    plugin: Plugins = None,
) -> None:
    """Copy all run folders to MLflow; safe to repeat."""
    from fl_platform.config.targets import admit, check_exporter
    from fl_platform.tracking.mlflow.sync import sync

    place = _home(home)
    for each in plugin or ():
        admit(each, place)
    if to == "journal":
        raise typer.BadParameter("--to: expected mlflow or an exporter of a plug-in.")
    report = sync(place, check_exporter(to))
    print(f"{report.runs} runs looked at, {report.records} records copied")
    for folder in report.busy:
        print(f"busy: {folder}")
    for folder, reason in report.failed.items():
        print(f"failed: {folder}: {reason}")
    raise typer.Exit(0 if report.complete else 1)


@runs.command("reap")
def reap_runs(home: Home = None) -> None:
    """Mark runs that say RUNNING but have no living owner as KILLED."""
    from fl_platform.tracking.mlflow.sync import reap

    idle = True
    for folder in reap(_home(home)):
        print(f"KILLED: {folder.path}")
        idle = False
    if idle:
        print("nothing to reap")


@repro.command("run")
def repro_run(
    suite: SuiteName,
    home: Home = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; else one a GPU slot or physical core.")
    ] = None,
    scheduled: Annotated[bool, typer.Option("--scheduled", hidden=True)] = False,
) -> None:
    """Repeat a suite; exits 0: it agrees, 1: it drifted, 2: it could not run."""
    from fl_platform.repro.runner import run_suite

    if scheduled:
        print("--scheduled has no effect now: renew the timer with fl-platform repro install")
    raise typer.Exit(run_suite(suite, _home(home), jobs=jobs))


@repro.command("accept")
def repro_accept(
    suite: SuiteName,
    why: Annotated[str, typer.Option(help="The reason, for those who read the reference.")] = "",
    diverged: Annotated[
        bool, typer.Option("--diverged", help="Take runs that newly diverged as the result.")
    ] = False,
    home: Home = None,
) -> None:
    """Make the finished runs of a suite its reference, a file to be committed."""
    from fl_platform.repro.runner import accept

    accept(suite, _home(home), why, diverged=diverged)


@repro.command("history")
def repro_history(suite: SuiteName, home: Home = None) -> None:
    """Print every past start of a suite and draw them."""
    from fl_platform.repro.runner import history

    figure = history(suite, _home(home))
    if figure is not None:
        print(f"figure: {figure}")


@repro.command("install")
def repro_install(
    suite: SuiteName,
    systemd: Annotated[bool, typer.Option("--systemd", help="A user's service and timer.")] = False,
    cron: Annotated[bool, typer.Option("--cron", help="A line of a user's crontab.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Put it in place for this user; else only print it.")
    ] = False,
    home: Home = None,
) -> None:
    """Print a systemd unit or cron line that runs a suite on schedule."""
    if systemd == cron:
        raise typer.BadParameter("expected one of --systemd and --cron.")
    from fl_platform.repro.schedule import install

    print(install(suite, _home(home), os.environ, cron=cron, write=write))


def _slots(typed: str) -> int | None:
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
    """Run the command line; what a person can mend is one line and an exit code, no traceback."""
    # typer would turn a Ctrl-C that comes before a run listens for it into exit code 1
    asked = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        asked.append(signal.SIGHUP)
    before = {number: signal.signal(number, _leave) for number in asked}
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
            raise
        print(f"fl-platform: {error}", file=sys.stderr)
        sys.exit(code)
    finally:
        _finish_uploads(hurry)
        for number, handler in before.items():
            signal.signal(number, handler)
        shown.finish()


def _refuse_setting_as_option(words: list[str]) -> None:
    """Refuse ``--attack strike``, whose form here is ``attack=strike``."""
    if words[:1] and words[0] not in ("run", "grid", "config", "tune"):
        return
    for place, word in enumerate(words):
        name, _, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and name.replace("-", "_") in SETTINGS:
            from fl_platform.config import ConfigError

            after = words[place + 1] if len(words) > place + 1 else "VALUE"
            told = f"{name.replace('-', '_')}={value or after}"
            raise ConfigError(f"{word}: settings are typed without dashes, as key=value: {told}")


def _finish_uploads(hurry: bool) -> None:
    """Wait for the uploader, where one was started: the result is on the screen by now."""
    uploader = sys.modules.get("fl_platform.tracking.uploader")
    if uploader is not None:
        uploader.finish(hurry=hurry)


def _leave(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error that is told in one line; ``None`` for a fault of ours.

    Told by class names, so that a refused configuration does not wait for Lightning.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    refusals = {"ConfigError", "DataError", "IdentityMismatch", "ExcessByzantine", "CouldNotRun"}
    if names & refusals:
        return 2
    if names & {"CheckpointError", "RecordError"}:
        return 3
    if "RunOwned" in names:
        return 75
    if isinstance(error, OSError) or "StoreError" in names:
        return 4
    return None


if __name__ == "__main__":
    main()

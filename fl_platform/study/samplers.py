"""Optuna samplers and pruners by name; a resumed study draws from new sampler seeds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import optuna
from optuna.pruners import BasePruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler

from fl_platform.config import ConfigError
from fl_platform.config.errors import nearest
from fl_platform.config.validation import fit
from fl_platform.core.constraints import Above, AtLeast, Between
from fl_platform.study.spec import Pruner, Sampler

SAMPLERS = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "cmaes": "CmaEsSampler",
    "qmc": "QMCSampler",
    "random": "RandomSampler",
    "nsga2": "NSGAIISampler",
}
NUMBERS_ONLY = ("cmaes", "qmc")  # they sample choices at random
# Defaults of Optuna 5, written out because they changed between versions 4 and 5.
OPTIONS: dict[str, dict[str, Any]] = {
    "tpe": {
        "n_startup_trials": 10,
        "n_ei_candidates": 24,
        "multivariate": True,
        "group": False,
        "constant_liar": True,
    },
    "gp": {
        "n_startup_trials": 10,
        "deterministic_objective": False,
        "warn_independent_sampling": False,
    },
    "cmaes": {
        "n_startup_trials": 1,
        "sigma0": None,
        "popsize": None,
        "with_margin": False,
        "warn_independent_sampling": False,
    },
    "qmc": {
        "qmc_type": "sobol",
        "scramble": True,
        "warn_independent_sampling": False,
        "warn_asynchronous_seeding": False,
    },
    "random": {},
    "nsga2": {
        "population_size": 50,
        "mutation_prob": None,
        "crossover_prob": 0.9,
        "swapping_prob": 0.5,
    },
}

Share = Annotated[float, Between(0, 1)]
# Types of the options above; those that are not listed are true or false.
HINTS: dict[str, Any] = {
    "n_startup_trials": Annotated[int, AtLeast(0)],
    "n_ei_candidates": Annotated[int, AtLeast(1)],
    "sigma0": Annotated[float, Above(0)] | None,
    "popsize": Annotated[int, AtLeast(2)] | None,
    "qmc_type": Literal["sobol", "halton"],
    "population_size": Annotated[int, AtLeast(2)],
    "mutation_prob": Share | None,
    "crossover_prob": Share,
    "swapping_prob": Share,
}


def checked_options(settings: Sampler) -> dict[str, Any]:
    """All options of the sampler: those of ``settings``, else the defaults.

    Raises:
        ConfigError: an unknown option, or a value of another type or range.
    """
    known = OPTIONS[settings.name]
    for option in settings.options:
        if option not in known:
            has = ", ".join(known) or "none"
            raise ConfigError(
                f"sampler.options.{option}: unknown option of {settings.name}"
                f"{nearest(str(option), known)} Its options: {has}."
            )
    given = settings.options.items()
    fitted = {k: fit(v, HINTS.get(k, bool), f"sampler.options.{k}") for k, v in given}
    return {**known, **fitted}


def build_sampler(settings: Sampler, trials: int) -> BaseSampler:
    """Build the sampler for the next trial of a study that has ``trials`` trials.

    Its seed is the stream ``suggest`` of the study's seed at that number. A new sampler per trial
    makes a resumed study equal to an uninterrupted one, and simultaneous workers sample different
    points. A Sobol sequence keeps one seed, because it is one sequence.

    Raises:
        ConfigError: what `checked_options` refuses, or a missing package.
    """
    options = checked_options(settings)
    from fl_platform.core.rng import stream_seed  # imports torch; after the checks

    cls = getattr(optuna.samplers, SAMPLERS[settings.name])
    index = 0 if settings.name == "qmc" else trials
    seed = stream_seed(settings.seed, "suggest", index) % 2**32
    try:
        return cls(seed=seed, **options)
    except ImportError as error:
        raise ConfigError(
            f"sampler.name: {settings.name} needs a package that is not installed ({error.name});"
            " pip install 'fl_platform[tune]'."
        ) from None


def join_population(trial: optuna.Trial) -> None:
    """Let NSGA-II count a start point: Optuna does so only for a trial that draws a value."""
    _ = trial.relative_params


def build_pruner(settings: Pruner) -> BasePruner:
    """Build Optuna's pruner; a step is the position of a seed in the study file."""
    if settings.name == "none":
        return NopPruner()
    return WilcoxonPruner(p_threshold=settings.p_threshold, n_startup_steps=settings.startup_seeds)

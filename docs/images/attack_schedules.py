"""Draw accuracy over the rounds under each attack schedule.

python docs/images/attack_schedules.py    # four runs and one without attack, a minute
"""

import tempfile
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch

from fl_platform.config import compose
from fl_platform.core.attack_schedule import AttackSchedule
from fl_platform.run.runner import run
from fl_platform.tracking.journal import read
from fl_platform.tracking.run_folder import run_folder

ROUNDS = 60
SHARED = ["task=digits", "defense=median", f"rounds={ROUNDS}", "runtime.tracking=journal"]
SHARED += ["runtime.progress=none", "observers=none"]
CASES = {
    "start 20": (["attack=ipm", "attack.scale=5"], AttackSchedule(start=20)),
    "start 20, stop 40": (["attack=ipm", "attack.scale=5"], AttackSchedule(start=20, stop=40)),
    "ramp 40": (["attack=ipm", "attack.scale=5"], AttackSchedule(ramp=40)),
    "switch 5": (["attack=bit_flip"], AttackSchedule(switch=5)),
}
mpl.rcParams["font.size"] = 8


def accuracy(overrides: list[str], home: Path) -> tuple[list[int], list[float]]:
    """Rounds and test accuracy in percent of one run."""
    config = compose([*SHARED, *overrides], Path(__file__).resolve().parents[2])
    result = run(config, home)
    points = read(run_folder(home, result.config_hash).journal).metrics["test/accuracy"]
    rounds = sorted(points)
    return rounds, [100 * points[at].value for at in rounds]


def overrides_of(schedule: AttackSchedule) -> list[str]:
    """The schedule as typed settings."""
    said = {name: value for name, value in vars(schedule).items() if value}
    return [f"attack.schedule.{name}={value}" for name, value in said.items()]


def draw(place: Path) -> None:
    """A panel for each schedule: without attack, always, as scheduled; the strength below."""
    figure, axes = plt.subplots(
        2, 4, figsize=(10, 4), sharex=True, sharey="row", height_ratios=[3, 1], layout="constrained"
    )
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        peace = accuracy(["attack=none"], home)
        for column, (title, (attack, schedule)) in enumerate(CASES.items()):
            upper, lower = axes[:, column]
            upper.plot(*peace, color="0.6", label="no attack")
            upper.plot(*accuracy(attack, home), color="tab:red", ls="--", label="every round")
            scheduled = accuracy([*attack, *overrides_of(schedule)], home)
            upper.plot(*scheduled, color="tab:blue", label="as scheduled")
            upper.set(title=f"{attack[0].partition('=')[2]}, {title}")
            rounds = range(ROUNDS)
            lower.step(rounds, [schedule.strength(t) for t in rounds], where="post", color="0.3")
            for t in rounds:
                if t and schedule.draw(t) != schedule.draw(t - 1):
                    lower.axvline(t, color="tab:orange", lw=0.8)
            lower.set(xlabel="round", ylim=(-0.1, 1.1))
    axes[0, 0].set_ylabel("test accuracy, %")
    axes[1, 0].set_ylabel("strength")
    axes[0, 0].legend(loc="lower left")
    figure.savefig(place, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    torch.set_num_threads(1)
    draw(Path(__file__).with_name("attack_schedules.png"))

"""The runs of one hash seed: two folders, two time zones, alone or in pairs, killed or not."""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from pathlib import Path

from tests.faults.conftest import make_home
from tests.faults.runs import kill_until_done, outcome
from tests.faults.zygote import Zygote


def main() -> None:
    home, target, arguments, seed = sys.argv[1:]
    chance = random.Random(int(seed))
    from fl_platform.data import digits
    from fl_platform.run import outputs as artifacts  # noqa: F401 - imported once for all children

    digits()
    zygote = Zygote()
    found: dict[str, str] = {}
    longest = 3.0
    places = itertools.product(("here", "there"), ("UTC", "America/St_Johns"))
    for (place, zone), killed in itertools.product(places, (False, True)):
        names = [f"{place} {zone} {'killed' if killed else 'whole'} {n}" for n in ("alone", "pair")]
        homes = [make_home(Path(home) / f"{len(found)}-{i}") for i in range(3)]
        for members, name in zip((homes[:1], homes[1:]), names, strict=True):
            settings = {
                "out": Path(home),
                "cwd": members[0] if place == "there" else Path(home),
                "env": {"TZ": zone},
                "patch": {"commit_every": 0},
            }
            commands = [
                [str(own) if word == home else word for word in json.loads(arguments)]
                for own in members
            ]
            begun = time.monotonic()
            beside = [zygote.start(*line, **settings) for line in commands[1:]]
            most = 2 if killed else 0
            kill_until_done(zygote, commands[0], chance, longest, most=most, **settings)
            if not killed:
                longest = time.monotonic() - begun
            for child in beside:
                if child.finish() != 0:
                    raise AssertionError(child.text)
            ends = {outcome(own).weights for own in members}
            found[name] = " ".join(sorted(ends))
    Path(target).write_text(json.dumps(found))


if __name__ == "__main__":
    main()

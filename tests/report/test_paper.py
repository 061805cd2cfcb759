import math

from fl_platform.report.published import find, published

DEFENSES = ("multi_krum", "median", "rfa", "aksel", "centered_clipping", "dnc", "trimmed_mean")
BASELINES = ("bit_flip", "lie", "ipm", "min_max", "min_sum", "mimic")
# Gap of STRIKE to the best baseline and that baseline, worked out apart from the csv files.
GAPS = {
    "cifar10": (4.65, 0.91, 0.69, 8.42, 0.33, 1.65, 1.95),
    "imagenet12": (25.42, 8.43, 16.41, 16.03, 3.02, 6.38, 16.45),
    "femnist": (39.93, 3.19, 26.76, 17.64, 53.24, 57.84, 14.02),
}
BEST = {
    "cifar10": "ipm lie mimic lie mimic bit_flip mimic",
    "imagenet12": "ipm lie bit_flip lie mimic bit_flip mimic",
    "femnist": "min_sum lie lie min_max min_max min_max lie",
}

# Summed over the printed tables themselves, so that a misread digit shows.
SD_SUMS = {"cifar10": 103.06, "imagenet12": 109.19, "femnist": 259.2}


def best(task, defense):
    return min((find(task, attack, defense) for attack in BASELINES), key=lambda p: p.mean)


def test_every_cell_of_both_tables_is_there_once():
    keys = [(p.task, p.attack, p.defense, p.mixing) for p in published()]
    assert len(keys) == len(set(keys)) == 3 * 7 * 7 + 4 * 3
    assert all(0 < p.mean < 100 for p in published())


def test_gaps_to_the_best_baseline():
    for task, gaps in GAPS.items():
        for defense, gap, name in zip(DEFENSES, gaps, BEST[task].split(), strict=True):
            rival = best(task, defense)
            assert rival.attack == name
            assert round(rival.mean - find(task, "strike", defense).mean, 2) == gap


def test_eleven_gaps_lie_within_two_standard_deviations():
    close = set()
    for task in GAPS:
        for defense in DEFENSES:
            ours, rival = find(task, "strike", defense), best(task, defense)
            if (rival.mean - ours.mean) / math.hypot(ours.sd, rival.sd) < 2:
                close.add((task, defense))
    expected = {("cifar10", defense) for defense in DEFENSES}
    expected |= {("imagenet12", "centered_clipping"), ("imagenet12", "dnc")}
    expected |= {("femnist", "median"), ("femnist", "trimmed_mean")}
    assert close == expected


def test_sums_of_the_deviations():
    sums = {
        task: sum(p.sd for p in published() if p.task == task and not p.mixing) for task in GAPS
    }
    assert {task: round(value, 2) for task, value in sums.items()} == SD_SUMS


def test_table_two_prints_no_deviation():
    second = [p for p in published() if p.table == 2]
    assert len(second) == 12
    assert all(p.mixing == "nnm" and p.sd is None and p.n_assumed is None for p in second)
    assert find("imagenet12", "strike", "dnc", "nnm").mean == 38.91
    assert find("imagenet12", "strike", "dnc").mean == 53.40
    assert find("imagenet12", "ipm", "dnc", "nnm") is None

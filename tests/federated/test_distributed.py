"""One run over two processes, against the same run in one."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from fl_platform import attacks, defenses
from fl_platform.core import Updates
from fl_platform.core.sharded import ShardedUpdates
from fl_platform.federated.distributed import Alone, Ranks, join, unfit
from tests.federated import rank_cases
from tests.federated.rank_cases import CASES, CLIENTS


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes ended every case with."""
    path = tmp_path_factory.mktemp("ranks") / "ended"
    command = [sys.executable, "-W", "ignore", "-m", "tests.federated.rank_cases", "2", str(path)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    done = subprocess.run(
        command, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return [torch.load(f"{path}.{rank}") for rank in range(2)]


def apart(one, other):
    """The relative distance between the states that two runs ended with."""
    return float((one["state"] - other["state"]).norm() / other["state"].norm())


@pytest.mark.parametrize("name", CASES)
def test_two_processes_end_where_one_does(ranks, name):
    alone = rank_cases.run(CASES[name])
    first, second = (ended[name] for ended in ranks)
    assert first["ended"] == second["ended"] == alone["ended"] == "finished"
    assert torch.equal(first["state"], second["state"])
    assert apart(first, alone) < 1e-6
    for ours, plain in zip(first["metrics"], alone["metrics"], strict=True):
        assert ours.keys() == plain.keys()
        for key, value in plain.items():
            # skewness and kappa divide small numbers by small ones
            # and a share of sampled coordinates depends on which are sampled
            near = 0.1 if key == "round/byzantine_coordinates" else 1e-5
            assert ours[key] == pytest.approx(value, rel=1e-3, abs=near, nan_ok=True), key
    assert second["metrics"] == []  # process 0 alone tells
    # Not every row in full anywhere: shares of the clients, then of the coordinates.
    assert [first["own"], second["own"]] == [math.ceil(len_of(name) / 2)] * 2
    assert first["held"][1] + second["held"][1] == alone["held"][1]
    assert abs(first["held"][1] - second["held"][1]) <= 1


def len_of(name):
    return CASES[name].get("sampled", CLIENTS)


def test_a_resumed_run_ends_where_an_unbroken_one_does(ranks):
    resumed, unbroken = ranks[0]["resumed"], ranks[0]["queried"]
    assert len(resumed["metrics"]) == 1
    assert torch.equal(resumed["state"], unbroken["state"])
    assert torch.equal(ranks[1]["resumed"]["state"], resumed["state"])


def test_a_missing_sum_over_processes_is_noticed(ranks):
    alone, wrong = rank_cases.run(CASES["strike"]), ranks[0]["without sums"]
    assert apart(wrong, alone) > 1e-3
    assert not torch.equal(wrong["state"], rank_cases.run(CASES["mean"])["state"])


def test_cases_end_apart_from_each_other(ranks):
    states = [ranks[0][name] for name in ("mean", "strike", "min_max", "ipm", "mixed")]
    assert all(apart(a, b) > 1e-3 for i, a in enumerate(states) for b in states[:i])


def test_what_process_0_sees_ends_all(ranks):
    assert "test loss is nan" in ranks[0]["diverged"]["ended"]
    assert "reported by process 0" in ranks[1]["diverged"]["ended"]


def test_gate_hears_of_a_number_that_lies_in_another_process(ranks):
    for metrics in ranks[0]["gated"]["metrics"]:
        assert metrics["round/rejected"] == 3
        assert metrics["round/rejected_honest"] == 0


class Halves:
    """Adds a known remote part, as if another process had answered."""

    def __init__(self, remote):
        self.remote = remote

    def sum(self, part):
        return part + self.remote(part)

    def largest(self, part):
        return torch.maximum(part, self.remote(part))


def test_a_row_that_is_large_elsewhere_is_large():
    here, there = torch.ones(3, 4), torch.tensor([1.0, 7.0, 1.0])
    sharded = ShardedUpdates(here, Halves(lambda part: there.to(part)))
    assert sharded.magnitudes().tolist() == [1, 7, 1]
    assert sharded.select(torch.tensor([1, 0])).largest(torch.zeros(3)).tolist() == [1, 7, 1]
    assert Updates(here).magnitudes().tolist() == [1, 1, 1]


@pytest.mark.parametrize(("count", "size"), [(11, 2), (9, 4), (3, 5), (0, 2)])
def test_shares_are_even_and_complete(count, size):
    shares = [Ranks(rank, size, torch.device("cpu")).share(count) for rank in range(size)]
    assert [i for share in shares for i in range(count)[share]] == list(range(count))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def trainer(size=2, strategy=None):
    return SimpleNamespace(world_size=size, global_rank=0, strategy=strategy)


def ddp():
    from lightning.pytorch.strategies import DDPStrategy

    return DDPStrategy(parallel_devices=[torch.device("cpu")] * 2)


def test_alone_unless_there_are_others():
    assert type(join(trainer(1), [defenses.dnc()], 1)) is Alone


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        (defenses.dnc(), "DnC samples coordinates"),
        (attacks.mimic(), "Mimic draws"),
        (defenses.centered_clipping(), "CenteredClipping keeps a point"),
        (attacks.fang_trimmed_mean(), "FangTrimmedMean draws"),
        (lambda updates, num_byzantine: None, "shardable=True"),
    ],
)
def test_rules_that_need_all_coordinates_are_refused_by_name(rule, named):
    with pytest.raises(ValueError, match=named):
        join(trainer(strategy=ddp()), [defenses.mean, rule], 10)


def test_every_rule_of_ours_states_whether_it_works_on_a_part():
    for home in (attacks, defenses):
        for name in home.__all__:
            rule = getattr(home, name)
            if name.islower() and hasattr(rule, "facts"):
                assert rule.facts.shardable is not None, name
                assert rule.facts.label, name


def test_a_new_rule_with_memory_that_states_nothing_is_refused():
    class MomentumMean:
        __module__ = "fl_platform.defenses.momentum_mean"
        total = 0.0

        def __call__(self, updates, num_byzantine):
            self.total = 0.9 * self.total + updates.mean()
            return self.total

    assert "does not state it" in unfit(MomentumMean())


def test_their_variants_that_do_not_are_taken():
    rules = [defenses.centered_clipping(memory=False), attacks.fang_trimmed_mean(draw="edge")]
    assert [unfit(rule) for rule in [*rules, attacks.strike(nu=0.5), defenses.rfa()]] == [None] * 4


def test_other_strategies_and_too_many_processes_are_refused():
    with pytest.raises(ValueError, match="strategy='ddp'"):
        join(trainer(strategy=SimpleNamespace()), [defenses.mean], 10)
    with pytest.raises(ValueError, match="2 for 1"):
        join(trainer(strategy=ddp()), [defenses.mean], 1)

"""What an arena runs next and whom it selects: pure functions, with made-up accuracies."""

import math

import pytest

from fl_platform.report.statistics import summarize
from fl_platform.study.arena.batch import batches
from fl_platform.study.arena.search import (
    NONE,
    Played,
    Stages,
    Trial,
    changed,
    family,
    judge,
    rounds_to,
)
from fl_platform.study.arena.spec import ArenaSpec, LastStage, Refine
from fl_platform.study.arena.standing import as_csv, standing, table

LISTED = (*((("attack=ipm", f"attack.scale={i}")) for i in range(3)), ("attack=bit_flip",))
ADAPTIVE = tuple(
    ("attack=directional", f"attack.direction={d}", "attack.length=1") for d in ("undo", "back")
)


def plan(**changes):
    final = LastStage(seeds=[100, 101], attackers=3, per_family=1, horizon=2)
    settings = {
        "listed": ["attack=x"],
        "seeds": [0, 1],
        "confirm": 4,
        "final": final,
        "refine": Refine(attackers=1, lengths=[2.0], scatter=["none", "honest"]),
    }
    return Stages(ArenaSpec(**(settings | changes)), 4, 2, LISTED, ADAPTIVE)


def accuracy(trial):
    """Made up: ipm is the worst the larger its scale; validation and test disagree by 1."""
    text = " ".join(trial.attack)
    level = {"none": 90, "bit_flip": 70, "undo": 65, "back": 75}.get(
        text.rpartition("=")[2] if "direction" not in text else text.split("=")[2].split()[0], 60
    )
    if "scale" in text:
        level = 50 - 5 * int(text[-1])
    return level + (trial.on == "test") - (trial.seed % 2)


def played_to_the_end(it):
    done, asked = {}, []
    while todo := it.pending(done):
        assert not set(todo) & set(done)
        asked.append(todo)
        done |= {trial: Played((accuracy(trial),) * trial.rounds) for trial in todo}
    return done, asked


def test_stages_follow_one_another_until_nothing_is_missing():
    _, asked = played_to_the_end(plan())
    first, variants, confirm, final = asked
    assert {t.attack for t in first} == {*LISTED, *ADAPTIVE}
    assert {(t.seed, t.on, t.rounds) for t in first + variants} == {(0, "validation", 4)}
    assert {t.attack[-1] for t in variants} == {"attack.length=2", "attack.scatter=honest"}
    assert {t.attack[1] for t in variants} == {"attack.direction=undo"}
    assert {t.seed for t in confirm} == {1}
    assert {(t.on, t.rounds) for t in final} == {("test", 8)}
    assert {t.seed for t in final} == {100, 101}
    assert sum(t.reference for t in final) == 2


def test_the_worst_are_selected_few_of_a_family():
    done, _ = played_to_the_end(plan())
    assert plan().worst(done)[0] == ("attack=ipm", "attack.scale=2")
    assert len({family(attack) for attack in plan().worst(done)}) == len(plan().worst(done))


def test_selection_looks_at_no_result_on_the_test_set():
    done, _ = played_to_the_end(plan())
    upside_down = {
        t: Played(tuple(100 - a for a in p.curve)) if t.on == "test" else p for t, p in done.items()
    }
    assert plan().worst(upside_down) == plan().worst(done)
    assert plan().pending(upside_down) == []


def test_an_interrupted_stage_asks_for_the_rest_alone():
    whole = plan().pending({})
    some = {trial: Played((50.0,) * 4) for trial in whole[:3]}
    assert plan().pending(some) == whole[3:]


def test_a_run_that_diverged_is_the_worst_from_then_on():
    it = plan()
    assert it.end(Played((80.0, 90.0, 70.0, 72.0)), 4) == 71
    assert it.end(Played((80.0, 90.0), "round 2: ..."), 4) == 0
    assert it.end(Played((80.0, 90.0), "round 2: ..."), 2) == 85


def test_rows_have_the_reports_t_interval_and_the_worst_comes_first():
    done, _ = played_to_the_end(plan())
    result = standing(plan(), done, "defense=x")
    assert result.rows[0].attack == " ".join(NONE)
    assert result.worst.attack == "attack=ipm attack.scale=2"
    expected = summarize(result.worst.per_seed)
    assert (result.worst.end, result.worst.low, result.worst.high) == (
        expected.mean,
        expected.low,
        expected.high,
    )
    assert result.worst.verdict == "damages"
    assert result.worst.share == pytest.approx(result.worst.end / result.reference)
    assert result.line().startswith(f"worst case of {result.tried} attackers: 40.5 %")
    assert len(table(result).splitlines()) == 1 + len(result.rows)
    assert len(as_csv([result, result]).splitlines()) == 1 + 2 * len(result.rows)
    assert result.to_json()["rows"][0]["validation"] is None


@pytest.mark.parametrize(
    ("near", "far", "told"), [(90, 80, "none"), (80, 90, "delays"), (80, 84, "damages")]
)
def test_a_delay_is_made_good_later_and_damage_is_not(near, far, told):
    assert judge(near, far, 85) == told


def test_rounds_are_counted_from_one():
    assert rounds_to([10, 60, 50, 70], 60) == 2
    assert rounds_to([10, 60], 61) is None


def test_a_changed_setting_is_written_once():
    attack = ("attack=directional", "attack.length=1", "attack.index=2")
    expected = ("attack=directional", "attack.index=2", "attack.length=2")
    assert changed(attack, "length", "2") == expected


def test_batches_share_seed_set_and_length_and_slow_attacks_are_alone():
    slow = ("attack=fang",)
    trials = [Trial(a, s, "validation", 4) for s in (0, 1) for a in (*LISTED, slow)]
    made = batches(trials, 3)
    assert sorted(map(len, made)) == [1, 1, 1, 1, 3, 3]
    assert all(len({(t.seed, t.on, t.rounds) for t in batch}) == 1 for batch in made)
    assert [batch[0].attack for batch in made[:2]] == [slow, slow]
    assert sorted(str(trial) for batch in made for trial in batch) == sorted(map(str, trials))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": [100]}, "none of the validation seeds"),
        ({"seeds": [0, 0]}, "different ones"),
        ({"validation": 0.0}, "a share"),
        ({"listed": [], "adaptive": []}, "at least one attack"),
    ],
)
def test_settings_that_would_spoil_the_numbers_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        plan(**change)


def test_no_value_is_no_number():
    assert math.isnan(plan().validation({}, NONE))

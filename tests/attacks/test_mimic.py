import copy

import numpy as np
import pytest
import torch

from fl_platform.attacks import mimic
from fl_platform.core import Updates, generator
from tests import reference_attacks as reference


def rounds(count=4, h=7, d=5):
    draw = np.random.default_rng(3)
    return [draw.normal(size=(h, d)) * [3, 1, 1, 1, 1] for _ in range(count)]


def updates(g):
    return Updates(torch.tensor(g))


def first_direction(d, seed):
    z = torch.randn(d, generator=generator(seed, "mimic")).double().numpy()
    return z / np.linalg.norm(z)


def test_direction_and_target_follow_the_papers_recursion():
    seen = rounds()
    attack = mimic(5, warmup=len(seen))
    for upto in range(1, len(seen) + 1):
        sent = attack(updates(seen[upto - 1]), 2)
        z = reference.mimic_direction(seen[:upto], first_direction(5, 5))
        np.testing.assert_allclose(attack.direction, z, atol=1e-12)
        target = int(np.argmax(seen[upto - 1] @ z))
        np.testing.assert_array_equal(sent, np.tile(seen[upto - 1][target], (2, 1)))


def test_the_target_is_frozen_after_the_warm_up():
    seen = rounds(12)
    attack = mimic(0, warmup=2)
    attack(updates(seen[0]), 1)
    attack(updates(seen[1]), 1)
    row, direction = attack.target[0], attack.direction.clone()
    for g in seen[2:]:
        np.testing.assert_array_equal(attack(updates(g), 1)[0], g[row])
    assert torch.equal(attack.direction, direction)


def test_the_official_variant_goes_on_choosing():
    seen = rounds(12)
    attack = mimic(0, after="again", score="absolute", centre="current")
    targets = set()
    for g in seen:
        sent = attack(updates(g), 1)[0].numpy()
        scores = np.abs(g @ attack.direction.numpy())
        np.testing.assert_array_equal(sent, g[int(scores.argmax())])
        targets.add(int(scores.argmax()))
    assert len(targets) > 1


@pytest.mark.parametrize(("score", "copied"), [("signed", 0), ("absolute", 1)])
def test_signed_and_absolute_scores_differ(score, copied):
    g = np.array([[1.0, 0.0], [-3.0, 0.0], [0.5, 0.1]])
    attack = mimic(1, score=score)
    attack.load_state_dict(
        {
            "calls": 1,
            "direction": torch.tensor([1.0, 0.0], dtype=torch.float64),
            "running_mean": torch.zeros(2, dtype=torch.float64),
            "target": None,
        }
    )
    assert attack(updates(g), 1).tolist() == [g[copied].tolist()]


def test_a_frozen_row_number_is_not_trusted_where_the_number_of_rows_changes():
    seen = rounds(2)
    attack = mimic(0)
    attack(updates(seen[0]), 1)
    fewer = seen[1][:3]
    target = int(np.argmax(fewer @ attack.direction.numpy()))
    np.testing.assert_array_equal(attack(updates(fewer), 1)[0], fewer[target])
    row = attack.target[0]
    np.testing.assert_array_equal(attack(updates(seen[1]), 1)[0], seen[1][row])


@pytest.mark.parametrize("after", ["frozen", "again"])
def test_state_saved_and_restored_gives_the_same_next_answers(after):
    seen = rounds(6)
    attack = mimic(9, warmup=2, after=after)
    for g in seen[:3]:
        attack(updates(g), 1)
    other = mimic(9, warmup=2, after=after)
    other.load_state_dict(copy.deepcopy(attack.state_dict()))
    for g in seen[3:]:
        assert torch.equal(attack(updates(g), 1), other(updates(g), 1))


def test_state_is_tensors_and_plain_python(tmp_path):
    attack = mimic(9)
    attack(updates(rounds()[0]), 1)
    torch.save(attack.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert state["calls"] == 1
    assert torch.equal(state["direction"], attack.direction)


def test_seeds_start_in_different_directions():
    g = np.eye(6)
    starts = []
    for seed in range(8):
        attack = mimic(seed)
        attack(updates(g), 1)
        starts.append(int(attack.target[0]))
    assert len(set(starts)) > 1


def test_the_copied_row_shares_no_memory_with_the_honest_rows():
    honest = updates(rounds()[0])
    sent = mimic(0)(honest, 1)
    assert all(sent.data_ptr() != row.data_ptr() for row in honest.matrix)


def test_equal_rows_leave_the_direction_as_it_started():
    attack = mimic(4)
    sent = attack(Updates(torch.ones(3, 5, dtype=torch.float64)), 2)
    assert sent.tolist() == [[1.0] * 5] * 2
    np.testing.assert_allclose(attack.direction, first_direction(5, 4), atol=1e-7)


def test_wrong_names_are_refused():
    for wrong in ({"after": "never"}, {"score": "squared"}, {"centre": "zero"}):
        with pytest.raises(ValueError, match=f"Expected {next(iter(wrong))}"):
            mimic(0, **wrong)
    with pytest.raises(ValueError, match="Expected warmup >= 1, got 0"):
        mimic(0, warmup=0)


@pytest.mark.parametrize(("copied", "row"), [(0, 0), (2, 2), (9, 3)])
def test_a_named_row_is_copied_in_every_round(copied, row):
    honest = torch.tensor([[0.0, 0], [1, 0], [1, 2], [6, 2]])
    attack = mimic(seed=0, copied=copied)
    for _ in range(2):
        assert attack(honest, 2).tolist() == [honest[row].tolist()] * 2
    with pytest.raises(ValueError, match="Expected copied"):
        mimic(copied="first")

import pytest

from fl_platform.federated.sampling import byzantine_clients, sample_cohort


def test_full_participation_takes_everyone_once():
    byzantine = byzantine_clients(50, 0.2, seed=0)
    cohort = sample_cohort(3, 50, byzantine, None, "random", seed=0)
    assert len(byzantine) == 10
    assert sorted(cohort.honest + cohort.byzantine) == list(range(50))
    assert cohort.byzantine == byzantine


@pytest.mark.parametrize(
    ("n", "fraction", "f"), [(10, 0.3, 3), (50, 0.2, 10), (7, 0.2, 2), (9, 0, 0)]
)
def test_the_share_is_rounded_up_without_floating_point_noise(n, fraction, f):
    assert len(byzantine_clients(n, fraction, seed=1)) == f


def test_random_sampling_draws_a_random_number_of_byzantine_clients():
    byzantine = byzantine_clients(100, 0.2, seed=0)
    counts = [
        len(sample_cohort(t, 100, byzantine, 10, "random", seed=0).byzantine) for t in range(200)
    ]
    assert len(set(counts)) > 3
    assert 1.5 < sum(counts) / len(counts) < 2.5


def test_fixed_share_draws_the_same_number_each_round_and_different_clients():
    byzantine = byzantine_clients(100, 0.2, seed=0)
    cohorts = [sample_cohort(t, 100, byzantine, 10, "fixed_share", seed=0) for t in range(20)]
    assert {len(c.byzantine) for c in cohorts} == {2}
    assert {len(c.honest) for c in cohorts} == {8}
    assert len({c.honest for c in cohorts}) == 20


def test_a_round_is_a_function_of_seed_and_index_alone():
    byzantine = byzantine_clients(30, 0.2, seed=5)
    first = sample_cohort(7, 30, byzantine, 6, "random", seed=5)
    for t in range(7):
        sample_cohort(t, 30, byzantine, 6, "random", seed=5)
    assert sample_cohort(7, 30, byzantine, 6, "random", seed=5) == first
    assert sample_cohort(8, 30, byzantine, 6, "random", seed=5) != first
    assert sample_cohort(7, 30, byzantine, 6, "random", seed=6) != first

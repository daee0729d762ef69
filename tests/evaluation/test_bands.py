import numpy as np
import pytest
from scipy import stats
from simulated_losses import GRID, losses

import modeconn as mc
from modeconn.evaluation.bands import profile_band


def test_at_a_single_position_it_is_the_usual_interval() -> None:
    values = np.random.default_rng(0).normal(2, 3, size=(400, 1))
    band = profile_band([0.5], values, np.ones(400), num_resamples=20_000)
    reach = stats.t.ppf(0.975, 399) * values.std(ddof=1) / 20
    assert band.value == pytest.approx(values.mean())
    assert band.high - band.value == pytest.approx(reach, rel=0.03)
    assert band.value - band.low == pytest.approx(band.high - band.value)


def test_independent_positions_need_what_sidak_says() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 10))
    band = profile_band(GRID[:10], values, np.ones(1000), num_resamples=10_000)
    assert band.critical == pytest.approx(stats.norm.ppf((1 + 0.95**0.1) / 2), rel=0.03)


def test_positions_that_move_together_need_no_more_than_one() -> None:
    values = np.random.default_rng(0).normal(size=(1000, 1)) + np.zeros(10)
    band = profile_band(GRID[:10], values, np.ones(1000), num_resamples=10_000)
    assert band.critical == pytest.approx(1.96, rel=0.03)


def test_it_holds_the_whole_profile_in_about_95_percent() -> None:
    held = 0
    for seed in range(300):
        sums, tokens = losses(rough=True, seed=seed)
        band = profile_band(GRID, sums, tokens, num_resamples=300, seed=seed)
        held += bool(((band.low <= 3 - GRID) & (band.high >= 3 - GRID)).all())
    assert 0.91 <= held / 300 <= 0.98


def test_more_confidence_is_wider() -> None:
    sums, tokens = losses()
    narrow, wide = (profile_band(GRID, sums, tokens, confidence=c) for c in (0.8, 0.99))
    assert wide.critical > narrow.critical
    assert (wide.low <= narrow.low).all()


def test_above_the_chord_the_ends_are_certain() -> None:
    sums, tokens = losses(height=1.0)
    band = profile_band(GRID, sums, tokens, above="chord")
    assert band.low[[0, -1]].tolist() == band.high[[0, -1]].tolist() == [0, 0]
    assert (band.low < band.high)[1:-1].all()
    mean = sums.sum(axis=0) / tokens.sum()
    np.testing.assert_allclose(band.value, mean - ((1 - GRID) * mean[0] + GRID * mean[-1]), atol=1e-12)


def test_the_seed_decides_the_band() -> None:
    sums, tokens = losses()
    first, again, other = (profile_band(GRID, sums, tokens, seed=seed) for seed in (1, 1, 2))
    assert first.critical == again.critical
    assert first.critical != other.critical


def test_scores_that_never_change_may_change_in_others() -> None:
    band = profile_band(GRID, np.zeros((100, 11)), np.ones(100))
    assert 0.02 < band.high.max() < 0.05  # 3 / N is the classical bound for what was never seen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"above": "floor"}, r"(?s)no band above 'floor'.*nothing or chord or mean.*remedy: leave it out"),
        ({"confidence": 1.0}, r"(?s)no interval of this confidence.*got: confidence=1 with.*remedy: use confidence"),
        ({"confidence": 0.999, "num_resamples": 1000}, r"(?s)at least 5 resamples outside.*remedy"),
        ({"t": GRID[1:], "above": "mean"}, r"(?s)do not cover the path.*from 0.1 to 1"),
        ({"t": GRID[1:]}, r"(?s)do not fit together.*\[N, 10\].*shapes \[60, 11\] and \[60\].*remedy"),
        (
            {"num_tokens": np.ones(7), "loss_sums": np.ones((7, 11))},
            r"(?s)too few examples.*at least 8.*got: 7.*remedy",
        ),
        ({"num_tokens": np.arange(60)}, r"(?s)no scored token.*1 of 60 examples, the first at 0.*remedy"),
    ],
)
def test_bad_input(change: dict, message: str) -> None:
    sums, tokens = losses()
    given = {"t": GRID, "loss_sums": sums, "num_tokens": tokens} | change
    with pytest.raises(mc.EvaluationError, match=message):
        profile_band(**given)


def test_a_loss_that_is_not_finite_is_named_by_its_example() -> None:
    sums, tokens = losses()
    sums[[17, 4], [2, 3]] = np.nan, np.inf
    with pytest.raises(mc.EvaluationError, match=r"(?s)NaN or infinite.*2 of 60 examples, the first at 4, 17.*remedy"):
        profile_band(GRID, sums, tokens)

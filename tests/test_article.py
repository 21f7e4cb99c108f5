"""The article's sweep on the whole of MNIST: minutes, so it has its own command, pytest -m slow."""

import jax
import pytest

from mlp_jax import Grid, load_dataset, sweep
from mlp_jax.answers.analysis import summarize, verdicts
from mlp_jax.runs.tables import history_table, trials_table

# M: mean test accuracy over 5 seeds, and how far off it may be, in percent.
EXPECTED = {10: (92.5, 0.6), 25: (95.3, 0.5), 50: (96.7, 0.4), 100: (97.5, 0.3), 150: (97.8, 0.3), 200: (97.9, 0.3)}


@pytest.mark.slow
def test_accuracy_by_width():
    jax.config.update("jax_disable_most_optimizations", False)  # it trains for minutes: what counts here is running
    result = sweep(Grid(seeds=5), load_dataset("mnist"))
    rows = summarize(trials_table(result))
    for row in rows:
        expected, tolerance = EXPECTED[row.hidden_units]
        assert row.diverged == 0
        assert 100 * row.mean["test_score"] == pytest.approx(expected, abs=tolerance), row.hidden_units
        if row.hidden_units == 100:
            assert row.mean["train_score"] >= 0.989
    (verdict,) = verdicts(trials_table(result), history_table(result), result.outcomes)
    assert verdict.alike_from >= 100

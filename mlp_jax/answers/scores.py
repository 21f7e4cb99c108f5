"""Scores as text, and the bounds of their intervals."""

import numpy as np

from mlp_jax.answers.variation import Interval


def number_text(value: float, score_name: str) -> str:
    """A score, or a difference of two, without its unit: an accuracy in percent, R² as it is; a dash for NaN."""
    if np.isnan(value):
        return "–"
    text = f"{100 * value:z.2f}" if score_name == "accuracy" else f"{value:z.4f}"  # z: a rounded 0 has no sign
    return text.replace("-", "−")


def score_text(score: float, score_name: str) -> str:
    """A score as text: an accuracy in percent, R² as it is."""
    return number_text(score, score_name) + (" %" if score_name == "accuracy" else "")


def bounded(interval: Interval, score_name: str) -> Interval:
    """An interval, clipped to the range of its score: an accuracy is from 0 to 1."""
    return Interval(*np.clip(interval, 0, 1).tolist()) if score_name == "accuracy" else interval

"""mlp-jax watch."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from mlp_jax.answers.rows import POINT, groups
from mlp_jax.answers.scores import number_text, score_text
from mlp_jax.answers.terminal import fitted_table
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._using import RunPath
from mlp_jax.errors import DataError, InputError, real
from mlp_jax.runs.directory import grid_of, is_finished, read_config, read_trials, resume_command
from mlp_jax.runs.progress import Snapshot, read_progress
from mlp_jax.runs.tables import Table, axes_table, layers_text, widths_at

MOST_RANKED = 10
"""Points of the grid that a ranking shows."""

MOST_WIDTHS = 12
"""Widths of which curves are shown."""

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-=+*#@"
"""For a terminal that knows ASCII alone."""

LONGEST_CURVE = 40
"""Characters of a curve."""

QUIET = 120.0
"""Seconds without a word after which a run may have ended."""


@dataclass
class Watch:
    """Watch a run that another process or machine trains: progress, curves by width, the ranking so far.

    Reads the run's files alone, and ends with the run. In a pipe a line for each new report.
    """

    run: RunPath
    """What mlp-jax sweep is writing."""
    every: float = 1.0
    """Seconds between two looks."""
    once: bool = False
    """Say how it is now, and end."""
    json: bool = False
    """Print how it is now as JSON, and end."""


@dataclass(frozen=True)
class _Watched:
    """A run in training: where it is, its table of axes, what its score is called, and how far it has come."""

    path: Path
    axes: Table
    score_name: str
    snapshot: Snapshot

    @property
    def measure(self) -> str:
        """What the ranking looks at: the score, or the loss where it cannot be computed."""
        known = np.isfinite(self.snapshot.validation_score).any()
        return "score" if known or not np.isfinite(self.snapshot.validation_loss).any() else "loss"

    @property
    def name(self) -> str:
        """The same in words."""
        return self.score_name if self.measure == "score" else "loss"


def run(options: Watch) -> int:
    """Run the command; returns the exit code."""
    every = real("every", options.every, lambda value: 0.05 <= value <= 3600, "seconds, 0.05 to 3600")
    config = read_config(options.run)
    axes = axes_table(grid_of(config).trials)
    console = console_for()
    if is_finished(options.run):
        if options.json:
            print_json({"run": str(options.run), "finished": True})
        else:
            _say_finished(console, options.run)
        return 0
    first = _look(options.run, axes, config)
    if options.json:
        print_json(_record(first, options.run))
        return 0
    if options.once:
        console.print(_shown(console, first, options.run), highlight=False)
        return 0
    _follow(console, options.run, axes, config, every, first)
    _say_finished(console, options.run)
    return 0


def _look(path: Path, axes: Table, config: dict[str, Any]) -> _Watched | None:
    """How far a run has come; None if nothing is known of it yet."""
    try:
        return _Watched(path, axes, config["score_name"], read_progress(path, len(axes["seed"])))
    except DataError:
        if (path / "progress.npz").is_file() and not is_finished(path):
            raise
        return None


def _follow(
    console: Console, path: Path, axes: Table, config: dict[str, Any], every: float, first: _Watched | None
) -> None:
    """Show a run until it is finished."""

    def looks() -> Iterator[_Watched | None]:
        yield first
        while not is_finished(path):
            time.sleep(every)
            if not path.is_dir():
                raise InputError(f"{path} is gone: its run was ended before anything was saved, or removed")
            yield _look(path, axes, config)

    if not console.is_terminal:
        said = None
        for watched in looks():
            now = watched and (watched.snapshot.epoch, watched.snapshot.chunk, watched.snapshot.done)
            if watched is not None and now != said:
                console.print(_line(watched), highlight=False, soft_wrap=True)
            said = now
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for watched in looks():
            live.update(_shown(console, watched, path), refresh=True)


def _say_finished(console: Console, path: Path) -> None:
    trials = read_trials(path)
    count, lost = len(trials["trial"]), int((trials["diverged"] > 0).sum())
    console.print(
        f"{path} is finished: {count:,} trials, {lost} diverged; mlp-jax analyse {path}",
        highlight=False,
        soft_wrap=True,
    )


def _shown(console: Console, watched: _Watched | None, path: Path) -> RenderableType:
    """Everything of a run, for a terminal."""
    if watched is None:
        return Text(f"{path}: nothing is known yet: it compiles first, or was ended before its first epoch")
    parts: list[RenderableType] = [Text(_line(watched))]
    quiet = time.time() - watched.snapshot.time
    if quiet > QUIET:
        parts.append(Text(f"No word for {quiet:.0f} s. If it was ended, go on with: {resume_command(path)}"))
    left: dict[str, Any] = {"box": None, "pad_edge": False, "title_justify": "left"}
    headings, rows = _curves(watched, plain=console.options.ascii_only)
    parts.append(fitted_table(console, headings, [rows], left=(headings[-1],), title="By width", **left).table)
    headings, rows = _ranking(watched)
    title = "Ranking so far, on validation"
    parts.append(fitted_table(console, headings, [rows], left=("variant",), title=title, **left).table)
    return Group(*parts)


def _line(watched: _Watched) -> str:
    """How far a run has come."""
    now = watched.snapshot
    chunk = f"chunk {now.chunk}/{now.chunks}  " if now.chunks > 1 else ""
    known = (now.trained > 0) & ~now.diverged
    values = getattr(now, f"validation_{watched.measure}")[known]
    mean = float(values.mean(dtype=float)) if known.any() else np.nan
    remaining = f"  {now.remaining:.0f} s remaining" if np.isfinite(now.remaining) and now.done < 1 else ""
    lost = f"  {now.diverged.sum()} diverged" if now.diverged.any() else ""
    return (
        f"{chunk}epoch {now.epoch}/{now.epochs}  {100 * now.done:.0f} %{remaining}  validation {watched.name} "
        f"{score_text(mean, watched.name)} over {known.sum():,} of {len(known):,} trials{lost}"
    )


def _curves(watched: _Watched, *, plain: bool) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows: of each width the last mean, and its curve."""
    now = watched.snapshot
    curves = getattr(now, f"curve_validation_{watched.measure}")
    finite = curves[np.isfinite(curves)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    rows: list[tuple[str, ...]] = []
    for place in range(0, len(now.widths), max(1, -(-len(now.widths) // MOST_WIDTHS))):
        curve = curves[:, place]
        known = curve[np.isfinite(curve)]
        last = number_text(float(known[-1]) if len(known) else np.nan, watched.name)
        rows.append((str(now.widths[place]), last, sparkline(known, low, high, plain=plain)))
    return ("M", f"validation {watched.name}", "by epoch"), rows


def sparkline(values: np.ndarray, low: float, high: float, *, plain: bool = False) -> str:
    """A curve in a line of text: of many values some, the last one included."""
    bars = PLAIN_BARS if plain else BARS
    if len(values) > LONGEST_CURVE:
        values = values[np.linspace(0, len(values) - 1, LONGEST_CURVE).round().astype(int)]
    share = (values - low) / (high - low) if high > low else np.ones(len(values))
    return "".join(bars[int(place)] for place in np.clip(np.floor(share * len(bars)), 0, len(bars) - 1))


def _ranked(watched: _Watched) -> list[dict[str, Any]]:
    """Points of the grid, best first: by how far they were trained in a search, then by their mean over seeds."""
    now, found = watched.snapshot, []
    for (_, variant, rate), here in groups(watched.axes, *POINT).items():
        good = [row for row in here if now.trained[row] > 0 and not now.diverged[row]]
        if not good:
            continue
        means = {
            f"validation_{name}": float(getattr(now, f"validation_{name}")[good].mean(dtype=float))
            for name in ("score", "loss")
        }
        layers = layers_text(widths_at(watched.axes, here[0]))
        epoch = int(now.trained[good].max())
        point = {"hidden_layers": layers, "variant": variant, "learning_rate": rate, "epoch": epoch}
        found.append(point | {"seeds": len(good), "diverged": int(now.diverged[here].sum())} | means)
    column, sign = f"validation_{watched.measure}", -1 if watched.measure == "score" else 1
    return sorted(found, key=lambda each: (np.isnan(each[column]), sign * each[column]))


def _ranking(watched: _Watched) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows of the ranking."""
    rows: list[tuple[str, ...]] = [
        (
            each["hidden_layers"],
            each["variant"],
            f"{each['learning_rate']:.4g}",
            str(each["epoch"]),
            str(each["seeds"]),
            number_text(each[f"validation_{watched.measure}"], watched.name),
        )
        for each in _ranked(watched)[:MOST_RANKED]
    ]
    return ("M", "variant", "learning rate", "epoch", "seeds", f"validation {watched.name}"), rows


def _record(watched: _Watched | None, path: Path) -> dict[str, Any]:
    """Everything as data, for scripts."""
    if watched is None:
        return {"run": str(path), "finished": False, "epoch": 0}
    now = watched.snapshot
    scalars = ("epoch", "epochs", "chunk", "chunks", "done", "time", "remaining")
    curves = {name: getattr(now, f"curve_validation_{name}").T.tolist() for name in ("score", "loss")}
    return {
        "run": str(path),
        "finished": False,
        **{name: getattr(now, name) for name in scalars},
        "diverged": int(now.diverged.sum()),
        "ranking": _ranked(watched),
        "curves": {
            "epochs": now.curve_epochs.tolist(),
            "widths": now.widths.tolist(),
            **{f"validation_{name}": values for name, values in curves.items()},
        },
    }

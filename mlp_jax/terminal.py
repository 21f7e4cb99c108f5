"""What a person sees in the terminal: the sweep as it runs, and its closing table."""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table as RichTable

from mlp_jax.analysis import Summary, by_setting, saturation_record, saturation_sentence, score_text, summarize
from mlp_jax.forecast import Forecast
from mlp_jax.grid import Grid
from mlp_jax.loop import Progress
from mlp_jax.plan import Plan, gibibytes
from mlp_jax.results import Table, references


def percent_or_plain(score_name: str) -> Callable[[float], str]:
    """How a score is written: an accuracy in percent, R² as it is."""
    return partial(score_text, score_name=score_name)


class Display:
    """Shows a sweep as it runs: redrawn on a terminal, a line an epoch in a pipe. Used as a context."""

    def __init__(self, console: Console, grid: Grid, epochs: int, score_name: str) -> None:
        """Show on that console the sweep of that grid over so many epochs."""
        self._console = console
        self._grid = grid
        self._score = percent_or_plain(score_name)
        self._score_name = score_name
        self._started = time.perf_counter()
        self._bar = ProgressBar(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("remaining"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
        )
        self._task = self._bar.add_task(f"epoch 0/{epochs}", total=1.0)
        self._live = Live(self._bar, console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> "Display":
        trials = len(self._grid.trials)
        what = f"{trials} trials together" if trials > 1 else "one trial"
        self._console.print(f"Training {what}; compiling first ...", highlight=False)
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def on_plan(self, plan: Plan) -> None:
        """Show how the sweep is shared out (``sweep(on_plan=...)``)."""
        self._console.print(f"{plan}", highlight=False, soft_wrap=True)

    def on_epoch(self, progress: Progress) -> None:
        """Show what is known after an epoch (``sweep(on_epoch=...)``)."""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=progress.done, description=_where(progress))
            self._live.update(Group(self._by_width(progress), self._bar), refresh=True)
            return
        elapsed = time.perf_counter() - self._started
        remaining = elapsed / (progress.done - progress.before) * (1 - progress.done)
        good = ~progress.diverged & ~np.isnan(progress.loss)
        parts = [
            _where(progress),
            f"{remaining:.0f} s remaining",
            f"loss {_mean(progress.loss, good):.4f}",
            f"{self._score_name} {self._score(_mean(progress.score, good))}",
            f"validation {self._score(_mean(progress.validation_score, good))}",
        ]
        if progress.diverged.any():
            parts.append(f"{progress.diverged.sum()} diverged")
        self._console.print("  ".join(parts), soft_wrap=True, highlight=False)

    def _by_width(self, progress: Progress) -> RenderableType:
        table = RichTable(box=None, pad_edge=False)
        for heading in ("M", "loss", self._score_name, f"validation {self._score_name}"):
            table.add_column(heading, justify="right")
        units = np.array([trial.hidden_units for trial in self._grid.trials])
        widths = sorted(set(units.tolist()))
        for width in widths[:: max(1, len(widths) // 12)]:
            good = (units == width) & ~progress.diverged & ~np.isnan(progress.loss)
            table.add_row(
                str(width),
                f"{_mean(progress.loss, good):.4f}",
                self._score(_mean(progress.score, good)),
                self._score(_mean(progress.validation_score, good)),
            )
        return table


def _where(progress: Progress) -> str:
    chunk = f"chunk {progress.chunk}/{progress.chunks}  " if progress.chunks > 1 else ""
    return f"{chunk}epoch {progress.epoch}/{progress.epochs}"


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


def summary_record(trials: Table, config: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    """The closing table as data, for scripts."""
    summaries = summarize(trials)
    return {
        "score_name": config["score_name"],
        "summary": [asdict(row) for row in summaries],
        "saturation": saturation_record(summaries),
        "references": references(config),
        "seconds": environment["seconds"],
    }


def forecast_record(forecast: Forecast) -> dict[str, Any]:
    """What a sweep will take as data, for scripts."""
    plan, need = forecast.plan, forecast.plan.need
    return {
        **{key: getattr(forecast, key) for key in ("trials", "replicas", "epochs", "parameters", "operations")},
        "devices": {"busy": plan.devices, "idle": plan.idle, "replicas_at_once": plan.at_once},
        "chunks": {"count": plan.chunks, "replicas": plan.chunk},
        "memory_bytes": {
            "data": need.fixed,
            "states": plan.bytes_used - need.fixed - plan.at_once * need.working,
            "working": plan.at_once * need.working,
            "in_all": plan.bytes_used,
            "usable": plan.memory,
        },
        "checkpoint_bytes": forecast.checkpoint_bytes,
        "parameter_bytes": forecast.parameter_bytes,
        "calibration": asdict(forecast.calibration),
        "seconds": {
            "compile": forecast.calibration.compile,
            "epoch": forecast.epoch,
            "evaluate": forecast.evaluate,
            "in_all": forecast.seconds,
        },
    }


def print_forecast(console: Console, forecast: Forecast) -> None:
    """Print what a sweep will take as a table."""
    plan, need, calibration = forecast.plan, forecast.plan.need, forecast.calibration
    working = plan.at_once * need.working
    rows = {
        "trials": f"{forecast.trials:,}, as {forecast.replicas:,} replicas",
        "parameters": f"{forecast.parameters:,} ({gibibytes(forecast.parameter_bytes)})",
        "operations": f"{forecast.operations:.3g} an epoch, {forecast.operations * forecast.epochs:.3g} in all",
        "shared out": str(plan),
        "memory of a device": f"{gibibytes(plan.bytes_used)}: data {gibibytes(need.fixed)}, states "
        f"{gibibytes(plan.bytes_used - need.fixed - working)}, at work {gibibytes(working)}",
        "checkpoint": gibibytes(forecast.checkpoint_bytes),
        "expected time": f"{duration(forecast.seconds)}: compilation {calibration.compile:.1f} s, "
        f"{forecast.epochs} epochs of {forecast.epoch:.3g} s, final scores {forecast.evaluate:.1f} s",
    }
    table = RichTable(title="Plan (nothing is trained or written)", show_header=False, title_justify="left")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        table.add_row(name, text)
    console.print(table, highlight=False)
    console.print(
        f"Measured in {calibration.seconds:.1f} s: {calibration.minibatches} minibatches of {calibration.replicas} of "
        f"the replicas, median of {calibration.passes} times. Starting, checkpoints and figures come on top.",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def print_summary(console: Console, trials: Table, config: dict[str, Any], environment: dict[str, Any]) -> None:
    """Print the closing table: scores by M, means ± standard deviations over seeds, and where the curve saturates."""
    summaries = summarize(trials)
    others = references(config)
    settings = by_setting(summaries)
    unit = " (%)" if config["score_name"] == "accuracy" else ""
    title = f"{config['dataset_name']}: {config['score_name']}{unit} after {config['epochs']} epochs"
    table = RichTable(title=title)
    if len(settings) > 1:
        table.add_column("activation", no_wrap=True)
        table.add_column("learning rate", justify="right", no_wrap=True)
    table.add_column("M", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", no_wrap=True)
    for split in ("train", "validation", "test", *others):
        table.add_column(split, justify="right", no_wrap=True)
    for (activation, rate), rows in settings.items():
        for row in rows:
            first = [activation, f"{rate:g}"] if len(settings) > 1 else []
            theirs = others.values() if activation == "sigmoid" and rate == 1e-3 else [{} for _ in others]
            table.add_row(
                *first,
                str(row.hidden_units),
                f"{row.parameters:,}",
                *(_with_deviation(row, split, config["score_name"]) for split in ("train", "validation", "test")),
                *(f"{100 * by[row.hidden_units]:.2f}" if row.hidden_units in by else "–" for by in theirs),
            )
        table.add_section()
    console.print(table)
    _print_notes(console, summaries, config, environment)


def _with_deviation(row: Summary, split: str, score_name: str) -> str:
    """The mean and, where there is one, the standard deviation; accuracies in percent without the sign."""
    mean, deviation = row.mean[f"{split}_score"], row.deviation[f"{split}_score"]
    if np.isnan(mean):
        return "diverged"
    scale, digits = (100, 2) if score_name == "accuracy" else (1, 4)
    text = f"{scale * mean:.{digits}f}"
    return text if np.isnan(deviation) else f"{text} ± {scale * deviation:.{digits}f}"


def _print_notes(
    console: Console, summaries: list[Summary], config: dict[str, Any], environment: dict[str, Any]
) -> None:
    seeds = len(config["seeds"])
    notes = []
    if seeds > 1:
        notes.append(f"Mean ± standard deviation over {seeds} seeds.")
    if diverged := sum(row.diverged for row in summaries):
        notes.append(f"{diverged} of {seeds * len(summaries)} trials diverged and are left out.")
    if any(row.hidden_units == 0 for row in summaries):
        notes.append("M = 0 has no hidden layer.")
    settings = by_setting(summaries)
    for (activation, rate), rows in settings.items():
        if len(rows) < 2:
            continue
        where = f" ({activation}, learning rate {rate:g})" if len(settings) > 1 else ""
        notes.append(f"Saturation{where}: {saturation_sentence(rows)}")
    seconds = environment["seconds"]
    notes.append(
        f"{sum(seconds['epochs']):.1f} s of training ({seconds['warm_epoch']:.2f} s an epoch, "
        f"{environment['examples_times_trials_per_second'] / 1e6:.2f} million examples × trials a second), "
        f"{seconds['compile']:.1f} s of compilation, on {environment['devices']} × {environment['device']}."
    )
    for note in notes:
        console.print(note, highlight=False, soft_wrap=not console.is_terminal)

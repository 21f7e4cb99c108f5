"""Terminal output: the sweep as it runs, and its closing table."""

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.style import StyleType
from rich.table import Table as RichTable
from rich.text import Text

from mlp_jax.answers.analysis import Analysis, Summary, by_setting, number_text, saturation_record, score_text
from mlp_jax.answers.ranking import Ranked, ranking, rounds, search_answer
from mlp_jax.answers.words import answer, findings, variant_names
from mlp_jax.networks.layers import layers_of
from mlp_jax.runs.tables import Table, criterion, references, to_the_end
from mlp_jax.sweeps.forecast import Forecast
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.plan import Plan, counted, gibibytes
from mlp_jax.sweeps.record import Progress
from mlp_jax.sweeps.search import Announced

ASCII = str.maketrans(
    {"±": "+-", "×": "x", "−": "-", "–": "-", "→": "->", "²": "2", "▄": ".", "▀": "'", "█": "#", "…": "..."}
    | dict.fromkeys("┌┐└┘", "+")
    | {"─": "-", "│": "|"}
)
"""Replacements where only ASCII can be printed."""

_ANY_WIDTH = 1_000_000
MOST_RANKED = 20
"""Configurations of a search that are printed."""

LEAST_PROSE = 20
"""Minimum width of a column of prose, if its cells are that long."""


class FittedTable(NamedTuple):
    """A table that fits a terminal.

    Attributes:
        table: the table; none of its cells is cut.
        left_out: headings of the columns for which there is no room.
        width: its width; greater than the terminal's if the columns to be kept are wider.
    """

    table: RichTable
    left_out: tuple[str, ...]
    width: int


def fitted_table(
    console: Console,
    headings: Sequence[str],
    sections: Iterable[Sequence[Sequence[str]]],
    *,
    drop: Sequence[str] = (),
    left: Sequence[str] = (),
    prose: str | None = None,
    styles: Sequence[StyleType | None] | None = None,
    **options: Any,
) -> FittedTable:
    """Make a table fit the terminal without cutting cells: headings wrap at words, then columns are left out.

    In a pipe, which has no width, everything is shown.

    Args:
        console: where it will be printed.
        headings: one per column; a table whose headings are all empty has none.
        sections: groups of rows, with a rule between them; a row has one cell per column.
        drop: headings of the columns that may be left out, the first of them first.
        left: headings of left-aligned columns; the others are numbers.
        prose: heading of a column of sentences or the like, which wrap at words.
        styles: of the rows, if they differ.
        **options: of the table.
    """
    signs = ASCII if console.options.ascii_only else {}
    rows = [[[cell.translate(signs) for cell in row] for row in section] for section in sections]
    droppable = [heading for heading in drop if heading in headings] if console.is_terminal else []

    def fitted(left_out: tuple[str, ...], whole_headings: bool) -> FittedTable:
        table = RichTable(show_header=any(headings), **options)
        kept = [place for place, heading in enumerate(headings) if heading not in left_out]
        for place in kept:
            heading = headings[place]
            if heading == prose:
                longest = max((cell_len(row[place]) for part in rows for row in part), default=0)
                table.add_column(heading, overflow="fold", min_width=min(LEAST_PROSE, longest))
                continue
            texts = [heading] if whole_headings else heading.split()
            width = max(
                (cell_len(text) for text in [*texts, *(row[place] for part in rows for row in part)]), default=0
            )
            table.add_column(heading, justify="left" if heading in left else "right", width=width)
        of_rows = iter(styles or ())
        for part in rows:
            for row in part:
                table.add_row(*(Text(row[place]) for place in kept), style=next(of_rows, None))
            table.add_section()
        measured = console.measure(table, options=console.options.update_width(_ANY_WIDTH))
        return FittedTable(table, left_out, measured.maximum if prose is None else measured.minimum)

    found = fitted((), True)
    for count in range(len(droppable) + 1):
        if found.width <= console.width or not console.is_terminal:
            break
        found = fitted(tuple(droppable[:count]), False)
    whole = fitted(found.left_out, True)
    found = whole if whole.width <= console.width else found
    if found.width > console.width:
        found.table.width = found.width  # wider than the terminal, rather than cut
    return found


def print_table(
    console: Console,
    headings: Sequence[str],
    *sections: Sequence[Sequence[str]],
    elsewhere: str = "--json",
    drop: Sequence[str] = (),
    then_drop: Sequence[str] = (),
    **how: Any,
) -> None:
    """Print a table that fits the terminal, and say what is left out of it.

    Args:
        console: to print on.
        headings: one per column.
        *sections: groups of rows.
        elsewhere: where what is left out can be found.
        drop: headings of the columns that may be left out, the first of them first.
        then_drop: likewise, where standard deviations (``± ...``) are left out before these.
        **how: arguments of ``fitted_table``.
    """
    found, deviations = fitted_table(console, headings, sections, drop=drop, **how), ""
    if then_drop and console.is_terminal and found.width > console.width:
        plain = [[[cell.partition(" ± ")[0] for cell in row] for row in section] for section in sections]
        found = fitted_table(console, headings, plain, drop=(*drop, *then_drop), **how)
        cells = itertools.chain.from_iterable(row for section in sections for row in section)
        deviations = "standard deviations" if any("±" in cell for cell in cells) else ""
    console.print(found.table, soft_wrap=found.width > console.width)
    columns = counted(len(found.left_out), "column") if found.left_out else ""
    if lacking := " and ".join(filter(None, (deviations, columns))):
        named = f" ({', '.join(found.left_out)})" if found.left_out else ""
        console.print(
            f"Narrow terminal: {lacking} left out{named}; {elsewhere} has everything.",
            highlight=False,
            markup=False,
            soft_wrap=False,
        )


def percent_or_plain(score_name: str) -> Callable[[float], str]:
    """Formatter of scores: an accuracy in percent, R² as it is."""
    return partial(score_text, score_name=score_name)


class Display:
    """Shows a sweep as it runs: redrawn on a terminal, one line per epoch in a pipe. A context manager."""

    def __init__(self, console: Console, grid: Grid, epochs: int, score_name: str) -> None:
        """Show a sweep of that grid over that many epochs on the console."""
        self._console = console
        self._grid = grid
        self._score = percent_or_plain(score_name)
        self._score_name = score_name
        self._first: tuple[float, float] | None = None  # when an epoch ended first, and what was done by then
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
        """Show the plan (``sweep(on_plan=...)``)."""
        text = f"{plan}"
        self._console.print(text[0].upper() + text[1:], highlight=False, soft_wrap=True)

    def on_rung(self, announced: Announced) -> None:
        """Show how a search goes on (``search(on_rung=...)``)."""
        if (decided := announced.decided) is not None:
            doubt = f", of them {decided.undecided} that cannot be told apart" if decided.undecided else ""
            self._console.print(
                f"After epoch {decided.epoch}: {decided.kept} of {counted(decided.configurations, 'configuration')} "
                f"go on{doubt}; {counted(announced.trials, 'trial')} to epoch {announced.epochs[1]}",
                highlight=False,
                soft_wrap=True,
            )

    def on_epoch(self, progress: Progress) -> None:
        """Show the progress after an epoch (``sweep(on_epoch=...)``)."""
        if self._console.is_terminal:
            self._bar.update(self._task, completed=progress.done, description=_where(progress))
            self._live.update(Group(self._by_width(progress), self._bar), refresh=True)
            return
        good = ~progress.diverged & ~np.isnan(progress.loss)
        parts = [
            _where(progress),
            *self._remaining(progress),
            f"{_of_trials(int(good.sum()))}running loss {_mean(progress.loss, good):.4f}",
            f"running {self._score_name} {self._score(_mean(progress.score, good))}",
            f"validation {self._score(_mean(progress.validation_score, good))}",
        ]
        if progress.diverged.any():
            parts.append(f"{progress.diverged.sum()} diverged")
        self._console.print("  ".join(parts), soft_wrap=True, highlight=False)

    def _remaining(self, progress: Progress) -> list[str]:
        """The remaining time, estimated from the epochs after the first, which includes compilation."""
        now = time.perf_counter()
        if self._first is None:
            self._first = now, progress.done
        began, before = self._first
        if not before < progress.done < 1:
            return []
        return [f"{(now - began) / (progress.done - before) * (1 - progress.done):.0f} s remaining"]

    def _by_width(self, progress: Progress) -> RenderableType:
        headings = ("M", "running loss", f"running {self._score_name}", f"validation {self._score_name}")
        units = np.array([(*layers_of(trial.hidden_units), 0)[0] for trial in self._grid.trials])  # the first layer's
        widths = sorted(set(units.tolist()))
        rows = []
        for width in widths[:: max(1, len(widths) // 12)]:
            good = (units == width) & ~progress.diverged & ~np.isnan(progress.loss)
            scores = (self._score(_mean(values, good)) for values in (progress.score, progress.validation_score))
            rows.append((str(width), f"{_mean(progress.loss, good):.4f}", *scores))
        title = "Mean over the trials of each width" if len(units) > len(widths) else None
        look: dict[str, Any] = {"title": title, "title_justify": "left", "box": None, "pad_edge": False}
        return fitted_table(self._console, headings, [rows], drop=headings[1:3], **look).table


def _where(progress: Progress) -> str:
    chunk = f"chunk {progress.chunk}/{progress.chunks}  " if progress.chunks > 1 else ""
    return f"{chunk}epoch {progress.epoch}/{progress.epochs}"


def _of_trials(trials: int) -> str:
    return f"mean of {trials:,} trials: " if trials > 1 else ""


def _mean(values: np.ndarray, where: np.ndarray) -> float:
    return float(values[where].mean()) if where.any() else float("nan")


def summary_record(analysis: Analysis, config: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    """The closing table as data, for scripts."""
    return {
        "score_name": config["score_name"],
        "summary": [row.record for row in analysis.rows],
        "saturation": saturation_record(analysis.verdicts),
        "undefined": analysis.undefined,
        "references": references(config),
        "seconds": environment["seconds"],
    }


def forecast_record(forecast: Forecast) -> dict[str, Any]:
    """A forecast as data, for scripts."""
    plan, need = forecast.plan, forecast.plan.need
    return {
        **{key: getattr(forecast, key) for key in ("trials", "replicas", "epochs", "parameters", "operations")},
        "devices": {
            "busy": plan.devices,
            "idle": plan.idle,
            "parts_of_a_replica": plan.parts,
            "replicas_at_once": plan.at_once,
        },
        "chunks": {"count": plan.chunks, "replicas": plan.chunk},
        "memory_bytes": {
            "data": need.fixed,
            "states": plan.bytes_used - need.fixed - need.running(plan.at_once),
            "working": need.running(plan.at_once),
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
    """Print a forecast as a table."""
    plan, need, calibration = forecast.plan, forecast.plan.need, forecast.calibration
    working = need.running(plan.at_once)
    rows = {
        "trials": f"{forecast.trials:,}",
        "parameters": f"{forecast.parameters:,} ({gibibytes(forecast.parameter_bytes)})",
        "operations": f"{forecast.operations:.3g} per epoch, {forecast.operations * forecast.epochs:.3g} in all",
        "shared out": str(plan),
        "memory of a device": f"{gibibytes(plan.bytes_used)}: data {gibibytes(need.fixed)}, states "
        f"{gibibytes(plan.bytes_used - need.fixed - working)}, at work {gibibytes(working)}",
        "checkpoint": gibibytes(forecast.checkpoint_bytes),
        "expected time": f"{duration(forecast.seconds)}: compilation {calibration.compile:.1f} s, "
        f"{counted(forecast.epochs, 'epoch')} of {forecast.epoch:.3g} s, final scores {forecast.evaluate:.1f} s",
    }
    headings, title = ("", "planned"), "Plan (nothing is trained or written)"
    print_table(console, headings, list(rows.items()), left=headings, prose="planned", title=title)
    steps = counted(calibration.minibatches, "minibatch", "minibatches")
    console.print(
        f"Measured in {calibration.seconds:.1f} s: {steps} of {counted(calibration.replicas, 'group')} of trials, "
        f"median of {counted(calibration.passes, 'time')}. Start-up, checkpoints and figures take extra time.",
        highlight=False,
        soft_wrap=not console.is_terminal,
    )


def duration(seconds: float) -> str:
    """Seconds as text."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def print_summary(console: Console, analysis: Analysis, config: dict[str, Any], environment: dict[str, Any]) -> None:
    """Print the closing table (scores by M, means ± standard deviations over seeds) and the answer."""
    others = references(config)
    settings = by_setting(analysis.rows)
    name = analysis.measure_name
    title = f"{config['dataset_name']}: {name}{' (%)' if name == 'accuracy' else ''}"
    title += f" after {counted(config['epochs'], 'epoch')}"
    names, shared = variant_names([row.variant for row in analysis.rows])
    setting = ("variant", "learning rate") if len(settings) > 1 else ()
    uneven = len({row.seeds + row.diverged for row in analysis.rows}) > 1
    headings = (*setting, "M", *(("seeds",) if uneven else ()), "parameters", "train", "validation", "test", *others)
    sections = []
    for (variant, rate), rows in settings.items():
        lines = []
        for row in rows:
            first = [names[variant], f"{rate:g}"] if len(settings) > 1 else []
            theirs = others.values() if variant == "sigmoid" and rate == 1e-3 else [{} for _ in others]
            scores = (_with_deviation(row, split, name) for split in ("train", "validation", "test"))
            held_against = (f"{100 * by[row.hidden_units]:.2f}" if row.hidden_units in by else "–" for by in theirs)
            units = [str(row.hidden_units), *([str(row.seeds)] if uneven else [])]
            lines.append((*first, *units, f"{row.parameters:,}", *scores, *held_against))
        sections.append(lines)
    drop = ("parameters", *reversed(others), "train")
    look: dict[str, Any] = {"left": ("variant",), "prose": "variant" if setting else None, "elsewhere": "trials.csv"}
    print_table(console, headings, *sections, title=title, drop=drop, then_drop=("test",), **look)
    for note in shared + _notes(analysis, config, environment):
        console.print(note, highlight=False, soft_wrap=not console.is_terminal)


def print_search(console: Console, trials: Table, config: dict[str, Any], environment: dict[str, Any]) -> None:
    """Print what a search found: its best configurations, its rungs, and the answer."""
    ranked = ranking(trials, config["epochs"])
    name = config["score_name"] if criterion(to_the_end(trials)).measure == "score" else "loss"
    names, shared = variant_names([each.point.variant for each in ranked])
    several = len(names) > 1
    headings = ("M", *(["variant"] if several else []), "learning rate", "epochs", "validation", "test")
    shown = ranked[:MOST_RANKED]
    rows = [
        (
            each.hidden_layers,
            *([names[each.point.variant]] if several else []),
            f"{each.point.learning_rate:.4g}",
            str(each.epochs),
            *(_with_deviation(each.point, split, name) for split in ("validation", "test")),
        )
        for each in shown
    ]
    title = f"{config['dataset_name']}: {name}{' (%)' if name == 'accuracy' else ''} when each was stopped"
    sections = [
        [row for row, each in zip(rows, shown, strict=True) if each.epochs == epochs] for epochs in _reached(shown)
    ]
    look: dict[str, Any] = {"left": ("variant",), "prose": "variant" if several else None, "elsewhere": "trials.csv"}
    print_table(console, headings, *sections, title=title, then_drop=("test",), **look)
    if len(ranked) > len(shown):
        console.print(f"{len(ranked) - len(shown)} more were stopped earlier or did worse: trials.csv", highlight=False)
    for each in rounds(trials):
        kept = f"{each.trained - each.stopped} of {counted(each.trained, 'configuration')}"
        console.print(f"After epoch {each.epoch}: {kept} went on.", highlight=False)
    seconds = environment["seconds"]
    spent = sum(seconds["epochs"]) + sum(seconds[part] for part in ("prepare", "compile", "evaluate", "saving"))
    answered = search_answer(ranked, trials, config)
    for note in (*shared, answered, f"It took {spent:.1f} s, {seconds['compile']:.1f} s of it to compile."):
        console.print(note, highlight=False, markup=False, soft_wrap=not console.is_terminal)


def _reached(ranked: Sequence[Ranked]) -> list[int]:
    """The epochs that these were trained, most first."""
    return sorted({each.epochs for each in ranked}, reverse=True)


def _with_deviation(row: Summary, split: str, name: str) -> str:
    """The mean and, if there is one, the standard deviation; accuracies in percent, without the sign."""
    column = f"{split}_{'loss' if name == 'loss' else 'score'}"
    mean, deviation = row.mean[column], row.deviation[column]
    if not row.seeds:
        return "diverged"
    text = number_text(mean, name)
    return text if np.isnan(deviation) else f"{text} ± {number_text(deviation, name)}"


def _notes(analysis: Analysis, config: dict[str, Any], environment: dict[str, Any]) -> tuple[str, ...]:
    """What is said below the table."""
    seeds, notes = sorted({row.seeds + row.diverged for row in analysis.rows}), []
    said = answer(analysis)
    notes += [said.short, *said.cautions]
    if seeds[-1] > 1:
        over = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else seeds[0]
        notes.append(f"Mean ± standard deviation over {over} seeds, of the finished models.")
    if any(row.hidden_units == 0 for row in analysis.rows):
        notes.append("M = 0 has no hidden layer.")
    if others := references(config):
        notes.append(f"{' and '.join(others)}: test {config['score_name']} of others' models, one run each.")
    notes += findings(analysis)
    seconds = environment["seconds"]
    notes.append(
        f"{sum(seconds['epochs']):.1f} s of training ({seconds['warm_epoch']:.2f} s per epoch, "
        f"{environment['examples_times_trials_per_second'] / 1e6:.2f} million examples × trials a second), "
        f"{seconds['compile']:.1f} s of compilation, on {environment['devices']} × {environment['device']}."
    )
    return tuple(notes)

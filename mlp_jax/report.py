"""The report of a run: one HTML page that needs nothing beside it, no network and no script.

What it says in words and tables is here too, for the terminal to say the same.
"""

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlp_jax.analysis import (
    Analysis,
    Interval,
    Step,
    Summary,
    Verdict,
    best_point,
    learning_caution,
    number_text,
    saturation_sentence,
    score_text,
    widest_caution,
)
from mlp_jax.recipe import Recipe
from mlp_jax.runs import recipe_of

if TYPE_CHECKING:
    from mlp_jax.plots import RunFigure

_MOST_SVG = 1_000_000  # bytes; a figure of more lines than that is embedded as PNG

CAPTIONS = {
    "accuracy-against-width": "Where validation and test, which no model was trained on, flatten, more hidden units "
    "stop helping. Choices look at validation.",
    "learning-curves": "How training went: where validation turns back while training goes on, it overfits.",
    "scores-against-parameters": "The same by what a model costs in parameters, with the loss beside the score.",
    "rate-by-width": "Whether every width wants the same learning rate.",
    "training-time": "What a width costs, and what training all of them together saves.",
    "predicted-against-true": "How far predictions are from the truth: on the dashed line they agree.",
    "confusion-matrix": "What is taken for what.",
    "mistakes": "The mistakes that the model is surest of.",
    "hidden-units": "Light: ink there excites the unit; dark: ink there inhibits it; grey: it makes no difference.",
}


class TextTable(NamedTuple):
    """A table of text.

    Attributes:
        title: what it holds.
        headings: one a column.
        rows: cells.
        notes: how to read it.
    """

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: tuple[str, ...]

    def _repr_html_(self) -> str:
        """As a notebook shows it."""
        return _table(self)


# Words and tables


def question(config: Mapping[str, Any]) -> str:
    """What the run was to find out."""
    widths, name = config["hidden_units"], config["dataset_name"]
    if len(widths) > 1:
        return f"How many hidden units does {name} need?"
    what = f"a perceptron with {widths[0]:,} hidden units" if widths[0] else "a model without a hidden layer"
    return f"How well does {what} do on {name}?"


class Answer(NamedTuple):
    """An answer, from the least that has to be read to the most.

    Attributes:
        short: a plain sentence.
        cautions: why not to believe it as it stands; often none.
        details: what it rests on, terms explained.
    """

    short: str
    cautions: tuple[str, ...]
    details: tuple[str, ...]

    def __str__(self) -> str:
        """The parts, a line each."""
        return "\n".join(" ".join(part) for part in ((self.short,), self.cautions, self.details) if part)


def answer(analysis: Analysis) -> Answer:
    """What it found out."""
    best = best_point([each.best for each in analysis.verdicts if each.best is not None])
    if best is None:
        return Answer("There is no answer: every trial diverged. Try lower learning rates.", (), ())
    name, several = analysis.score_name, len(analysis.verdicts) > 1
    verdict = next(each for each in analysis.verdicts if each.best is best)
    chosen = f"Best of {len(analysis.verdicts)} settings on validation: {_setting(best)}." if several else ""
    cautions = tuple(filter(None, (learning_caution(verdict), widest_caution(verdict))))
    if len(verdict.widths) == 1:
        return Answer(f"It reaches {_reached(best, name)}.", cautions, (chosen,) if several else ())
    compared = f"M is the number of hidden units, the width; widths are compared by their {name} on validation examples"
    details = [f"{compared}, which are kept from training for choices like this."]
    point = verdict.saturation
    if point is None or verdict.alike_from is None:
        short = (
            f"{best.hidden_units:,} hidden units did best of {len(verdict.widths)} numbers tried, but one seed (one "
        )
        short += "random start) cannot tell how much of that is luck."
    else:
        short = _in_short(verdict, point, best)
        details += [_by_rule(point, best, name), _seed_by_seed(verdict, best)]
    reached = [f"M = {row.hidden_units:,} reaches {_reached(row, name)}" for row in _distinct(point, best)]
    meant = (
        "" if np.isnan(best.margin("test_score")) else " An interval is where the mean over ever more seeds should lie."
    )
    details.append("; ".join(reached) + "." + meant)
    return Answer(short, cautions, tuple(filter(None, (*details, chosen))))


def _distinct(point: Summary | None, best: Summary) -> list[Summary]:
    return [best] if point is None or point is best else [point, best]


def _in_short(verdict: Verdict, point: Summary, best: Summary) -> str:
    """How many hidden units are needed, for somebody without statistics."""
    named, alike, top = point.hidden_units, verdict.alike_from or 0, best.hidden_units
    told = [width for width in verdict.widths if width < alike]
    luck = "we could not see a gain that is more than luck"
    more = "more seeds (--seeds) would tell"
    if alike == named and not told:
        return f"{named:,} hidden units or fewer: beyond, {luck}." if named else f"None: with a hidden layer {luck}."
    if not told:
        return f"It cannot be told: from M = {alike:,} hidden units to the best, M = {top:,}, {luck}; {more}."
    if alike < named:
        return f"Between {alike:,} and {named:,} hidden units: beyond {alike:,} {luck}; {more}."
    if alike > named:
        gain = f"from {told[-1]:,} to {top:,} there is a gain, small but more than luck"
        return f"Between {named:,} and {alike:,} hidden units: {gain}."
    if verdict.reached:
        return f"About {named:,} hidden units: beyond that {luck}."
    return f"As many as were tried, or more: {top:,} hidden units, the most, beat {told[-1]:,} by more than luck."


def _by_rule(point: Summary, best: Summary, name: str) -> str:
    """What the one-standard-error rule says."""
    means = "how unsure a mean is: the standard deviation over seeds, divided by the root of their number"
    smallest = f"the smallest whose mean validation {name} is within one standard error ({means}) of the best"
    said = f"By the one-standard-error rule it is M = {point.hidden_units:,}, {smallest}, M = {best.hidden_units:,}."
    if best.standard_error == 0:
        said += f" There all {best.seeds} seeds agree: a standard error of 0 says nothing of luck."
    return said


def _seed_by_seed(verdict: Verdict, best: Summary) -> str:
    """What the direct comparison with the best says."""
    alike, top, seeds = verdict.alike_from or 0, best.hidden_units, best.seeds
    told = [width for width in verdict.widths if width < alike]
    worse = f"M = {told[-1]:,} is worse by more than luck" if told else ""
    none = "none is" if told else "none is worse by more than luck"
    rest = f"from M = {alike:,} on {none}, with these {seeds} seeds" if alike < top else ""
    said = ", and ".join(filter(None, (worse, rest)))
    return f"Compared with it seed by seed (paired t test), {said}." if said else ""


def _reached(row: Summary, score_name: str) -> str:
    mean, margin = row.mean["test_score"], row.margin("test_score")
    text = f"a test {score_name} of {score_text(mean, score_name)}"
    if np.isnan(margin):
        return text
    unit = " %" if score_name == "accuracy" else ""
    return f"{text} (95 % interval {_span(_about(mean, margin, score_name), score_name)}{unit} over {row.seeds} seeds)"


def _about(mean: float, margin: float, score_name: str) -> Interval:
    """The interval of a mean; an accuracy's ends at 0 and 100 %."""
    interval = Interval(mean - margin, mean + margin)
    return Interval(max(interval.low, 0.0), min(interval.high, 1.0)) if score_name == "accuracy" else interval


def findings(analysis: Analysis) -> list[str]:
    """What else the run says, a sentence each: saturation by setting if there are several, rates, what diverged."""
    said = []
    if len(analysis.verdicts) > 1:
        for verdict in analysis.verdicts:
            words = [saturation_sentence(verdict) if len(verdict.widths) > 1 else "", learning_caution(verdict)]
            if any(words):
                said.append(f"Saturation ({_setting(verdict)}): {' '.join(filter(None, words))}")
    for test in analysis.interactions:
        depends = "depends" if test.p_value < 0.05 else "was not found to depend"
        said.append(
            f"The effect of the learning rate {depends} on the width ({test.activation}): analysis of variance, "
            f"F({test.degrees[0]}, {test.degrees[1]}) = {test.f:.3g}, {_p_value(test.p_value, of=True)}."
        )
    trials = sum(row.seeds + row.diverged for row in analysis.rows)
    if diverged := sum(row.diverged for row in analysis.rows):
        said.append(f"{diverged:,} of {trials:,} trials diverged and {'is' if diverged == 1 else 'are'} left out.")
    return said


def tables(analysis: Analysis) -> list[TextTable]:
    """By width; what each step gains; what the best has over each; the best learning rates, where there are several."""
    found = [_width_table(analysis)]
    if analysis.gains:
        found += [_gain_table(analysis), _best_table(analysis)]
    if analysis.best_rates:
        found.append(_rate_table(analysis))
    return found


def _width_table(analysis: Analysis) -> TextTable:
    name = analysis.score_name
    sampled = not all(np.isnan(interval).all() for interval in analysis.sampling)
    spread = any(row.seeds > 1 for row in analysis.rows)
    headings = ["M", "test", *(["SD", "95 % over seeds"] if spread else [])]
    headings += [*(["95 % of the test set"] if sampled else []), "validation", "best epoch", "parameters", "seeds"]
    headings += ["epoch alone (s)"] if analysis.seconds_alone else []
    lines = []
    for row, epoch, interval in zip(analysis.rows, analysis.best_epoch, analysis.sampling, strict=True):
        mean, margin = row.mean["test_score"], row.margin("test_score")
        line = [f"{row.hidden_units:,}", number_text(mean, name)]
        if spread:
            line.append(number_text(row.deviation["test_score"], name))
            line.append(_span(_about(mean, margin, name), name))
        line += [_span(interval, name)] if sampled else []
        line += [number_text(row.mean["validation_score"], name), "–" if np.isnan(epoch) else f"{epoch:g}"]
        line += [f"{row.parameters:,}", str(row.seeds) + (f" of {row.seeds + row.diverged}" if row.diverged else "")]
        if analysis.seconds_alone:
            seconds = analysis.seconds_alone.get(row.hidden_units)
            line.append("–" if seconds is None else f"{seconds:.3f}")
        lines.append(line)
    notes = ["SD: standard deviation over seeds. 95 % over seeds: Student's t interval of the mean."] if spread else []
    if sampled:
        notes.append("95 % of the test set: Wilson's interval, what another test set of the same size might say.")
    notes.append(f"Best epoch: that of the best validation score{', the median over seeds' if spread else ''}.")
    return _by_setting_table(f"{_unit(name)} by width", headings, lines, analysis.rows, notes)


_PAIRED = (
    "Paired over {seeds}, which share minibatches and the keys of initial weights: gain is the mean difference, 95 % "
    "Student's t interval of it, p that of its being 0 in the mean, not corrected for the number of comparisons."
)
_TOLD = {None: "–", True: "yes", False: "cannot be told"}


def _gain_table(analysis: Analysis) -> TextTable:
    name = analysis.score_name
    lines, headings, note = _compared(analysis.gains, "step in M", name)
    headings.append("test gain")
    for line, on_test in zip(lines, analysis.test_gains, strict=True):
        line.append(_signed(on_test.gain, name))
    return _by_setting_table("What each step gains", headings, lines, analysis.gains, [note])


def _best_table(analysis: Analysis) -> TextTable:
    lines, headings, _ = _compared(analysis.against_best, "from M to the best", analysis.score_name)
    note = "Paired likewise. The best was chosen by the same scores, which flatters it a little."
    return _by_setting_table("What the best has over each", headings, lines, analysis.against_best, [note])


def _compared(steps: list[Step], what: str, score_name: str) -> tuple[list[list[str]], list[str], str]:
    """Lines, headings and note of a table of paired comparisons; seeds are a column where they differ."""
    counts = {step.seeds for step in steps}
    points = "points" if score_name == "accuracy" else score_name
    headings = [what, f"gain ({points})", "more than chance?", "95 %", "p", *(["seeds"] if len(counts) > 1 else [])]
    lines = [
        [
            "{:,} → {:,}".format(*step.hidden_units),
            _signed(step.gain, score_name),
            _TOLD[step.distinguishable],
            _span(step.interval, score_name, signed=True),
            _p_value(step.p_value),
            *([str(step.seeds)] if len(counts) > 1 else []),
        ]
        for step in steps
    ]
    seeds = "seeds" if len(counts) > 1 else f"{counts.pop()} seeds"
    return lines, headings, _PAIRED.format(seeds=seeds)


def _rate_table(analysis: Analysis) -> TextTable:
    several = len({best.activation for best in analysis.best_rates}) > 1
    lines: list[tuple[str, ...]] = []
    for best in analysis.best_rates:
        near = "–" if best.as_good is None else ", ".join(f"{rate:g}" for rate in best.as_good) or "none"
        activation = (best.activation,) if several else ()
        lines.append((*activation, f"{best.hidden_units:,}", f"{best.learning_rate:g}", near))
    headings = (*(("activation",) if several else ()), "M", "best learning rate", "within one standard error")
    return TextTable("Best learning rate by width, on validation", headings, lines, ())


def _by_setting_table(
    title: str, headings: list[str], lines: list[list[str]], points: Sequence[Summary | Step], notes: list[str]
) -> TextTable:
    """With the columns activation and learning rate in front where they differ, setting by setting."""
    columns = []
    if len({point.activation for point in points}) > 1:
        columns.append(("activation", [point.activation for point in points]))
    if len({point.learning_rate for point in points}) > 1:
        columns.append(("learning rate", [f"{point.learning_rate:g}" for point in points]))
    heads = (*(name for name, _ in columns), *headings)
    rows = [(*(values[i] for _, values in columns), *line) for i, line in enumerate(lines)]
    settings = list(dict.fromkeys((point.activation, point.learning_rate) for point in points))
    order = sorted(range(len(rows)), key=lambda i: settings.index((points[i].activation, points[i].learning_rate)))
    rows = [rows[i] for i in order]
    return TextTable(title, heads, rows, tuple(notes))


def _setting(row: Summary | Verdict) -> str:
    return f"{row.activation}, learning rate {row.learning_rate:g}"


def _unit(score_name: str) -> str:
    return "Accuracy (%)" if score_name == "accuracy" else score_name


def _signed(value: float, score_name: str) -> str:
    text = number_text(value, score_name)
    return text if text.startswith(("−", "–")) else f"+{text}"


def _span(interval: Interval, score_name: str, *, signed: bool = False) -> str:
    if np.isnan(interval.low):
        return "–"
    write = _signed if signed else number_text
    return f"{write(interval.low, score_name)} to {write(interval.high, score_name)}"


def _p_value(p: float, *, of: bool = False) -> str:
    if np.isnan(p):
        return "–"
    text = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return (f"p {text}" if p < 0.001 else f"p = {text}") if of else text


# How to run it again


def rerun(config: Mapping[str, Any]) -> str:
    """The command that runs it again, or the Python where the command line has no options for what was asked."""
    recipe, seeds = recipe_of(config), [int(seed) for seed in config["seeds"]]
    usual = Recipe(epochs=recipe.epochs, batch_size=recipe.batch_size, precision=recipe.precision)
    if recipe != usual or seeds != list(range(seeds[0], seeds[0] + len(seeds))):
        return _rerun_python(config, recipe)
    parts = ["mlp-jax", "sweep", "--dataset", str(config["dataset"])]
    parts += ["--hidden-units", *map(str, config["hidden_units"])]
    parts += ["--activations", *map(str, config["activations"])]
    parts += ["--learning-rates", *map(str, config["learning_rates"])]
    parts += ["--seeds", str(len(seeds)), "--first-seed", str(seeds[0])]
    parts += ["--epochs", str(recipe.epochs), "--batch-size", str(recipe.batch_size)]
    parts += ["--layout", str(config["layout"]), "--dtype", str(config["dtype"]), "--precision", recipe.precision]
    parts += [] if config["use_bias"] else ["--no-use-bias"]
    return ("JAX_ENABLE_X64=1 " if config["dtype"] == "float64" else "") + shlex.join(parts)


def _rerun_python(config: Mapping[str, Any], recipe: Recipe) -> str:
    names = ("hidden_units", "activations", "learning_rates", "seeds")
    grid = ", ".join(f"{name}={list(config[name])!r}" for name in names)
    rest = ", ".join(f"{name}={config[name]!r}" for name in ("layout", "use_bias", "dtype"))
    return (
        "import mlp_jax\n\n"
        f"dataset = mlp_jax.load_dataset({config['dataset']!r})\n"
        f"grid = mlp_jax.Grid({grid})\n"
        f"recipe = mlp_jax.{recipe!r}\n"
        f"result = mlp_jax.sweep(grid, dataset, recipe=recipe, {rest})"
    )


def how_it_was_run(config: Mapping[str, Any], environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Configuration and environment as names and values, to be read."""
    sizes = ", ".join(f"{split} {count:,}" for split, count in config.get("examples", {}).items())
    seconds, versions = environment.get("seconds", {}), environment.get("versions", {})
    trained = f"{sum(seconds['epochs']):.1f} s" if "epochs" in seconds else ""
    epoch = f"{seconds['warm_epoch']:.2f} s an epoch of all trials" if "warm_epoch" in seconds else ""
    compiled = f"{seconds['compile']:.1f} s of compilation" if "compile" in seconds else ""
    device = f"{environment.get('devices', 1)} × {environment.get('device', 'unknown')}"
    cores = f"{environment['cpu_count']} CPU cores" if environment.get("cpu_count") else ""
    adam = ", ".join(f"{name} {config[name]:g}" for name in ("beta1", "beta2", "epsilon"))
    listed = {name: ", ".join(map(str, config[name])) for name in ("hidden_units", "activations", "seeds")}
    pairs = [
        ("Data set", f"{config['dataset_name']} ({config['dataset']})"),
        ("Examples", sizes),
        ("SHA-256 of the data", str(config["dataset_digest"])),
        ("Task", str(config["task"])),
        ("Hidden units M", listed["hidden_units"]),
        ("Activations", listed["activations"]),
        ("Learning rates", ", ".join(f"{rate:g}" for rate in config["learning_rates"])),
        ("Seeds", listed["seeds"]),
        ("Recipe", f"{config['epochs']} epochs, batches of {config['batch_size']}, Adam ({adam})"),
        ("Biases", "yes" if config["use_bias"] else "no"),
        ("Layout", str(config["layout"])),
        ("Precision", f"{config['dtype']}, first layers' products from {recipe_of(config).precision}"),
        ("Device", _listed(device, cores, str(environment.get("platform", "")))),
        ("Time", _listed(trained, epoch, compiled)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, value) for name, value in pairs if value]


def _listed(*parts: str) -> str:
    return ", ".join(filter(None, parts))


# The page

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #5a5a5a; --rule: #d9d9d9; --tint: #f4f4f2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --paper: #17181a; --soft: #a9a9a6; --rule: #3a3b3e; --tint: #222326; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
.answer { font-size: 1.15rem; margin: 0 0 1rem; padding: .8rem 1rem; background: var(--tint);
  border-left: .3rem solid #2a6f8e; }
.caution { margin: 0 0 1rem; padding: .6rem 1rem; border-left: .3rem solid #c77700; font-weight: 600; }
.scroll { overflow-x: auto; }
div.table { background: linear-gradient(90deg, var(--paper) 60%, transparent) 0 0 / 2rem 100% no-repeat local,
  linear-gradient(270deg, var(--paper) 60%, transparent) 100% 0 / 2rem 100% no-repeat local,
  linear-gradient(90deg, var(--soft), transparent) 0 0 / .8rem 100% no-repeat,
  linear-gradient(270deg, var(--soft), transparent) 100% 0 / .8rem 100% no-repeat, var(--paper); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 2px solid var(--soft); font-weight: 600; vertical-align: bottom;
  white-space: normal; }
ul { padding-left: 1.2rem; }
li { margin: .3rem 0; }
.note { color: var(--soft); font-size: .9rem; margin: .5rem 0; }
figure { margin: 1.2rem 0 2rem; }
figure .scroll { background: #fff; border-radius: .3rem; }
img { display: block; width: 100%; height: auto; cursor: zoom-in; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
input.zoom { position: absolute; opacity: 0; }
input.zoom:checked + img { width: 60rem; max-width: none; cursor: zoom-out; }
label:focus-within { outline: 2px solid #2a6f8e; display: block; }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .3rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
pre { overflow-x: auto; padding: .8rem 1rem; background: var(--tint); font-size: .9rem; overflow-wrap: normal; }
.narrow { display: none; }
@media (max-width: 40rem) {
  .narrow { display: block; }
  dl { display: block; }
  dd { margin: 0 0 .6rem; }
}
"""


def page(
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    analysis: Analysis,
    figures: Iterable["RunFigure"],
    notes: Sequence[str] = (),
) -> str:
    """The page, as HTML: question, answer, figures and tables, how it was run, how to run it again.

    Args:
        config: of the run.
        environment: that it ran in.
        analysis: of its trials.
        figures: of ``mlp_jax.plots.run_figures``, embedded one after another.
        notes: on the figures, such as why some are missing.
    """
    asked = _text(question(config))
    drawn = [_figure(figure) for figure in figures]
    first, *others = map(_table, tables(analysis))
    said = answer(analysis)
    facts = "".join(
        f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in how_it_was_run(config, environment)
    )
    parts = [
        "<header>",
        f"<h1>{asked}</h1>",
        f'<p class="answer">{_text(said.short)}</p>',
        f'<p class="caution">{_text(" ".join(said.cautions))}</p>' if said.cautions else "",
        _list(said.details),
        "</header>",
        "<main>",
        '<p class="note narrow">Tap a figure to enlarge it, and once more to fit it to the screen.</p>',
        '<p class="note narrow">A table whose edge is shaded goes on there: swipe it.</p>',
        *drawn[:1],
        first,
        _list(findings(analysis)),
        *others,
        "<h2>More figures</h2>" if drawn[1:] else "",
        *(f'<p class="note">{_text(note)}</p>' for note in notes),
        *drawn[1:],
        "<h2>How it was run</h2>",
        f"<dl>{facts}</dl>",
        "<h2>How to run it again</h2>",
        f'<pre tabindex="0"><code>{_text(rerun(config))}</code></pre>',
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{asked}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(filter(None, parts))
    ) + "\n</body>\n</html>\n"


def _text(text: str) -> str:
    """Text as HTML; a number and its percent sign stay together."""
    return escape(text).replace(" %", "&nbsp;%")


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _figure(drawn: "RunFigure") -> str:
    from mlp_jax.plots.style import encode

    kind, data = "svg+xml", encode(drawn.figure, "svg")
    if len(data) > _MOST_SVG:
        kind, data = "png", encode(drawn.figure, "png")
    width, height = (round(96 * inches) for inches in drawn.figure.get_size_inches())
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    # A figure is enlarged by a checkbox that nobody sees, so that it needs no script.
    return (
        '<figure><div class="scroll"><label><input type="checkbox" class="zoom" aria-label="Enlarge the figure">'
        f'<img src="{source}" width="{width}" height="{height}" alt="{_text(drawn.alt)}"></label></div>'
        f"<figcaption>{_text(CAPTIONS.get(drawn.name, drawn.name))}</figcaption></figure>"
    )


def _table(table: TextTable) -> str:
    title = _text(table.title)
    head = "".join(f'<th scope="col">{_text(heading)}</th>' for heading in table.headings)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in table.notes)
    return (
        f'<h2>{title}</h2>\n<div class="scroll table" role="region" aria-label="{title}" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n{notes}"
    )

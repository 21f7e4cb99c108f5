"""What an analysis says, in words and in tables of text: the same in a terminal, a notebook and the report."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.analysis import Analysis, Interval, Step, Summary, Verdict, best_point, number_text, score_text


def as_html(text: str) -> str:
    """Text as HTML; a number and its percent sign stay together."""
    return escape(text).replace(" %", "&nbsp;%")


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

    def html(self) -> str:
        """As a page or a notebook shows it."""
        title = as_html(self.title)
        head = "".join(f'<th scope="col">{as_html(heading)}</th>' for heading in self.headings)
        body = "".join(f"<tr>{''.join(f'<td>{as_html(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        notes = "".join(f'<p class="note">{as_html(note)}</p>' for note in self.notes)
        return (
            f'<h2>{title}</h2>\n<div class="scroll table" role="region" aria-label="{title}" tabindex="0"><table>'
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n{notes}"
        )

    def _repr_html_(self) -> str:
        return self.html()


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


def saturation_sentence(verdict: Verdict) -> str:
    """Where the curve of a setting saturates, in words."""
    point, best = verdict.saturation, verdict.best
    if best is None:
        return "every trial diverged."
    if point is None:
        return "needs two seeds or more."
    if verdict.reached:
        said = f"at M = {point.hidden_units}, the smallest within one standard error of the best on validation"
        said += f" (M = {best.hidden_units})" if best is not point else ""
    else:
        said = f"none up to M = {point.hidden_units}; the widest is the best on validation"
    alike = verdict.alike_from
    if alike is not None and alike < point.hidden_units:
        return f"{said}, but from M = {alike} on none is worse by more than luck, seed by seed; more seeds would tell."
    if alike is not None and alike > point.hidden_units:
        worse = max(width for width in verdict.widths if width < alike)
        return f"{said}, but seed by seed M = {worse} is worse than the best by more than luck."
    return f"{said}."


def learning_caution(verdict: Verdict) -> str:
    """That training was too short for a verdict, in words; empty if it was not."""
    if not verdict.still_learning:
        return ""
    slow = verdict.still_learning
    which = "" if len(slow) == len(verdict.widths) else f" with {_range(slow)} hidden units"
    return f"Still learning at the last epoch{which}: train longer (--epochs) before believing this."


def widest_caution(verdict: Verdict) -> str:
    """That wider ones might be better still, in words; empty if the widest is not the best."""
    if not verdict.widest_is_best:
        return ""
    return f"The most that were tried, {verdict.widths[-1]}, did best; more were not tried, and may be better."


def _range(widths: tuple[int, ...]) -> str:
    return ", ".join(map(str, widths)) if len(widths) < 4 else f"{widths[0]} to {widths[-1]}"

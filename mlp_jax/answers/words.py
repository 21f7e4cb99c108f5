"""An analysis in words and in tables of text: the same in a terminal, a notebook and the report."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

import numpy as np

from mlp_jax.answers.analysis import Analysis, Step, Summary, Verdict, best_point, bounded, number_text, score_text
from mlp_jax.answers.rows import MOST_SETTINGS
from mlp_jax.answers.variation import Interval
from mlp_jax.runs.tables import LAYERS, layers_text, shared_parts, without
from mlp_jax.sweeps.plan import counted


def as_html(text: str) -> str:
    """Text as HTML; a number and its percent sign are not separated."""
    return escape(text).replace(" %", "&nbsp;%")


class TextTable(NamedTuple):
    """A table of text.

    Attributes:
        title: its title.
        headings: one per column.
        rows: cells.
        notes: how to read it.
    """

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: tuple[str, ...]

    def html(self) -> str:
        """The table as HTML, for a page or a notebook."""
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
    """The question that the run was to answer."""
    widths, name = config["hidden_units"], config["dataset_name"]
    if len(widths) > 1:
        return f"How many hidden units does {name} need?"
    (only,) = widths
    units = f"{only:,}" if isinstance(only, int) else layers_text(tuple(only))
    what = f"a perceptron with {units} hidden units" if only else "a model without a hidden layer"
    return f"How well does {what} do on {name}?"


class Answer(NamedTuple):
    """An answer, from the shortest form to the details.

    Attributes:
        short: one plain sentence.
        cautions: reasons not to take it at face value; often none.
        details: what it is based on, with terms explained.
    """

    short: str
    cautions: tuple[str, ...]
    details: tuple[str, ...]

    def __str__(self) -> str:
        """The parts, one per line."""
        return "\n".join(" ".join(part) for part in ((self.short,), self.cautions, self.details) if part)


def answer(analysis: Analysis) -> Answer:
    """The answer that the run gives."""
    best = best_point([each.best for each in analysis.verdicts if each.best is not None])
    if best is None:
        return Answer("There is no answer: every trial diverged. Try lower learning rates.", (), ())
    name, several = analysis.measure_name, len(analysis.verdicts) > 1
    verdict = next(each for each in analysis.verdicts if each.best is best)
    at = f"Best of {len(analysis.verdicts)} settings on validation: {_setting(best)}." if several else ""
    what = "the number of hidden units, the width"
    if LAYERS in best.axes:
        what = "the number of units in the first hidden layer"
        at = at or f"Networks: {best.variant}."
    cautions = [undefined_note(analysis), learning_caution(verdict)]
    short = no_better_than_guessing(verdict, analysis)
    if len(verdict.widths) == 1:
        said = f"It reaches {_reached(best, analysis)}."
        return Answer(_joined(short, said), _some(cautions), _some([analysis.search.get("answer", ""), at]))
    short = _joined(short, how_many(verdict, analysis))
    compared = f"M is {what}; widths are compared by their {name} on validation examples"
    details = [
        analysis.search.get("answer", ""),
        f"{compared}, which are kept from training for choices like this.",
        at,
        _by_rule(verdict, name),
        _luck(analysis, verdict),
    ]
    points = [best] if verdict.enough in (None, best) else [verdict.enough, best]
    reached = [f"M = {row.hidden_units:,} reaches {_reached(row, analysis)}" for row in points if row]
    return Answer(short, _some(cautions), _some([*details, "; ".join(reached) + "."]))


def _joined(*sentences: str) -> str:
    return " ".join(filter(None, sentences))


def _some(sentences: Sequence[str]) -> tuple[str, ...]:
    return tuple(filter(None, sentences))


def how_many(verdict: Verdict, analysis: Analysis) -> str:
    """How many hidden units a setting needs, in words without statistics, and what that is based on."""
    name, best, widths = analysis.measure_name, verdict.best, verdict.widths
    if best is None:
        return "Every trial diverged."
    top, ending = best.hidden_units, widest_caution(verdict)
    rate = f", at the one learning rate tried, {best.learning_rate:g}" if len(analysis.learning_rates) == 1 else ""
    basis = f"That rests on validation ({_counts(best, analysis, 'validation')}){rate}."
    if verdict.enough is None or verdict.alike_from is None:
        luck = "but one seed (one random start) cannot tell how much of that is luck."
        return _joined(f"{_units(top)} did best of {len(widths)} numbers tried, {luck}", basis, ending)
    named, alike = verdict.enough.hidden_units, verdict.alike_from
    fewer = max((width for width in widths if width < alike), default=None)
    pairs, on_test = verdict.beyond, verdict.test_beyond
    if fewer is None and alike == top:
        said = f"{_units(top)} did best, the fewest that were tried: no gain beyond is more than luck"
    elif fewer is None or alike < named == widths[-1]:
        pairs, on_test = _from(alike, verdict.against_best), _from(alike, verdict.test_against_best)
        few = f"{fewer:,} are too few" if fewer else "none is too few"
        lead = f"{few}, but whether more than {alike:,} hidden units help cannot be told"
        if fewer is None:
            what = f"more than {alike:,} hidden units help" if alike else "a hidden layer helps"
            lead = f"It cannot be told whether {what}"
        said = f"{lead[0].upper()}{lead[1:]}: M = {top:,}, the best, is not better than M = {alike:,} by more than luck"
    elif named == widths[-1]:
        pairs, on_test = [], _from(fewer, verdict.test_against_best)
        said = f"As many as were tried, or more: {named:,} hidden units, the most, beat {fewer:,} by more than luck"
    else:
        lead = f"About {named:,} hidden units" if alike == named else f"Between {alike:,} and {named:,} hidden units"
        said = f"{lead}: {fewer:,} are worse by more than luck; beyond {named:,} no gain is more than luck"
    if known := [step.interval.high for step in pairs if not np.isnan(step.interval.high)]:
        most = amount_text(max(0.0, *known), name)
        said += (
            f", but {'a loss lower by up to' if name == 'loss' else 'up to'} {most}{'' if name == 'loss' else ' more'} "
        )
        said += "cannot be ruled out"
    return _joined(f"{said}.", basis, _on_test(on_test, name), ending)


def _units(width: int) -> str:
    return f"{width:,} hidden units" if width else "No hidden layer"


def _from(width: int, steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if step.hidden_units[0] == width]


def _on_test(steps: Sequence[Step], name: str) -> str:
    """What the test split says about the greatest of these gains."""
    known = [step for step in steps if not np.isnan(step.interval.low)]
    if not known:
        return ""
    told = [step for step in known if step.interval.low > 0]
    most = max(told or known, key=lambda step: step.gain)
    lesser, greater = most.hidden_units
    gain = f"{greater:,} have {signed_text(most.gain, name)}{points_text(name)} over {lesser:,}"
    if name == "loss":
        gain = f"the loss of {greater:,} is lower than that of {lesser:,} by {number_text(most.gain, name)}"
    luck = "is more than luck" if told else "is worse by more than luck" if most.interval.high < 0 else "could be luck"
    return f"On test, which had no say in this, {gain} ({span_text(most.interval, name, signed=True)}), which {luck}."


def _counts(row: Summary, analysis: Analysis, split: str) -> str:
    """The numbers of seeds and examples that a mean is taken over."""
    said = [counted(row.seeds, "seed")]
    if split in analysis.examples:
        said.append(counted(analysis.examples[split], "example"))
    return ", ".join(said)


def points_text(name: str) -> str:
    """The unit of a difference in a measure, behind a number."""
    return {"accuracy": " points", "loss": ""}.get(name, f" of {name}")


def amount_text(value: float, name: str) -> str:
    """An amount of a measure: points of an accuracy, R², or loss."""
    return f"{number_text(value, name)}{points_text(name)}"


def _luck(analysis: Analysis, verdict: Verdict) -> str:
    """What counts as luck."""
    if verdict.enough is None:
        return ""
    of = "other seeds alone" if analysis.sure_of == "seeds" else "other seeds and other examples"
    said = f"Luck is what {of} might change; what is more than luck is so at 95 %, for all pairs of widths together"
    said += (
        f" and all {analysis.looks} looks at which no more seeds might have been added." if analysis.looks > 1 else "."
    )
    if analysis.sure_of.endswith("independently)"):
        said += (
            " What each example makes is not known of this run: models count as if they were wrong independently of "
        )
        said += "each other, which makes intervals of gains too wide."
    if analysis.sure_of == "seeds":
        said += " How few the validation examples are does not count here, as it is not known what each of them makes."
    return said


def _by_rule(verdict: Verdict, name: str) -> str:
    """What the one-standard-error rule says."""
    point, best = verdict.enough, verdict.best
    if point is None or best is None or point is best:
        return ""
    step = next(each for each in verdict.against_best if each.hidden_units[0] == point.hidden_units)
    return (
        f"M = {point.hidden_units:,} is the smallest width within one standard error of the best, M = "
        f"{best.hidden_units:,}: that gains {amount_text(step.gain, name)} on validation, and so unsure is this "
        f"difference (± {amount_text(step.standard_error, name)})."
    )


def no_better_than_guessing(verdict: Verdict, analysis: Analysis) -> str:
    """A warning if the best width does not beat the trivial guess by more than luck; empty if it does."""
    guess, best = verdict.guess.get("validation"), verdict.best
    if guess is None or best is None or guess.beaten or np.isnan(guess.interval.low):
        return ""
    name = analysis.measure_name
    trivial = "the commonest class" if analysis.score_name == "accuracy" else "the mean of the training targets"
    which = "The model is not" if len(verdict.widths) == 1 else "No width is"
    mean = best.merit if name != "loss" else -best.merit
    return (
        f"{which} better by more than luck than always answering {trivial}, whose validation {name} is "
        f"{score_text(guess.score, name)}; the best, M = {best.hidden_units:,}, has {score_text(mean, name)}"
        f"{_in_plain_words(mean, name)}."
    )


def _in_plain_words(score: float, name: str) -> str:
    """What an R² below 0 means."""
    if name != "R²" or not score < 0:
        return ""
    return f" (squared errors {1 - score:.3g} times as great as if all answers were the mean of these targets)"


def undefined_note(analysis: Analysis) -> str:
    """Where a score cannot be computed, and why; empty if all can."""
    if not analysis.undefined:
        return ""
    where = " and ".join(f"{split} ({why})" for split, why in analysis.undefined.items())
    said = f"{analysis.score_name} cannot be computed on {where}"
    return f"{said}: choices look at the loss." if analysis.measure_name == "loss" else f"{said}."


def _reached(row: Summary, analysis: Analysis) -> str:
    name = analysis.measure_name
    mean, interval = row.mean["test_loss" if name == "loss" else "test_score"], bounded(row.interval["test"], name)
    if np.isnan(mean):
        return f"a test {name} that cannot be computed"
    text = f"a test {name} of {score_text(mean, name)}{_in_plain_words(mean, name)}"
    if np.isnan(interval.low):
        return text
    unit = " %" if name == "accuracy" else ""
    return f"{text} (95 % interval {span_text(interval, name)}{unit}, {_counts(row, analysis, 'test')})"


def findings(analysis: Analysis) -> list[str]:
    """Further findings, one sentence each: units by setting if there are several, learning rates, what diverged."""
    said = []
    best = {verdict.setting for verdict in sorted(analysis.verdicts, key=_merit, reverse=True)[:MOST_SETTINGS]}
    if len(analysis.verdicts) > 1:
        for verdict in (each for each in analysis.verdicts if each.setting in best):
            words = [how_many(verdict, analysis) if len(verdict.widths) > 1 else "", learning_caution(verdict)]
            if any(words):
                said.append(f"{_setting(verdict)}: {_joined(*words)}")
        if (count := len(analysis.verdicts)) > len(best):
            said.append(f"These are the {len(best)} best on validation of {count} settings: the tables have all.")
    for test in (each for each in analysis.interactions if each.variant in {variant for variant, _ in best}):
        depends = "depends" if test.p_value < 0.05 else "was not found to depend"
        said.append(
            f"The effect of the learning rate {depends} on the width ({test.variant}): analysis of variance, "
            f"F({test.degrees[0]}, {test.degrees[1]:.0f}) = {test.f:.3g}, {p_text(test.p_value, of=True)}."
        )
    trials = sum(row.seeds + row.diverged for row in analysis.rows)
    if diverged := sum(row.diverged for row in analysis.rows):
        said.append(f"{diverged:,} of {trials:,} trials diverged and {'is' if diverged == 1 else 'are'} left out.")
    return said


def tables(analysis: Analysis) -> list[TextTable]:
    """Tables: scores by width; gains of steps, of the best and of wider ones over others; best learning rates."""
    found = [_width_table(analysis)]
    if analysis.steps("gains"):
        found += [
            _gain_table(analysis, "gains", "step in M", "What each step gains"),
            _gain_table(analysis, "against_best", "from M to the best", "What the best has over each"),
        ]
    shown = {(each.hidden_units, each.setting) for each in analysis.steps("against_best")}
    if any((each.hidden_units, each.setting) not in shown for each in analysis.steps("beyond")):
        found.append(
            _gain_table(analysis, "beyond", "from M to wider", "What wider ones have over the smallest enough")
        )
    if analysis.best_rates:
        found.append(_rate_table(analysis))
    return found


def _width_table(analysis: Analysis) -> TextTable:
    name, column = analysis.measure_name, "loss" if analysis.measure_name == "loss" else "score"
    spread = any(row.seeds > 1 for row in analysis.rows)
    sure = not all(np.isnan(row.interval["test"].low) for row in analysis.rows)
    headings = ["M", "test", *(["95 %"] if sure else []), *(["SD over seeds"] if spread else [])]
    headings += ["validation", "best epoch", "parameters", "seeds"]
    headings += ["epoch alone (s)"] if analysis.seconds_alone else []
    lines = []
    for row, epoch in zip(analysis.rows, analysis.best_epoch, strict=True):
        line = [f"{row.hidden_units:,}", number_text(row.mean[f"test_{column}"], name)]
        line += [span_text(bounded(row.interval["test"], name), name)] if sure else []
        line += [number_text(row.deviation[f"test_{column}"], name)] if spread else []
        line += [number_text(row.mean[f"validation_{column}"], name), "–" if np.isnan(epoch) else f"{epoch:g}"]
        line += [f"{row.parameters:,}", str(row.seeds) + (f" of {row.seeds + row.diverged}" if row.diverged else "")]
        if analysis.seconds_alone:
            seconds = analysis.seconds_alone.get(row.hidden_units)
            line.append("–" if seconds is None else f"{seconds:.3f}")
        lines.append(line)
    notes = []
    if sure:
        of = analysis.sure_of if spread else "examples"
        notes.append(f"95 %: where the mean test {name} may lie, by the luck of {of}. It is no comparison of widths.")
    if spread:
        notes.append("SD over seeds: standard deviation of the test figure.")
    best = f"Best epoch: that of the best validation {name}{', the median over seeds' if spread else ''}."
    unit = "Accuracy (%)" if name == "accuracy" else name
    return _by_setting_table(f"{unit} by width", headings, lines, analysis.rows, [*notes, best])


TOLD = {None: "–", True: "yes", False: "cannot be told"}


def _gain_table(analysis: Analysis, which: str, what: str, title: str) -> TextTable:
    """A table of comparisons on validation and, beside them, on test; seeds are a column where they differ."""
    name, steps, on_test = analysis.measure_name, analysis.steps(which), analysis.steps(f"test_{which}")
    counts = {step.seeds for step in steps}
    points = "points" if name == "accuracy" else name
    headings = [what, f"gain ({points})", "more than chance?", "95 %", "p", *(["seeds"] if len(counts) > 1 else [])]
    headings += ["test gain", "95 % on test"]
    lines = [
        [
            "{:,} → {:,}".format(*step.hidden_units),
            signed_text(step.gain, name),
            TOLD[step.distinguishable],
            span_text(step.interval, name, signed=True),
            p_text(step.p_value),
            *([str(step.seeds)] if len(counts) > 1 else []),
            signed_text(test.gain, name),
            span_text(test.interval, name, signed=True),
        ]
        for step, test in zip(steps, on_test, strict=True)
    ]
    lower = ", by how much the loss is lower" if name == "loss" else ""
    note = (
        f"Gain: mean difference of validation {name}{lower}, by seed and example. 95 % and p: by the luck of "
        f"{analysis.sure_of}, for all pairs of widths together{_at_looks(analysis)} (Bonferroni)."
    )
    return _by_setting_table(title, headings, lines, steps, [note])


def _at_looks(analysis: Analysis) -> str:
    return f" at {analysis.looks} looks" if analysis.looks > 1 else ""


def _rate_table(analysis: Analysis) -> TextTable:
    names, shared = variant_names([best.variant for best in analysis.best_rates])
    lines: list[tuple[str, ...]] = []
    for best in analysis.best_rates:
        near = "–" if best.as_good is None else ", ".join(f"{rate:g}" for rate in best.as_good) or "none"
        variant = (names[best.variant],) if len(names) > 1 else ()
        lines.append((*variant, f"{best.hidden_units:,}", f"{best.learning_rate:g}", near))
    headings = (*(("variant",) if len(names) > 1 else ()), "M", "best learning rate", "within one standard error of it")
    return TextTable("Best learning rate by width, on validation", headings, lines, shared)


def variant_names(variants: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """What to call variants beside each other, without what all of them share; and a note of that, if they differ."""
    shared = shared_parts(variants)
    names = {variant: without(variant, shared) or shared for variant in variants}
    return names, (f"Common to all variants: {shared}.",) if len(names) > 1 and shared else ()


def _by_setting_table(
    title: str, headings: list[str], lines: list[list[str]], points: Sequence[Summary | Step], notes: list[str]
) -> TextTable:
    """A table grouped by setting, with the columns variant and learning rate in front where they differ."""
    columns = []
    names, shared = variant_names([point.variant for point in points])
    if len(names) > 1:
        columns.append(("variant", [names[point.variant] for point in points]))
    if len({point.learning_rate for point in points}) > 1:
        columns.append(("learning rate", [f"{point.learning_rate:g}" for point in points]))
    heads = (*(name for name, _ in columns), *headings)
    rows = [(*(values[i] for _, values in columns), *line) for i, line in enumerate(lines)]
    settings = {setting: place for place, setting in enumerate(dict.fromkeys(point.setting for point in points))}
    order = sorted(range(len(rows)), key=lambda i: settings[points[i].setting])
    rows = [rows[i] for i in order]
    return TextTable(title, heads, rows, (*shared, *notes))


def _setting(row: Summary | Verdict) -> str:
    return f"{row.variant}, learning rate {row.learning_rate:g}"


def _merit(verdict: Verdict) -> float:
    return -np.inf if verdict.best is None or np.isnan(verdict.best.merit) else verdict.best.merit


def signed_text(value: float, score_name: str) -> str:
    """A difference, as ``number_text`` writes it, with its sign."""
    text = number_text(value, score_name)
    return text if text.startswith(("−", "–")) else f"+{text}"


def span_text(interval: Interval, score_name: str, *, signed: bool = False) -> str:
    """From where to where; a dash for none."""
    if np.isnan(interval.low):
        return "–"
    write = signed_text if signed else number_text
    return f"{write(interval.low, score_name)} to {write(interval.high, score_name)}"


def p_text(p: float, *, of: bool = False) -> str:
    """A p value, or with ``of`` as a sentence has it."""
    if np.isnan(p):
        return "–"
    text = "< 0.001" if p < 0.001 else f"{p:.3f}"
    return (f"p {text}" if p < 0.001 else f"p = {text}") if of else text


def learning_caution(verdict: Verdict) -> str:
    """A warning that training was too short for a verdict; empty if it was not."""
    if not verdict.still_learning:
        return ""
    slow = verdict.still_learning
    which = "" if len(slow) == len(verdict.widths) else f" with {_range(slow)} hidden units"
    return f"Still learning at the last epoch{which}: train longer (--epochs) before believing this."


def widest_caution(verdict: Verdict) -> str:
    """A warning that wider networks might be even better; empty if the widest is not the best."""
    if not verdict.widest_is_best:
        return ""
    return f"The most that were tried, {verdict.widths[-1]:,}, did best: more were not tried, and may be better."


def _range(widths: tuple[int, ...]) -> str:
    return ", ".join(map(str, widths)) if len(widths) < 4 else f"{widths[0]} to {widths[-1]}"

"""What a comparison of runs says, in words and in tables of text."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mlp_jax.answers.compare import Comparison, Difference, Effect
from mlp_jax.answers.scores import bounded, number_text
from mlp_jax.answers.words import TOLD, Answer, TextTable, amount_text, p_text, signed_text, span_text
from mlp_jax.runs.tables import axis_text, layers_text
from mlp_jax.sweeps.plan import counted

LONGEST_VALUE = 60
"""Characters of a setting that a table shows."""


def comparison_answer(found: Comparison) -> Answer:
    """Whether each run is better than the first, and where."""
    if not found.same_data:
        said = "These runs are of different data: their scores are shown side by side, and none is subtracted."
        return Answer(said, (), ())
    short = " ".join(_verdict(found, name) for name in found.names[1:])
    return Answer(short, _some(_left_out(found)), _some(_chance(found)))


def _some(sentence: str) -> tuple[str, ...]:
    return (sentence,) if sentence else ()


def _verdict(found: Comparison, name: str) -> str:
    """Whether a run is better than the first."""
    first, here, measure = found.names[0], found.against_first(name), found.measure_name
    if not here:
        return f"{name} and {first} have no point of the grid in common: nothing can be subtracted."
    unsure = f"Whether {name} is better than {first} cannot be told"
    if all(each.effects["validation"].distinguishable is None for each in here):
        return f"{unsure}: one seed (one random start) does not say how much of a difference is luck."
    told = [each for each in here if _told(each)]
    better = [each for each in told if each.effects["validation"].gain > 0]
    worse = [each for each in told if each.effects["validation"].gain < 0]
    if not told:
        at = f"at none of {len(here)} points is the difference" if len(here) > 1 else "the difference is not"
        return f"{unsure}: {at} more than luck; {_not_excluded(here, measure)}."
    parts = []
    for word, steps in (("better", better), ("worse", worse)):
        if steps:
            everywhere = f"at all {len(here)} points" if len(here) > 1 else f"at {_places(steps)}"
            where = everywhere if len(steps) == len(here) else f"at {_places(steps)}"
            parts.append(f"{word} than {first} {where} (by {_by(steps, measure)})")
    said = f"{name} is {' and '.join(parts)}, by more than luck"
    if rest := [each for each in here if not _told(each)]:
        said += f"; at {_places(rest)} the difference could be luck"
    return f"{said}.{_on_test(told)}"


def _told(each: Difference) -> bool:
    return bool(each.effects["validation"].distinguishable)


def _by(steps: Sequence[Difference], name: str) -> str:
    gains = sorted(abs(each.effects["validation"].gain) for each in steps)
    if len(gains) == 1 or number_text(gains[0], name) == number_text(gains[-1], name):
        return amount_text(gains[-1], name)
    return f"{number_text(gains[0], name)} to {amount_text(gains[-1], name)}"


def _not_excluded(steps: Iterable[Difference], name: str) -> str:
    effects = [each.effects["validation"] for each in steps]
    known = [effect.interval for effect in effects if not np.isnan(effect.interval.low)]
    more, less = max(0.0, *(each.high for each in known)), max(0.0, *(-each.low for each in known))
    return f"up to {amount_text(more, name)} in its favour and {amount_text(less, name)} against it cannot be ruled out"


def _on_test(steps: Sequence[Difference]) -> str:
    """Whether the test split, which had no say, agrees."""
    known = [each for each in steps if not np.isnan(each.effects["test"].interval.low)]
    if not known:
        return ""
    same = [each for each in known if each.effects["test"].gain * each.effects["validation"].gain > 0]
    sure = [each for each in same if each.effects["test"].distinguishable]
    if len(sure) == len(known):
        return " Test, which had no say in this, agrees by more than luck."
    return (
        f" On test, which had no say in this, {len(same)} of {len(known)} of these differences have the same sign, "
        f"{len(sure)} by more than luck."
    )


def _places(steps: Sequence[Difference]) -> str:
    """Where these are, for people: widths alone, where these tell them apart."""
    if all(each.hidden_units[0] == each.hidden_units[1] and not each.point for each in steps):
        return f"M = {', '.join(layers_text(each.hidden_units[1]) for each in steps)}"
    return "; ".join(map(_place, steps))


def _place(each: Difference) -> str:
    less, more = map(layers_text, each.hidden_units)
    units = f"M = {more}" if less == more else f"M = {less} → {more}"
    return ", ".join([units, *(axis_text(name, value) for name, value in each.point.items())])


def _left_out(found: Comparison) -> str:
    parts = [
        f"{counted(count, 'trial')} of {name} diverged and {'is' if count == 1 else 'are'} left out"
        for name, count in found.diverged.items()
        if count
    ]
    parts += [
        f"{counted(count, 'point')} of {name} {'has' if count == 1 else 'have'} no counterpart"
        for name, count in found.unmatched.items()
        if count
    ]
    return f"{'; '.join(parts)}." if parts else ""


def _chance(found: Comparison) -> str:
    """What intervals hold for, and which runs are paired."""
    said = []
    for name in found.names[1:]:
        here = found.against_first(name)
        if not here:
            continue
        ways = {each.paired for each in here}
        counts = sorted({seeds for each in here for seeds in each.seeds})
        over = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
        examples = here[0].examples["validation"]
        paired = {
            frozenset({True}): f"pairs of trials share their seed ({over} each)",
            frozenset({False}): f"no seeds are shared ({over} each), and trials are compared unpaired",
        }.get(frozenset(ways), f"trials are paired where seeds are shared ({over} each), and unpaired elsewhere")
        known = f"and every one of the {examples:,} validation examples" if examples else "examples do not count"
        said.append(f"{name} and {found.names[0]}: {paired}, {known}.")
    if said:
        of = "seeds and examples" if all(each.examples["validation"] for each in found.differences) else "seeds alone"
        said.append(
            f"Intervals are of 95 %, by the luck of {of}, for all {len(found.differences)} differences together "
            "(Bonferroni)."
        )
    return " ".join(said)


# Tables


def comparison_tables(found: Comparison) -> list[TextTable]:
    """What differs in configuration; differences point by point; or, of different data, scores side by side."""
    tables = []
    if found.settings:
        rows = [(each.name, *(_value(each.name, value) for value in each.values)) for each in found.settings]
        tables.append(TextTable("What differs in configuration", ("setting", *found.names), rows, ()))
    if found.same_data:
        tables += [_difference_table(found, name) for name in found.names[1:] if found.against_first(name)]
    else:
        tables.append(_side_by_side(found))
    return tables


def _value(name: str, value: Any) -> str:
    """A setting as a table shows it."""
    if value is None:
        return "–"
    if name == "dataset_digest":
        return f"{str(value)[:12]}…"
    if isinstance(value, dict):
        text = ", ".join(f"{key} {each}" for key, each in value.items())
    elif name == "hidden_units":
        text = ", ".join(layers_text(tuple(each) if isinstance(each, list) else each) for each in value)
    elif name == "seeds" and len(value) > 2 and value == [*range(value[0], value[0] + len(value))]:
        text = f"{value[0]} to {value[-1]}"
    elif isinstance(value, list):
        text = ", ".join(map(_plain, value))
    else:
        text = _plain(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _difference_table(found: Comparison, name: str) -> TextTable:
    first, measure = found.names[0], found.measure_name
    here = found.against_first(name)
    sign = -1.0 if measure == "loss" else 1.0
    axes = list(here[0].point)
    rows = []
    for each in here:
        validation, test = each.effects["validation"], each.effects["test"]
        less, more = map(layers_text, each.hidden_units)
        counts = f"{each.seeds[0]}" if each.paired else f"{each.seeds[0]}, {each.seeds[1]} unpaired"
        rows.append(
            (
                *(_plain(each.point[axis]) for axis in axes),
                more if less == more else f"{less} → {more}",
                *(number_text(mean, measure) for mean in validation.means),
                signed_text(sign * validation.gain, measure),
                TOLD[validation.distinguishable],
                span_text(_turned(validation, sign), measure, signed=True),
                p_text(validation.p_value),
                counts,
                signed_text(sign * test.gain, measure),
                span_text(_turned(test, sign), measure, signed=True),
            )
        )
    percent = " (%)" if measure == "accuracy" else ""
    headings = (*axes, "M", f"{first}{percent}", f"{name}{percent}", "difference", "more than chance?", "95 %", "p")
    headings += ("seeds", "on test", "95 % on test")
    unit = " (points)" if measure == "accuracy" else ""
    lower = ", and lower is better" if measure == "loss" else ""
    note = f"Difference{unit}: mean validation {measure} of {name} less that of {first}{lower}."
    return TextTable(f"{name} against {first}", headings, rows, (note,))


def _turned(effect: Effect, sign: float) -> Any:
    low, high = effect.interval
    return effect.interval if sign > 0 else type(effect.interval)(-high, -low)


def _side_by_side(found: Comparison) -> TextTable:
    """Test scores of runs of different data, by width."""
    measure = found.measure_name
    column = "test_loss" if measure == "loss" else "test_score"
    rows: list[tuple[str, ...]] = [
        (
            name,
            row.variant,
            f"{row.learning_rate:g}",
            f"{row.hidden_units:,}",
            number_text(row.mean[column], measure),
            span_text(bounded(row.interval["test"], measure), measure),
            str(row.seeds),
        )
        for name, points in found.summaries.items()
        for row in sorted(points, key=lambda each: (each.setting, each.hidden_units))
    ]
    headings = ("run", "variant", "learning rate", "M", f"test {measure}", "95 %", "seeds")
    return TextTable(f"Test {measure}, side by side", headings, rows, ())

"""Whether a run directory holds what it should: files, counts and scores; or, if unfinished, checkpoints.

Nothing is written and no lock is taken; a run in training is checked as it is at that moment.
"""

import hashlib
import math
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from mlp_jax.datasets import Dataset
from mlp_jax.datasets.npz import read_npz
from mlp_jax.errors import DataError, InputError, SweepWarning, first_line, shown
from mlp_jax.machine.compilation import run_compiled
from mlp_jax.networks.keys import root_key
from mlp_jax.networks.layers import Network, Shape, parameter_count, symbols, walk
from mlp_jax.networks.models import layer_parameters
from mlp_jax.runs.directory import (
    CHECKPOINTS,
    FILES,
    MANIFEST,
    NOT_ALWAYS,
    OUTCOMES,
    Run,
    dataset_of,
    grid_of,
    is_finished,
    read_json,
    read_run,
    read_training,
    recipe_of,
)
from mlp_jax.runs.tables import SCORES, STOPPED, Table, axes_table, reports_table
from mlp_jax.sweeps.blocks import Block, arrange, arrange_begun
from mlp_jax.sweeps.checkpoints import Checkpoints, DamagedError
from mlp_jax.sweeps.grid import Grid
from mlp_jax.sweeps.halving import Ladder, judged, search_of
from mlp_jax.sweeps.loop import saved_shapes
from mlp_jax.sweeps.outcomes import SPLITS, Outcomes
from mlp_jax.sweeps.plan import counted
from mlp_jax.sweeps.sweep import make_program, make_setup, shape_given
from mlp_jax.tasks import Task, get_task
from mlp_jax.training.axes import examples_of, recipe_of_trial
from mlp_jax.training.epoch import ROWS_AT_ONCE, DeviceData, compiler_options, relabelling, to_device
from mlp_jax.training.fit import network_means
from mlp_jax.training.recipe import Recipe
from mlp_jax.training.trials import network_of

Verdict = Literal["sound", "wrong", "unchecked"]

LOSS_TOLERANCE = {"float32": 1e-4, "bfloat16": 1e-2, "tensorfloat32": 1e-2}
"""Relative tolerance of losses between machines, by precision of the first products."""

LEAST_LOSS = 1e-6
"""Absolute tolerance, as a share of the loss of a model whose logits are all 0: small losses are mere rounding."""

EXAMPLES_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-3, "tensorfloat32": 5e-3}
"""Tolerance of an accuracy: the share of examples that may fall on the other side of a tie."""

FEW_EXAMPLES = 2
"""Number of examples that may do so in any case."""

_BYTES_AT_ONCE = 128 << 20
"""Bytes of parameters and of logits when trials of one shape are scored together."""

_LOSSES_AT_ONCE = 32768
"""Most losses computed together: XLA for the CPU (jax 0.10.2) computes further ones from the logits of the first."""


@dataclass(frozen=True)
class Finding:
    """A finding about one part of a run.

    Attributes:
        part: a file or directory of the run, or ``scores``, those of trials.csv recomputed.
        verdict: ``sound``, ``wrong``, or ``unchecked`` if something that is needed is missing.
        message: explanation.
    """

    part: str
    verdict: Verdict
    message: str


class _Asked(NamedTuple):
    """What a configuration specifies."""

    grid: Grid
    recipe: Recipe
    task: Task
    dtype: np.dtype[Any]
    ladder: Ladder | None

    def epochs(self, trials: Table) -> np.ndarray:
        """That each trial was trained; of a search, as the table says."""
        if self.ladder is None:
            return np.array([recipe_of_trial(self.recipe, trial).epochs for trial in self.grid.trials])
        return np.where(trials[STOPPED] > 0, trials[STOPPED], self.recipe.epochs)


def verify(path: str | Path, dataset: str | None = None) -> list[Finding]:
    """Check a run directory, finished or not; returns one finding per part.

    Args:
        path: directory that ``mlp-jax sweep`` wrote or started to write.
        dataset: the current name or path of its data set; by default the original name, else the recorded path.

    Raises:
        InputError: it is not a run directory, or the named data set is not the run's.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path} is no directory: expected one that mlp-jax sweep wrote")
    there = [name for name in (*FILES, MANIFEST, CHECKPOINTS) if (path / name).exists()]
    if not there:
        raise InputError(f"{path} holds no file of a run: expected a directory that mlp-jax sweep wrote")
    if not is_finished(path) and (CHECKPOINTS in there or there == ["config.json"]):
        return _unfinished(path, dataset)
    return _by_part([*_files(path), *_contents(path, dataset)])


def verify_files(path: Path) -> list[Finding]:
    """Check the bytes of a finished run, and its tables against its configuration: what takes no time to speak of.

    Raises:
        DataError: a file is damaged.
    """
    run = read_run(path)
    asked = _asked(run.config)
    return _by_part([*_files(path), _trials(run.trials, asked, None), _history(run, asked)])


def _by_part(findings: Iterable[Finding]) -> list[Finding]:
    """Reduce to one finding per part: what is wrong with it, or else everything that was found."""
    parts: dict[str, list[Finding]] = {}
    for each in findings:
        parts.setdefault(each.part, []).append(each)
    joined = []
    for part, of_part in parts.items():
        verdict = next((each.verdict for each in of_part if each.verdict == "wrong"), of_part[-1].verdict)
        messages = (each.message for each in of_part if each.verdict == verdict)
        joined.append(Finding(part, verdict, "; ".join(messages)))
    return joined


def _files(path: Path) -> Iterator[Finding]:
    """Findings about each file that the manifest has to name."""
    if not is_finished(path):
        yield Finding(MANIFEST, "wrong", "is not there: nothing says which bytes the files had")
        return
    try:
        listed = read_json(path / MANIFEST).get("files")
    except DataError as error:
        yield Finding(MANIFEST, "wrong", str(error))
        return
    if not isinstance(listed, dict) or not set(FILES) - {*NOT_ALWAYS} <= set(listed) <= set(FILES):
        yield Finding(MANIFEST, "wrong", f"lists {shown(listed)}: expected {', '.join(FILES)}")
        return
    for name in FILES:
        if name in listed:
            yield _file(path / name, listed[name])
        elif (path / name).exists():
            yield Finding(name, "wrong", f"is there, but {MANIFEST} does not list it")


def _file(path: Path, noted: Any) -> Finding:
    wrong = partial(Finding, path.name, "wrong")
    if not path.is_file():
        return wrong("is not there")
    if not isinstance(noted, dict):
        return wrong(f"{MANIFEST} says {shown(noted)} of it: expected its bytes and sha256")
    try:
        size = path.stat().st_size
        if size != (bytes_noted := noted.get("bytes")):
            said = f"{bytes_noted:,}" if isinstance(bytes_noted, int) else shown(bytes_noted)
            return wrong(f"has {size:,} bytes: {MANIFEST} says {said}")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return wrong(f"cannot be read ({error.strerror})")
    if digest != noted.get("sha256"):
        return wrong(f"was altered: its SHA-256 is not the one in {MANIFEST}")
    return Finding(path.name, "sound", f"{size:,} bytes, SHA-256 as in {MANIFEST}")


def _contents(path: Path, name: str | None) -> Iterator[Finding]:
    """Findings about the files' content, compared with the configuration and with each other."""
    try:
        run = read_run(path)
    except DataError as error:
        yield Finding("contents", "wrong", str(error))
        yield Finding("scores", "unchecked", "what they belong to cannot be read")
        return
    try:
        asked = _asked(run.config)
    except InputError as error:
        yield Finding("config.json", "wrong", str(error))
        yield Finding("scores", "unchecked", "what they belong to is wrong")
        return
    dataset, reason = _dataset(run.config, path, name)
    if dataset is not None and dataset.task != asked.task.name:
        yield Finding("config.json", "wrong", f"task is {asked.task.name}: the data are for {dataset.task}")
        yield Finding("scores", "unchecked", "what they belong to is wrong")
        return
    networks, parameters = _parameters(run, asked, dataset)
    trials = _trials(run.trials, asked, networks)
    yield trials
    if trials.verdict != "wrong":
        history = _history(run, asked)
        yield history
        if history.verdict != "wrong":
            yield from _rungs(run, asked)
    yield parameters
    if trials.verdict != "wrong":
        yield _outcomes(run, asked, dataset)
    if "wrong" in (trials.verdict, parameters.verdict):
        yield Finding("scores", "unchecked", "what they belong to is wrong")
    elif dataset is None or networks is None:
        yield Finding("scores", "unchecked", f"the data cannot be loaded: {reason}")
    else:
        yield _scores(run, asked, dataset, networks)


def _asked(config: Mapping[str, Any]) -> _Asked:
    """What a configuration specifies; raises InputError if that makes no sense."""
    grid = grid_of(config)
    if config["dtype"] not in ("float32", "float64"):
        raise InputError(f"unknown dtype {shown(config['dtype'])}: expected float32 or float64")
    recipe = recipe_of(config)
    ladder = None
    if (searched := config.get("search")) is not None:
        ladder = Ladder(grid.trials, recipe, **asdict(search_of(searched)))
    return _Asked(grid, recipe, get_task(config["task"]), np.dtype(config["dtype"]), ladder)


def _dataset(config: Mapping[str, Any], path: Path, name: str | None) -> tuple[Dataset | None, str]:
    """The data, or why they cannot be loaded; raises InputError if they are not where the user says."""
    try:
        return dataset_of(config, path, name), ""
    except InputError as error:
        if name is not None:
            raise
        return None, f"{error} (dataset=, --dataset names another place)"


# Counts


def _trials(table: Table, asked: _Asked, networks: "_Networks | None") -> Finding:
    """Rows and columns of trials.csv that follow from the configuration."""
    trials, lost = asked.grid.trials, table["diverged"]
    expected = axes_table(trials)
    if networks is not None:
        counts = [parameter_count(network, networks.shape) for network in networks.by_trial]
        expected["parameters"] = np.array(counts)
    wrong = _difference(table, expected, len(trials))
    if not wrong and asked.ladder is not None:
        wrong = _stops(table, asked.ladder)
    if wrong:
        return Finding("trials.csv", "wrong", wrong)
    epochs = asked.epochs(table)
    if (lost > epochs).any():
        trial = int((lost > epochs).argmax())
        wrong = f"trial {trial} diverged in epoch {lost[trial]}: it was trained for {epochs[trial]}"
    if wrong:
        return Finding("trials.csv", "wrong", wrong)
    return Finding("trials.csv", "sound", f"the {len(trials)} trials of config.json, {np.count_nonzero(lost)} diverged")


def _stops(table: Table, ladder: Ladder) -> str:
    """What is wrong with the epochs at which a search says that it stopped trials; nothing if they can be so."""
    if STOPPED not in table:
        return f"has no column {STOPPED}: config.json says that it is a search's"
    known = (0, *ladder.epochs[:-1])
    if (other := ~np.isin(table[STOPPED], known)).any():
        trial = int(other.argmax())
        rungs = ", ".join(map(str, known[1:]))
        return f"trial {trial} stopped in epoch {table[STOPPED][trial]}: expected a rung, {rungs}, or 0"
    for each in ladder.configurations:
        if len(set(table[STOPPED][each].tolist())) > 1:
            return f"trials {each} differ in their seeds alone, but were not stopped together"
    return ""


def _rungs(run: Run, asked: _Asked) -> Iterator[Finding]:
    """Whether the trials that a search stopped are those that history.csv makes it stop."""
    ladder, trials = asked.ladder, asked.grid.trials
    if ladder is None:
        return
    alive, spent, before, kept = np.ones(len(ladder.configurations), bool), 0, 0, []
    for number, epoch in enumerate(ladder.epochs[:-1]):
        rows = run.history["epoch"] == epoch
        by_trial = {name: np.full(len(trials), np.nan, asked.dtype) for name in ("validation_score", "validation_loss")}
        lost = np.zeros(len(trials), bool)
        for name, values in by_trial.items():
            values[run.history["trial"][rows]] = run.history[name][rows]
        lost[run.history["trial"][rows]] = run.history["diverged"][rows] > 0
        spent, before = spent + len(ladder.trials(alive)) * (epoch - before), epoch
        merit = judged(by_trial["validation_score"], by_trial["validation_loss"], lost)
        alive, _ = ladder.decide(number, alive, merit, lost, spent)
        kept.append(alive)
        expected = ladder.stopped(kept, len(trials))
        now = run.trials[STOPPED]
        apart = ((now == epoch) | (expected == epoch)) & (now != expected)
        if apart.any():
            trial = int(apart.argmax())
            said = f"trial {trial} was stopped in epoch {now[trial]}" if now[trial] else f"trial {trial} went on"
            yield Finding("rungs", "wrong", f"{said}, and should not have been at epoch {epoch} by history.csv")
            return
    yield Finding("rungs", "sound", f"{counted(len(kept), 'decision')} as history.csv has them")


def _history(run: Run, asked: _Asked) -> Finding:
    """Rows of history.csv, and their agreement with trials.csv: trials that diverged, and the last validation loss."""
    trials, lost = asked.grid.trials, run.trials["diverged"]
    expected = reports_table(trials, asked.recipe, asked.epochs(run.trials))
    reports = len(expected["trial"])
    if len(lost) == len(trials):
        since = lost[expected["trial"]]
        expected["diverged"] = ((since > 0) & (expected["epoch"] >= since)).astype(int)
    wrong = _difference(run.history, expected, reports)
    if not wrong and len(lost) == len(trials):
        ends = np.append(np.flatnonzero(np.diff(expected["trial"])), reports - 1)
        last, final = run.history["validation_loss"][ends], run.trials["validation_loss"]
        tolerance = LOSS_TOLERANCE[asked.recipe.precision] * np.abs(final) + LEAST_LOSS
        apart = (lost == 0) & ~_near(last, final, tolerance)
        if apart.any():
            trial = int(apart.argmax())
            wrong = f"validation_loss of trial {trial} ends at {last[trial]:.6g}: trials.csv says {final[trial]:.6g}"
    if wrong:
        return Finding("history.csv", "wrong", wrong)
    return Finding("history.csv", "sound", f"{len(trials)} trials, {reports} reports, ending as trials.csv says")


def _outcomes(run: Run, asked: _Asked, dataset: Dataset | None) -> Finding:
    """Whether outcomes agree on average with trials.csv, and the trivial guess with the data."""
    try:
        outcomes = run.outcomes
    except DataError as error:
        return Finding(OUTCOMES, "wrong", str(error))
    if not outcomes.known:
        return Finding(OUTCOMES, "unchecked", "is not there: the run is of an earlier version")
    kept = run.trials["diverged"] == 0
    for split in SPLITS:
        mean, variance = outcomes.mean_hits(split), outcomes.variance[split]
        score = 1 - mean / variance if variance > 0 else np.full_like(mean, np.nan) if asked.task.graded else mean
        column, expected = run.trials[f"{split}_score"], score
        tolerance = np.abs(1 - score) * LOSS_TOLERANCE["float32"] + LEAST_LOSS
        if asked.task.graded and not variance > 0:
            column, expected = run.trials[f"{split}_loss"], mean
            tolerance = np.abs(mean) * LOSS_TOLERANCE["float32"] + LEAST_LOSS
        apart = kept & ~_near(column, expected, tolerance)
        if apart.any():
            trial = int(apart.argmax())
            said = f"gives trial {trial} {expected[trial]:.6g} on {split}: trials.csv says {column[trial]:.6g}"
            return Finding(OUTCOMES, "wrong", said)
    if dataset is not None:
        right = Outcomes.of(dataset, outcomes.hits)
        for split in SPLITS:
            same = np.allclose(right.guess[split], outcomes.guess[split], rtol=1e-5)
            if not same or not np.allclose(right.variance[split], outcomes.variance[split], equal_nan=True):
                return Finding(OUTCOMES, "wrong", f"its trivial guess of {split} is not that of the data")
    counts = " and ".join(f"{outcomes.sizes[split]:,} {split}" for split in SPLITS)
    return Finding(OUTCOMES, "sound", f"{counts} examples of each trial, in the mean as trials.csv says")


def _difference(table: Table, expected: Table, rows: int) -> str:
    """The first difference between a table and what it should hold; empty if there is none."""
    found = len(next(iter(table.values())))
    if found != rows:
        return f"has {found} rows: config.json asks for {rows}"
    for name, values in expected.items():
        if name not in table:
            if (values == values[0]).all():  # earlier versions left out what all trials have in common
                continue
            return f"has no column {name}: config.json asks for several values"
        if (differ := table[name] != values).any():
            row = int(differ.argmax())
            return f"{name} in row {row + 1} is {shown(table[name][row].item())}: expected {shown(values[row].item())}"
    return ""


def _near(
    left: Float[np.ndarray, "*n"], right: Float[np.ndarray, "*n"], tolerance: Float[np.ndarray, "*n"]
) -> Bool[np.ndarray, "*n"]:
    """Where two arrays agree: equal within the tolerance, or both NaN."""
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        return (left == right) | (np.abs(left - right) <= tolerance) | (np.isnan(left) & np.isnan(right))


# Parameters


class _Networks(NamedTuple):
    """The network of each trial, and the shape of an example as networks take it."""

    shape: Shape
    by_trial: tuple[Network, ...]

    def shapes(self, network: Network) -> dict[str, tuple[int, ...]]:
        """Shapes of a network's parameters, by the article's symbols."""
        return {
            symbol: layer.shapes(before)[name]
            for (layer, before), named in zip(walk(network, self.shape), symbols(network), strict=True)
            for name, symbol in named.items()
        }


def _parameters(run: Run, asked: _Asked, dataset: Dataset | None) -> tuple[_Networks | None, Finding]:
    """Check shapes and types of the arrays in parameters.npz; find the networks, from the data or else from these."""
    path, trials = run.path / "parameters.npz", asked.grid.trials
    networks = None

    def of(shape: Shape, outputs: int) -> _Networks:
        use_bias = run.config["use_bias"]
        return _Networks(shape, tuple(network_of(trial, outputs, use_bias) for trial in trials))

    if dataset is not None:
        networks = of(shape_given(asked.grid, dataset), dataset.outputs)
    wrong = partial(Finding, path.name, "wrong")
    try:
        names = _names(path)
        if networks is None:
            first = read_npz(path, ["0/A", "0/B"])
            if not first or any(array.ndim != 2 for array in first.values()):
                return None, wrong("does not hold the matrices of trial 0")
            form = run.config.get("image_form") if "cnn" in asked.grid.values("network") else None
            shape = tuple(form["shape"]) if form else (len(next(iter(first.values()))),)
            networks = of(shape, [*first.values()][-1].shape[1])
        expected = {f"{i}/{name}" for i, each in enumerate(networks.by_trial) for name in networks.shapes(each)}
        if differ := sorted(expected.symmetric_difference(names)):
            said = "does not hold" if differ[0] in expected else "holds"
            return networks, wrong(
                f"{said} {shown(differ[0])}: expected {len(expected)} arrays of {len(trials)} trials"
            )
        sound = set(np.flatnonzero(run.trials["diverged"] == 0).tolist())
        for group in _groups(asked, networks, range(len(trials))):
            shapes = networks.shapes(group.network)
            for name, array in read_npz(path, group.names(shapes)).items():
                trial, symbol = name.split("/")
                if array.shape != shapes[symbol] or array.dtype != asked.dtype:
                    found = f"{array.dtype} {array.shape}: expected {asked.dtype} {shapes[symbol]}"
                    return networks, wrong(f"{symbol} of trial {trial} is {found}")
                if int(trial) in sound and not np.isfinite(array).all():
                    return networks, wrong(
                        f"{symbol} of trial {trial} is not finite: trials.csv says it did not diverge"
                    )
    except DataError as error:
        return networks, wrong(str(error))
    return networks, Finding(path.name, "sound", f"{len(expected)} arrays of {len(trials)} trials, in their shapes")


def _names(path: Path) -> list[str]:
    """Names of the arrays in an .npz file; raises DataError if it is not one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except Exception as error:  # a damaged archive makes zipfile raise nearly anything
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from None


class _Group(NamedTuple):
    """Numbers of trials with one network that are scored in the same way, at most ``size``."""

    network: Network
    loss: str
    subset: int
    trials: tuple[int, ...]
    size: int

    def names(self, symbols: Iterable[str]) -> list[str]:
        """Names of their arrays in parameters.npz."""
        return [f"{trial}/{symbol}" for trial in self.trials for symbol in symbols]


def _groups(asked: _Asked, networks: _Networks, trials: Iterable[int]) -> Iterator[_Group]:
    """The trials in groups of one network, as large as memory use should be."""
    alike: dict[tuple[Network, str, int], list[int]] = {}
    for number in trials:
        trial = asked.grid.trials[number]
        alike.setdefault((networks.by_trial[number], trial.objective, trial.subset), []).append(number)
    for (network, loss, subset), numbers in alike.items():
        activations = sum(math.prod(layer.after(before)) for layer, before in walk(network, networks.shape))
        values = parameter_count(network, networks.shape) + ROWS_AT_ONCE * activations
        most = max(1, min(_BYTES_AT_ONCE // (values * asked.dtype.itemsize), _LOSSES_AT_ONCE // ROWS_AT_ONCE))
        size = math.ceil(len(numbers) / math.ceil(len(numbers) / most))
        for start in range(0, len(numbers), size):
            yield _Group(network, loss, subset, tuple(numbers[start : start + size]), size)


# Scores


def _scores(run: Run, asked: _Asked, dataset: Dataset, networks: _Networks) -> Finding:
    """Compare recomputed scores of every trial that did not diverge with those in trials.csv."""
    kept = np.flatnonzero(run.trials["diverged"] == 0)
    computed = {key: np.full(len(asked.grid.trials), np.nan) for key in SCORES}
    tolerance = {key: np.zeros(len(asked.grid.trials)) for key in SCORES}
    precision, splits = asked.recipe.precision, dataset.splits
    options = compiler_options("float32")  # as in a sweep's scores, whatever the precision
    ends = np.cumsum([len(split) for split in splits.values()], dtype=np.int32)
    with jax.enable_x64(asked.dtype == np.float64):
        data = to_device(list(splits.values()))
        for group in _groups(asked, networks, kept.tolist()):
            shapes, numbers = networks.shapes(group.network), np.array(group.trials)
            arrays = read_npz(run.path / "parameters.npz", group.names(shapes))
            rows = np.resize(numbers, group.size)  # the last group of a shape is filled up: one program a shape
            weights = {symbol: jnp.stack([arrays[f"{trial}/{symbol}"] for trial in rows]) for symbol in shapes}
            params = layer_parameters(group.network, weights)
            for (name, split), last in zip(splits.items(), ends, strict=True):
                first = last - np.int32(len(split))
                bounds = first, (first + np.int32(group.subset) if group.subset and name == "train" else last)
                static = {
                    "network": group.network,
                    "shape": networks.shape,
                    "task": asked.task.name,
                    "loss": group.loss,
                    "precision": precision,
                }
                labels = None
                if name == "train" and any(asked.grid.trials[row].label_noise for row in rows):
                    labels = _labels(asked, rows, dataset, data)
                means = run_compiled(network_means, static, params, data, *bounds, labels, compiler_options=options)
                loss, hit = (np.asarray(mean, np.float64)[: len(numbers)] for mean in means)
                guess = asked.task.guess_loss(split.targets, group.loss)
                loss_tolerance = LOSS_TOLERANCE[precision] * loss + LEAST_LOSS * guess
                few = EXAMPLES_TOLERANCE[precision] + FEW_EXAMPLES / len(split)
                hit_tolerance = loss_tolerance if asked.task.name == "regression" else np.full_like(hit, few)
                score, beyond = (asked.task.score(each, split.targets) for each in (hit, hit + hit_tolerance))
                computed[f"{name}_loss"][numbers], tolerance[f"{name}_loss"][numbers] = loss, loss_tolerance
                computed[f"{name}_score"][numbers], tolerance[f"{name}_score"][numbers] = score, np.abs(beyond - score)
    apart = [
        f"{key} of trial {trial} is {run.trials[key][trial]:.6g}: its parameters give {values[trial]:.6g}"
        for key, values in computed.items()
        for trial in kept[~_near(run.trials[key], values, tolerance[key])[kept]]
    ]
    if apart:
        return Finding("scores", "wrong", apart[0] + (f"; {len(apart) - 1} more differ" if len(apart) > 1 else ""))
    left = len(asked.grid.trials) - len(kept)
    return Finding(
        "scores",
        "sound",
        f"{len(SCORES)} of each of {len(kept)} trials, computed again from the parameters: losses agree to "
        f"{LOSS_TOLERANCE[precision]:g}" + (f"; {left} that diverged are left out" if left else ""),
    )


def _labels(asked: _Asked, rows: np.ndarray, dataset: Dataset, data: DeviceData) -> Int[Array, "T N"]:
    """The labels that each trial is trained on, followed by the true ones of the other splits."""
    dtype, everything, found = asked.dtype, jnp.arange(len(data.targets)), []
    for row in rows:
        trial = asked.grid.trials[row]
        examples = examples_of(trial, len(dataset.train))
        new = relabelling(root_key(trial.seed), examples, len(everything), max(2, dataset.outputs), dtype)
        found.append(new.of(everything, data.targets, jnp.full(1, trial.label_noise, dtype))[0])
    return jnp.stack(found)


# Unfinished runs


def _unfinished(path: Path, name: str | None) -> list[Finding]:
    """Findings about the checkpoints of an unfinished run."""
    place = path / CHECKPOINTS
    try:
        config = read_training(path)
        asked = _asked(config)
    except InputError as error:
        return [Finding("config.json", "wrong", str(error)), Finding(CHECKPOINTS, "unchecked", "of an unknown sweep")]
    grid, epochs = asked.grid, asked.recipe.epochs
    begun = Finding("config.json", "sound", f"{len(grid.trials)} trials × {epochs} epochs asked for; not finished")
    if not (place / "sweep.json").is_file():
        if any(place.glob("*/*")):
            return [begun, Finding(f"{CHECKPOINTS}/sweep.json", "wrong", "is not there: nothing says what was saved")]
        return [begun, Finding(CHECKPOINTS, "sound", "nothing is saved yet: resuming starts from the beginning")]
    findings, data = [begun], None
    for part in _saved_parts(path, asked):
        label = part.relative_to(path).as_posix()
        try:
            blocks, since = _saved_blocks(part, asked, config)
            identity = {key: config.get(key, value) for key, value in read_json(part / "sweep.json").items()}
            saver = Checkpoints(part, identity, resume=True, read_only=True)
        except InputError as error:
            findings.append(Finding(f"{label}/sweep.json", "wrong", str(error)))
            continue
        with saver, jax.enable_x64(asked.dtype == np.float64):
            data = data or _dataset(config, path, name)
            findings += _checkpoints(saver, asked, *data, config, _Saving(label, blocks, since))
    return findings


class _Saving(NamedTuple):
    """What is saved in a directory of checkpoints: its name in the run, what it holds, each from which epoch on."""

    label: str
    blocks: tuple[Block, ...]
    since: tuple[int, ...]


def _saved_parts(path: Path, asked: _Asked) -> list[Path]:
    """Directories of checkpoints: the run's, and those of the rungs of a search."""
    place = path / CHECKPOINTS
    rungs = range(1, len(asked.ladder.epochs)) if asked.ladder is not None else ()
    parts = (place, *(place / f"rung-{number}" for number in rungs))
    return [part for part in parts if (part / "sweep.json").is_file()]


def _saved_blocks(part: Path, asked: _Asked, config: Mapping[str, Any]) -> tuple[tuple[Block, ...], tuple[int, ...]]:
    """What is trained there, and each from which epoch on; raises DataError if that makes no sense."""
    trials, most_rows = asked.grid.trials, config.get("most_rows")
    saved = read_json(part / "sweep.json")
    if asked.ladder is None:
        begun = saved.get("begun", [0] * len(trials))
        if not isinstance(begun, list) or len(begun) != len(trials) or set(map(type, begun)) != {int}:
            raise DataError(f"{part / 'sweep.json'}: begun is {shown(begun)}: expected the epochs of each trial")
        pairs = arrange_begun(trials, most_rows, begun)
        return tuple(block for block, _ in pairs), tuple(since for _, since in pairs)
    rung, places = saved.get("rung", 0), saved.get("trials", list(range(len(trials))))
    named = f"rung-{rung}" if rung else CHECKPOINTS
    known = isinstance(places, list) and set(map(type, places)) == {int} and set(places) <= set(range(len(trials)))
    if part.name != named or not known:
        raise DataError(f"{part / 'sweep.json'}: not what a search of these trials saved there")
    blocks, since = arrange(trials, most_rows, places), asked.ladder.epochs[rung - 1] if rung else 0
    return blocks, (since,) * len(blocks)


def _checkpoints(
    saver: Checkpoints,
    asked: _Asked,
    dataset: Dataset | None,
    reason: str,
    config: Mapping[str, Any],
    saving: _Saving,
) -> Iterator[Finding]:
    """Findings about finished replicas and every state, newest first; then where resuming would continue."""
    label, blocks, since = saving
    replicas = sum(block.replicas for block in blocks)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", SweepWarning)
        finished = saver.finished()
    for warning in said:
        yield Finding(f"{label}/finished", "wrong", str(warning.message))
    done = {replica for each in finished for replica in range(each.first, each.first + each.count)}
    yield Finding(f"{label}/finished", "sound", f"{len(done)} of {replicas} replicas")
    setup = None
    if dataset is not None:
        options = {key: config[key] for key in ("layout", "use_bias", "dtype")}
        setup = make_setup(asked.grid, dataset, recipe=asked.recipe, **options)
    going_on = ""
    for step in saver.steps():
        place = f"{label}/states/{step}"
        try:
            saved = saver.notes(step)
            block, began = next(
                pair for pair in zip(blocks, since, strict=True) if saved.first < pair[0].first + pair[0].replicas
            )
            if setup is not None and dataset is not None:
                program = make_program(setup, block, dataset)
                rows = math.ceil(saved.count / program.mesh.size) * program.mesh.size
                saver.restore(saved, *saved_shapes(program, saved, rows))
        except DamagedError as damage:
            if saver.place(step).exists():  # a sweep that is running removes old ones
                yield Finding(place, "wrong", str(damage))
            continue
        recipe = recipe_of_trial(asked.recipe, block.order)
        span = (
            f"epoch {began + saved.epoch * recipe.report_every} of {recipe.epochs}, "
            f"replicas {saved.first} to {saved.first + saved.count - 1} of {replicas}"
        )
        if setup is None:
            yield Finding(place, "unchecked", f"{span}; arrays not checked, as the data cannot be loaded: {reason}")
        else:
            yield Finding(place, "sound", span)
        if not going_on and done.isdisjoint(range(saved.first, saved.first + saved.count)):
            going_on = f"resuming continues from {place}, epoch {began + saved.epoch * recipe.report_every}"
    last = asked.ladder is None or saver.directory.name == f"rung-{len(asked.ladder.epochs) - 1}"
    finished_here = "resuming writes the results" if last else "resuming continues with the next rung"
    rest = finished_here if len(done) == replicas else "resuming starts the replicas that are not finished"
    yield Finding(label, "sound", going_on or rest)

"""Successive halving and Hyperband: which configurations of a grid are trained for how long. Pure functions.

A configuration is what trials have in common that differ in their seeds alone; it is kept, or ended, with all of them.
At a *rung*, an epoch, the best of the configurations go on. Successive halving (Jamieson and Talwalkar, 2016) keeps
one in η at rungs r, r η, r η², ...; Hyperband (Li et al., 2018) divides the configurations into brackets, of which
each has its first rung at another of these epochs, so that some are not judged early.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from mlp_jax.errors import InputError, instance, one_of, whole
from mlp_jax.networks.keys import root_key
from mlp_jax.training.axes import Trial
from mlp_jax.training.recipe import Recipe

METHODS = ("halving", "hyperband")

LEVEL = 0.05
"""Of the test at a rung: a configuration is worse than the cut if that is less likely by luck of the seeds."""

ROOM = 2
"""By default a search may take so many times what it takes if every cut is sharp."""

BRACKETS = 0xB4AC
"""What a key is for: which configuration is in which bracket."""


@dataclass(frozen=True)
class Search:
    """How a search decides.

    Attributes:
        method: ``halving`` or ``hyperband``.
        eta: η; one in so many configurations is kept at a rung.
        first_epochs: r, the first rung.
        budget: epochs of training that all trials may take together.
        seed: of what is drawn: the brackets of Hyperband.
    """

    method: str
    eta: int
    first_epochs: int
    budget: int
    seed: int


@dataclass(frozen=True)
class Rung:
    """What was decided at a rung.

    Attributes:
        epoch: after which.
        configurations: that were in training.
        kept: of these, how many went on.
        undecided: of these, how many went on because they could not be told apart from the last that was to be kept.
        trials: that were in training.
    """

    epoch: int
    configurations: int
    kept: int
    undecided: int
    trials: int


def configurations(trials: Sequence[Trial]) -> list[list[int]]:
    """Numbers of the trials of each configuration."""
    found: dict[Trial, list[int]] = {}
    for place, trial in enumerate(trials):
        found.setdefault(trial._replace(seed=0, init_seed=-1), []).append(place)
    return list(found.values())


class Ladder:
    """The rungs of a search, and who may climb them."""

    def __init__(
        self,
        trials: Sequence[Trial],
        recipe: Recipe,
        *,
        method: str = "halving",
        eta: int = 4,
        first_epochs: int = 1,
        budget: int | None = None,
        seed: int = 0,
    ) -> None:
        """Plan a search.

        Args:
            trials: of the grid.
            recipe: how they are trained.
            method: as in ``Search``.
            eta: likewise.
            first_epochs: likewise.
            budget: likewise; None for ``ROOM`` times the least.
            seed: likewise.

        Raises:
            InputError: an argument that makes no sense.
        """
        method, eta = one_of("method", method, METHODS), whole("eta", eta, 2, 2**31 - 1)
        first_epochs = whole("first_epochs", first_epochs, 1, 2**31 - 1)
        seed = whole("search seed", seed, 0, 2**32 - 1)
        if any(trial.epochs for trial in trials):
            raise InputError(
                "budgets is given: expected none, as a search decides how many epochs each trial is trained"
            )
        if first_epochs >= recipe.epochs:
            raise InputError(f"first_epochs is {first_epochs}: expected less than the {recipe.epochs} epochs")
        if first_epochs % recipe.report_every:
            raise InputError(
                f"first_epochs is {first_epochs}: expected a multiple of report_every, {recipe.report_every}"
            )
        self.configurations = configurations(trials)
        """Numbers of the trials of each."""
        self._repeats = [
            [(trials[place].seed, trials[place].init_seed) for place in each] for each in self.configurations
        ]
        if len(self.configurations) < 2:
            raise InputError(
                "the grid has one configuration: expected several to search among, that differ in more than seeds"
            )
        self.epochs = _rungs(first_epochs, eta, recipe.epochs)
        """The rungs, and the last epoch."""
        rungs = len(self.epochs) - 1
        self.first = (
            np.zeros(len(self.configurations), int)
            if method == "halving"
            else _brackets(len(self.configurations), rungs, eta, seed)
        )
        """Number of the first rung at which each configuration is judged."""
        self._eta = eta
        least = self.left(0)
        if budget is None:
            budget = ROOM * least
        budget = whole("budget", budget, 1, 2**63 - 1)
        if budget < least:
            raise InputError(
                f"budget is {budget} epochs of training: expected at least {least}, which {method} takes by itself"
            )
        self.search = Search(method, eta, first_epochs, budget, seed)

    def _planned(self, first: int, rung: int) -> int:
        """Of the configurations judged first at that rung, how many are to be kept after another."""
        count = int((self.first == first).sum())
        return max(1, count // self._eta ** (rung - first + 1)) if rung >= first else count

    def left(self, rung: int) -> int:
        """Epochs of training from before a rung on, if every cut is sharp; 0 is the beginning."""
        total = 0
        for number in range(rung, len(self.epochs)):
            length = self.epochs[number] - (self.epochs[number - 1] if number else 0)
            total += length * sum(
                self._planned(first, number - 1) * self._most_repeats(first) for first in np.unique(self.first).tolist()
            )
        return total

    def _most_repeats(self, first: int) -> int:
        return max(len(self._repeats[place]) for place in np.flatnonzero(self.first == first))

    def trials(self, kept: Bool[np.ndarray, "configurations"]) -> list[int]:
        """Numbers of the trials of some configurations, ascending."""
        return sorted(place for each, stays in zip(self.configurations, kept, strict=True) if stays for place in each)

    def decide(
        self,
        rung: int,
        alive: Bool[np.ndarray, "configurations"],
        merit: Float[np.ndarray, "trials"],
        lost: Bool[np.ndarray, "trials"],
        spent: int,
    ) -> tuple[Bool[np.ndarray, "configurations"], Rung]:
        """Which configurations go on after a rung.

        Those that have a trial that diverged are the worst. The others are ranked by their mean over seeds. What is
        below the cut stays all the same while the budget has room, the best first, unless a one-sided paired t test
        over the seeds says at the level ``LEVEL`` that it is worse than the last above the cut, as in a t-race
        (Birattari et al., 2002; López-Ibáñez et al., 2016); without a correction for the number of tests, which would
        keep more. With a single seed there is no test, and cuts are sharp.

        Args:
            rung: number of the rung, from 0.
            alive: which configurations were trained until then.
            merit: of each trial at the rung, more is better; of others it is not looked at.
            lost: whether it has diverged.
            spent: epochs of training that all trials have taken so far.
        """
        means = np.full(len(alive), -np.inf)
        for place in np.flatnonzero(alive):
            mine = self.configurations[place]
            if not lost[mine].any():
                mean = float(np.mean(merit[mine], dtype=float))
                means[place] = -np.inf if np.isnan(mean) else mean
        kept, doubtful = np.zeros(len(alive), bool), []
        for first in np.unique(self.first[alive]).tolist():
            members = np.flatnonzero(alive & (self.first == first))
            if rung < first:
                kept[members] = True
                continue
            ranked = members[np.argsort(-means[members], kind="stable")]
            wanted = self._planned(first, rung)
            kept[ranked[:wanted]] = True
            cut = ranked[min(wanted, len(ranked)) - 1]
            doubtful += [place for place in ranked[wanted:] if self._alike(place, cut, means, merit)]
        length = self.epochs[rung + 1] - self.epochs[rung]
        room = self.search.budget - spent - self.left(rung + 1)
        stay = []
        for place in sorted(doubtful, key=lambda place: -means[place]):
            if (cost := length * len(self._repeats[place])) <= room:
                room -= cost
                stay.append(place)
        kept[stay] = True
        trials = len(self.trials(alive))
        return kept, Rung(self.epochs[rung], int(alive.sum()), int(kept.sum()), len(stay), trials)

    def _alike(
        self, one: int, cut: int, means: Float[np.ndarray, "configurations"], merit: Float[np.ndarray, "trials"]
    ) -> bool:
        """Whether a configuration cannot be told apart from the last that is to be kept."""
        if not np.isfinite(means[[one, cut]]).all():
            return False
        scores = dict(zip(self._repeats[cut], merit[self.configurations[cut]].astype(float), strict=True))
        pairs = zip(self._repeats[one], merit[self.configurations[one]].astype(float), strict=True)
        behind = np.array([scores[repeat] - score for repeat, score in pairs if repeat in scores])
        return worse_by_luck(behind) >= LEVEL

    def stopped(
        self, kept_after: Sequence[Bool[np.ndarray, "configurations"]], trials: int
    ) -> Int[np.ndarray, "trials"]:
        """Of each of so many trials, the epoch of the rung that ended it; 0 for none."""
        stopped = np.zeros(trials, int)
        for epoch, kept in reversed(list(zip(self.epochs, kept_after, strict=False))):
            stopped[self.trials(~kept)] = epoch
        return stopped


def judged(
    score: Float[np.ndarray, "trials"], loss: Float[np.ndarray, "trials"], lost: Bool[np.ndarray, "trials"]
) -> Float[np.ndarray, "trials"]:
    """What a rung looks at, more is better: validation scores, or losses where no score can be computed."""
    return -loss if np.isnan(score[~lost]).all() else score


def worse_by_luck(behind: Float[np.ndarray, "pairs"]) -> float:
    """The p-value of a one-sided paired t test that these differences are above 0 in the mean; 0 of a single one."""
    from scipy import stats

    if len(behind) < 2:
        return 0.0
    mean, error = behind.mean(), behind.std(ddof=1) / np.sqrt(len(behind))
    if error == 0:
        return 0.0 if mean > 0 else 1.0
    return float(stats.t.sf(mean / error, len(behind) - 1))


def _rungs(first: int, eta: int, epochs: int) -> tuple[int, ...]:
    found = []
    while first < epochs:
        found.append(first)
        first *= eta
    return (*found, epochs)


def _brackets(count: int, rungs: int, eta: int, seed: int) -> Int[np.ndarray, "configurations"]:
    """The first rung of each configuration: sizes of brackets in Hyperband's ratios, drawn from the seed."""
    # Bracket s has its first rung s rungs before the last epoch; Hyperband gives it ⌈(s_max + 1) / (s + 1) · η^s⌉.
    sizes = np.array([(rungs + 1) / (s + 1) * float(eta) ** s for s in range(rungs, -1, -1)])
    ends = np.maximum(np.round(np.cumsum(sizes) / sizes.sum() * count), np.arange(1, len(sizes) + 1)).astype(int)
    of_bracket = np.searchsorted(np.minimum(ends, count), np.arange(count), side="right")
    order = jax.random.permutation(jax.random.fold_in(root_key(seed), BRACKETS), count)
    found = np.empty(count, int)
    found[np.asarray(order)] = of_bracket
    return found


def search_of(settings: Mapping[str, Any]) -> Search:
    """A search as JSON holds it.

    Raises:
        InputError: it makes no sense.
    """
    instance("search", settings, Mapping, "its settings")
    names = ("eta", "first_epochs", "budget", "seed")
    if settings.keys() != {"method", *names}:
        raise InputError(f"search has {', '.join(map(str, settings))}: expected method, {', '.join(names)}")
    method = one_of("method", settings["method"], METHODS)
    return Search(method, *(whole(name, settings[name], 0, 2**63 - 1) for name in names))

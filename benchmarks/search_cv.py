"""Time a grid search with cross-validation: MLPSearchCV, and GridSearchCV with scikit-learn's networks and with ours.

    python benchmarks/search_cv.py             # digits: 48 and 64 candidates on 5 folds; iris: 3 on 4
    python benchmarks/search_cv.py --quick     # iris alone: to see that it works

Each search is a process of its own, in turns, which searches twice where that does not take long: the first time
compiles, and the second time what was compiled is there. Beside the time that passed is the processors' own, which says
the same however busy the machine is. GridSearchCV takes a process per core for scikit-learn's networks (n_jobs), which
is as fast as it gets, and one for ours. Says what each took, which parameters it found best, and how they score. Takes
ten minutes on 2 cores. Writes a record, search-cv-cpu (-gpu), to benchmarks/records.
"""

import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import tyro
from _record import RECORDS, environment, summary, write_record
from rich.console import Console
from rich.table import Table

SEARCHES = {
    "together": "MLPSearchCV",
    "scikit-learn": "GridSearchCV(MLPClassifier of scikit-learn)",
    "one by one": "GridSearchCV(MLPClassifier of mlp_jax)",
}


@dataclass(frozen=True)
class Options:
    """Time a grid search with cross-validation."""

    rounds: int = 1
    """How many times each is run, in turns."""
    quick: bool = False
    """The small problem alone."""
    skip: tuple[Literal["together", "scikit-learn", "one by one"], ...] = ()
    """Searches to leave out."""
    out: Path = RECORDS
    """Directory of the record."""
    worker: tuple[str, str] | None = None
    """Run a search on a problem, and print what came of it as JSON: for this program's own use."""


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        data: name of scikit-learn's data set.
        grid: of parameters.
        settings: other parameters of the networks.
        folds: of the cross-validation.
    """

    data: str
    grid: dict[str, list[Any]]
    settings: dict[str, Any]
    folds: int

    @property
    def fits(self) -> int:
        """Networks to be trained."""
        return int(np.prod([len(values) for values in self.grid.values()])) * self.folds


_DIGITS = {"alpha": [1e-4, 3.0, 30.0, 300.0], "learning_rate_init": [3e-5, 1e-4, 3e-4, 1e-3]}

PROBLEMS = {
    "wide": Problem(
        "digits", {"hidden_layer_sizes": [(8,), (32,), (128,)]} | _DIGITS, {"max_iter": 200, "random_state": 0}, 5
    ),
    "narrow": Problem(
        "digits", {"hidden_layer_sizes": [(4,), (8,), (16,), (32,)]} | _DIGITS, {"max_iter": 200, "random_state": 0}, 5
    ),
    "iris": Problem(
        "iris",
        {"hidden_layer_sizes": [(2,), (10,), (50,)]},
        {"max_iter": 30, "learning_rate_init": 0.02, "batch_size": 32, "random_state": 0},
        4,
    ),
}


def processor_seconds() -> float:
    """What this process and its children have used, of all cores."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def work(search: str, problem: Problem) -> list[dict[str, Any]]:
    """Search twice in this process."""
    from sklearn import datasets, neural_network
    from sklearn.model_selection import GridSearchCV
    from sklearn.preprocessing import StandardScaler

    from mlp_jax.adapters.estimators import MLPClassifier, MLPSearchCV

    warnings.simplefilter("ignore")
    x, y = getattr(datasets, f"load_{problem.data}")(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    found = []
    for _ in range(2 if search == "together" or problem.fits < 100 else 1):
        begun, used = time.perf_counter(), processor_seconds()
        if search == "together":
            tried = MLPSearchCV(MLPClassifier(**problem.settings), problem.grid, cv=problem.folds)
        elif search == "one by one":
            tried = GridSearchCV(MLPClassifier(**problem.settings), problem.grid, cv=problem.folds)
        else:
            theirs = neural_network.MLPClassifier(**problem.settings)
            tried = GridSearchCV(theirs, problem.grid, cv=problem.folds, n_jobs=os.cpu_count())
        tried.fit(x, y)
        found.append(
            {
                "seconds": time.perf_counter() - begun,
                "processor": processor_seconds() - used,
                "best": tried.best_params_,
                "score": float(tried.best_score_),
                "scores": np.round(tried.cv_results_["mean_test_score"], 5).tolist(),
            }
        )
    return found


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.worker is not None:
        print(json.dumps(work(options.worker[0], PROBLEMS[options.worker[1]])))
        return
    import jax

    record = environment()
    backend = jax.default_backend()
    names = [name for name in SEARCHES if name not in options.skip]
    problems = ["iris"] if options.quick else list(PROBLEMS)
    runs: dict[str, dict[str, list[Any]]] = {problem: {name: [] for name in names} for problem in problems}
    for number in range(options.rounds):
        for problem in problems:
            for name in names[:: -1 if number % 2 else 1]:
                print(f"round {number + 1}: {problem}, {name}", file=sys.stderr)
                command = [sys.executable, __file__, "--worker", name, problem]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                runs[problem][name].append(json.loads(done.stdout.splitlines()[-1]))
    record |= {"backend": backend, "problems": {}}
    for problem in problems:
        asked = PROBLEMS[problem]
        table = Table(
            title=f"{problem}: {asked.fits} networks, {asked.folds} folds, {asked.settings['max_iter']} epochs"
        )
        for heading in ("", "seconds", "of processors", "again", "of processors", "best parameters", "score (%)"):
            table.add_column(heading, justify="left" if heading in ("", "best parameters") else "right")
        of_problem: dict[str, Any] = {"data": asked.data, "fits": asked.fits, "folds": asked.folds, "grid": asked.grid}
        for name in names:
            found = {}
            for key, place in (("first", 0), ("again", -1)):
                some = [run[place] for run in runs[problem][name] if place == 0 or len(run) > 1]
                if some:
                    found[key] = {each: summary([run[each] for run in some]) for each in ("seconds", "processor")}
            one = runs[problem][name][0][0]
            of_problem[name] = found | {"best": one["best"], "scores": one["scores"]}
            row = [
                f"{found[key][each]['median']:.2f}" if key in found else ""
                for key in ("first", "again")
                for each in ("seconds", "processor")
            ]
            best = ", ".join(f"{key} {value}" for key, value in one["best"].items())
            table.add_row(SEARCHES[name], *row, best, f"{100 * one['score']:.2f}")
        Console(width=None if sys.stdout.isatty() else 190).print(table)
        record["problems"][problem] = of_problem
    name = f"search-cv-{'cpu' if backend == 'cpu' else 'gpu'}"
    if options.quick:
        name += "-quick"
    print(f"Written to {write_record(record, options.out, name)}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))

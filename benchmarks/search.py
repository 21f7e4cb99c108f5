"""Time a search by successive halving against the whole sweep, and against the tuners that stop losers early.

    python benchmarks/search.py             # 16 widths × 16 learning rates, 3 seeds, 20 epochs, on MNIST
    python benchmarks/search.py --quick     # 4 × 4, 2 seeds, 8 epochs, on 5,000 images: to see that it works

needs: python -m pip install -e ".[optuna,peers]" keras-tuner; a contestant whose package is missing is named and left
out. Takes hours on 2 cores, most of it for the peers: --contestants says who takes part, and --peers-epochs N measures
the peers on the first N epochs of their budget, from which the time of the whole is reckoned.

Each is a process of its own, so that all compile everything. The search and the sweep train every configuration with
all seeds: how long each takes to its results, which share of it is compilation, and by how much what the search picks
is behind the sweep's best, in standard errors of that over its seeds. The peers train one seed: Optuna's
SuccessiveHalvingPruner around PyTorch and around Keras 3, and KerasTuner's Hyperband. They stand beside a search with
one seed, and have as many epochs of training as it takes; with --rounds every round has another seed. Times are without
imports. Writes a record, search-cpu (-gpu), to benchmarks/records.
"""

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import numpy as np
import search_peers
import tyro
from _record import RECORDS, environment, summary, write_record
from _turns import WorkerError
from peer_workers import JAX_VARIABLES
from peers import missing, run_program, write_data
from rich import box
from rich.console import Console
from rich.table import Table

import mlp_jax

Ours = Literal["search", "sweep", "search-one-seed"]
OURS: dict[str, str] = {
    "search": "mlp_jax search",
    "sweep": "mlp_jax sweep",
    "search-one-seed": "mlp_jax search, 1 seed",
}
Name = Literal[Ours, search_peers.Name]


@dataclass(frozen=True)
class Options:
    """Time a search against the whole sweep, and against the tuners that stop losers early."""

    widths: int = 16
    """How many, from 8 to 256, evenly on a logarithmic scale."""
    rates: int = 16
    """Likewise learning rates, from 1e-4 to 1e-1."""
    seeds: int = 3
    """Of each configuration, for the search and the sweep."""
    epochs: int = 20
    """Of the sweep, and of what a search trains to the end."""
    eta: int = 4
    """One in so many configurations goes on at a rung."""
    train_size: int | None = None
    """Train on this many examples only."""
    contestants: tuple[Name, ...] = get_args(Ours) + get_args(search_peers.Name)
    """Who takes part; beside peers, the search with one seed always does."""
    peers_epochs: int | None = None
    """Stop a peer after so many epochs of all its configurations, and reckon from them how long its budget takes."""
    rounds: int = 1
    """How many times each is run, in turns."""
    quick: bool = False
    """A small problem instead."""
    out: Path = RECORDS
    """Directory of the record."""
    worker: str = ""
    """Run one of ours, described in JSON, and print what came of it: for this program's own use."""

    @property
    def names(self) -> list[str]:
        """Who takes part, in the order of running."""
        wanted: list[str] = [name for name in (*OURS, *search_peers.PEERS) if name in self.contestants]
        if any(name in search_peers.PEERS for name in wanted) and "search-one-seed" not in wanted:
            wanted.insert(0, "search-one-seed")
        return wanted


@dataclass(frozen=True)
class Work:
    """What one of ours is to do: ``name``, on the data in a file, with these seeds."""

    name: str
    data: str
    widths: tuple[int, ...]
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    epochs: int
    eta: int

    @property
    def grid(self) -> mlp_jax.Grid:
        """The trials."""
        return mlp_jax.Grid(tuple(self.widths), (search_peers.ACTIVATION,), tuple(self.rates), tuple(self.seeds))


def values(options: Options) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Widths and learning rates."""
    widths = dict.fromkeys(np.geomspace(8, 256, options.widths).round().astype(int).tolist())
    return tuple(widths), tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-4, 1e-1, options.rates))


def run_ours(work: Work) -> dict[str, Any]:
    """Run one of ours; validation scores are of each trial, in the order of the grid."""
    grid, dataset, recipe = work.grid, mlp_jax.load_dataset(work.data), mlp_jax.Recipe(epochs=work.epochs)
    mlp_jax.device_a_core(grid, dataset, recipe=recipe)
    begun = time.perf_counter()
    stopped = np.zeros(len(grid.trials), int)
    result: mlp_jax.SweepResult
    if work.name == "sweep":
        result = mlp_jax.sweep(grid, dataset, recipe=recipe)
    else:
        result = found = mlp_jax.search(grid, dataset, recipe=recipe, eta=work.eta)
        stopped = found.stopped
    seconds = time.perf_counter() - begun
    scores = np.where(result.diverged > 0, 0.0, result.final["validation_score"])
    by_seed = np.reshape(scores.astype(float), (-1, len(work.seeds)))
    survives = np.reshape(stopped, by_seed.shape)[:, 0] == 0
    picked = int(np.where(survives, by_seed.mean(axis=1), -1).argmax())
    trial = result.trials[picked * len(work.seeds)]
    return {
        "seconds": seconds,
        "compile": result.timing.compile,
        "epochs": int(result.epochs.sum()),
        "configurations": len(by_seed),
        "place": picked,
        "picked": (trial.hidden_units, trial.learning_rate),
        "best": float(by_seed[picked].mean()),
        "validation": np.round(by_seed, 6).tolist(),
    }


def measure(name: str, options: Options, data: Path, number: int, budget: int | None) -> dict[str, Any]:
    """Run a contestant in a process of its own, for the round of that number; peers up to their budget."""
    widths, rates = values(options)
    if name in OURS:
        seeds = (number,) if name == "search-one-seed" else tuple(range(options.seeds))
        work = Work(name, str(data), widths, rates, seeds, options.epochs, options.eta)
        command = [sys.executable, __file__, f"--worker={json.dumps(asdict(work))}"]
        variables: Mapping[str, str] = JAX_VARIABLES
    else:
        assert budget is not None
        most = min(budget, options.peers_epochs or budget)
        search = search_peers.Search(str(data), widths, rates, options.epochs, options.eta, most, number)
        command, variables = search_peers.worker_command(name, search), search_peers.PEERS[name].variables
    found: dict[str, Any] = json.loads(run_program(command, variables).splitlines()[-1])
    # A peer that had tried every configuration before its budget was spent is done.
    cut = budget is not None and options.peers_epochs is not None and found["epochs"] >= options.peers_epochs
    found["reckoned"] = found["seconds"] * (max(1.0, budget / found["epochs"]) if cut and budget is not None else 1.0)
    return found


def compared(runs: Mapping[str, list[dict[str, Any]]]) -> dict[str, float]:
    """The search beside the sweep: its share of the time, and how far what it picks is behind (the median round)."""
    shares, behind, errors = [], [], []
    for ours, whole in zip(runs["search"], runs["sweep"], strict=True):
        by_seed = np.array(whole["validation"])
        best, chosen = whole["place"], ours["place"]
        shares.append(ours["seconds"] / whole["seconds"])
        behind.append(by_seed[best].mean() - by_seed[chosen].mean())  # both as the sweep trained them
        count = by_seed.shape[1]
        errors.append(by_seed[best].std(ddof=1) / np.sqrt(count) if count > 1 else np.nan)
    medians = (float(np.median(each)) for each in (shares, behind, errors))
    return dict(zip(("share", "behind", "standard_error"), medians, strict=True))


def title_of(name: str) -> str:
    """A contestant's name, for the table."""
    return OURS[name] if name in OURS else search_peers.PEERS[name].title


def table(runs: Mapping[str, list[dict[str, Any]]], options: Options) -> Table:
    """What came of every contestant."""
    found = Table(
        title=f"{options.widths * options.rates} configurations, {options.epochs} epochs at most, "
        f"{options.seeds} seeds where not said otherwise or of a peer",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    headings = ("seconds", "of the budget", "× ours", "compilation", "epochs", "configurations", "validation (%)")
    found.add_column("", no_wrap=True)
    for heading in headings:
        found.add_column(heading, justify="right")
    ours = runs.get("search-one-seed")
    for name, each in runs.items():
        seconds, reckoned, best = (np.array([run[key] for run in each]) for key in ("seconds", "reckoned", "best"))
        peer = name in search_peers.PEERS
        found.add_row(
            title_of(name),
            f"{np.median(seconds):.1f}",
            f"{'≈ ' if (reckoned > seconds).any() else ''}{np.median(reckoned):.1f}" if peer else "",
            f"{np.median(_ratios(each, ours)):.1f}" if peer and ours else "",
            "" if peer else f"{100 * np.median([run['compile'] / run['seconds'] for run in each]):.0f} %",
            f"{np.median([run['epochs'] for run in each]):,.0f}",
            f"{np.median([run['configurations'] for run in each]):,.0f}",
            f"{100 * best.mean():.2f}" + (f" ± {100 * best.std(ddof=1):.2f}" if len(best) > 1 else ""),
        )
    return found


def _ratios(each: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[float]:
    """How many times as long as ours, round by round."""
    return [run["reckoned"] / own["seconds"] for run, own in zip(each, ours, strict=True)]


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    if options.worker:
        print(json.dumps(run_ours(Work(**json.loads(options.worker)))))
        return
    if options.quick:
        small = {"widths": 4, "rates": 4, "seeds": 2, "epochs": 8, "eta": 2, "train_size": 5_000}
        options = replace(options, **small)  # type: ignore[arg-type]
    for name in ("rounds", "peers_epochs"):
        value = getattr(options, name)
        if value is not None and value < 1:
            sys.exit(f"{name} is {value}: expected 1 or more")
    record = environment()
    runs: dict[str, list[dict[str, Any]]] = {}
    left_out: dict[str, str] = {}
    for name in options.names:
        if name in search_peers.PEERS and (lacking := missing(search_peers.PEERS[name].modules)):
            left_out[name] = lacking
        else:
            runs[name] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        examples = write_data(data, options.train_size)
        for number in range(options.rounds):
            budget = None
            for name in list(runs):
                print(f"round {number + 1} of {options.rounds}: {title_of(name)}", file=sys.stderr, flush=True)
                try:
                    found = measure(name, options, data, number, budget if name in search_peers.PEERS else None)
                except WorkerError as error:
                    if name in OURS:
                        sys.exit(f"{title_of(name)}: {error}")
                    left_out[name] = str(error)
                    runs.pop(name)
                    continue
                if name == "search-one-seed":
                    budget = found["epochs"]
                runs[name].append(found)
    for left, reason in left_out.items():
        print(f"left out: {left}: {reason}", file=sys.stderr)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table(runs, options))
    beside = compared(runs) if {"search", "sweep"} <= runs.keys() else {}
    if beside:
        console.print(
            f"The search takes {beside['share']:.2f} × the time of the sweep; what it picks is "
            f"{100 * beside['behind']:.2f} points behind the sweep's best, whose standard error is "
            f"{100 * beside['standard_error']:.2f}."
        )
    keys = ("widths", "rates", "seeds", "epochs", "eta", "peers_epochs")
    record |= {
        "problem": {**{key: getattr(options, key) for key in keys}, "train_examples": examples},
        "backend": jax.default_backend(),
        **beside,
        "results": [_recorded(name, each, runs.get("search-one-seed")) for name, each in runs.items()],
        "left_out": left_out,
    }
    kind = "cpu" if jax.default_backend() == "cpu" else "gpu"
    print(f"Written to {write_record(record, options.out, f'search-{kind}').name}")


def _recorded(name: str, each: list[dict[str, Any]], ours: list[dict[str, Any]] | None) -> dict[str, Any]:
    """A contestant as it is written to the record."""
    found: dict[str, Any] = {"name": name, "title": title_of(name)}
    found |= {key: summary([run[key] for run in each]) for key in ("seconds", "compile") if key in each[0]}
    if name in search_peers.PEERS:
        found["reckoned"] = summary([run["reckoned"] for run in each])
        found["times_ours"] = summary(_ratios(each, ours)) if ours else None
    found |= {key: [run[key] for run in each] for key in ("epochs", "configurations", "picked")}
    return found | {"best_validation": summary([run["best"] for run in each])}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))

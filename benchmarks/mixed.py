"""Time 64 networks of depths 1 to 4, each with its own rate, decay and dropout, beside the same in PyTorch.

    python benchmarks/mixed.py

One width (384), batches of 256, AdamW: the setting of TabPack (ICML 2026). Three ways take turns, an epoch each, in one
process: ours, one program; PyTorch with the networks of a depth as batched products, and each number by network; and
PyTorch one network after another. All train on the same synthetic table with the numbers of the same trials, on as many
threads. Writes a record, mixed-cpu (-gpu), to benchmarks/records. Needs the extra peers.
"""

import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from _record import RECORDS, environment, summary, write_record
from rich.console import Console
from rich.table import Table

import mlp_jax

CLASSES = 10
OURS, BATCHED, ALONE = "mlp_jax, one program", "PyTorch, batched by depth", "PyTorch, one after another"


@dataclass(frozen=True)
class Options:
    """Time many different networks trained together and one after another."""

    rounds: int = 5
    """Epochs of each way to time, after one that warms up."""
    networks: int = 64
    """How many, of depths 1, 2, 3, 4 in turn."""
    width: int = 384
    """Units of every hidden layer."""
    examples: int = 4096
    """To train on."""
    features: int = 64
    """Columns of the table."""
    batch_size: int = 256
    """Examples per minibatch."""
    out: Path = RECORDS
    """Directory of the record."""


def trials(options: Options) -> list[mlp_jax.Trial]:
    """The networks, with numbers of their own."""
    rng = np.random.default_rng(0)
    rates, decays = (10 ** rng.uniform(low, high, options.networks) for low, high in ((-4, -2), (-3, -1)))
    dropouts = rng.uniform(0.05, 0.5, options.networks)
    found = []
    for i in range(options.networks):
        depth = i % 4 + 1
        found.append(
            mlp_jax.Trial(
                options.width if depth == 1 else (options.width,) * depth,
                "relu",
                float(rates[i]),
                0,
                optimizer="adamw",
                weight_decay=float(decays[i]),
                dropout=float(dropouts[i]),
            )
        )
    return found


def table(options: Options) -> mlp_jax.Dataset:
    """A synthetic table, whose classes depend on the features."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(options.examples + 512, options.features)).astype(np.float32)
    y = (x @ rng.normal(size=(options.features, CLASSES))).argmax(axis=1)
    ends = (options.examples, options.examples + 256)
    train, validation, test = ((x[rows], y[rows]) for rows in (slice(ends[0]), slice(*ends), slice(ends[1], None)))
    return mlp_jax.Dataset.from_arrays(*train, *test, x_validation=validation[0], y_validation=validation[1])


def ours(options: Options, dataset: mlp_jax.Dataset, networks: list[mlp_jax.Trial]) -> tuple[list[float], float]:
    """Seconds of each epoch, and of compilation; what it scores on validation is part of an epoch."""
    recipe = mlp_jax.Recipe(epochs=1 + options.rounds, batch_size=options.batch_size)
    result = mlp_jax.sweep(mlp_jax.Grid.of(networks), dataset, recipe=recipe)
    return list(result.timing.epochs[1:]), result.timing.compile


class Batched:
    """The networks of each depth as batched products, in PyTorch."""

    def __init__(self, options: Options, dataset: mlp_jax.Dataset, networks: list[mlp_jax.Trial]) -> None:
        import torch

        self.torch, self.batch_size = torch, options.batch_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.x = torch.from_numpy(np.asarray(dataset.train.features)).to(self.device)
        self.y = torch.from_numpy(np.asarray(dataset.train.targets, np.int64)).to(self.device)
        self.groups = []
        for depth in range(1, 5):
            mine = [trial for i, trial in enumerate(networks) if i % 4 + 1 == depth]
            sizes = [options.features, *[options.width] * depth, CLASSES]
            if mine:
                self.groups.append(self._group(mine, sizes))

    def _group(self, mine: list[mlp_jax.Trial], sizes: list[int]) -> dict[str, Any]:
        torch = self.torch

        def numbers(name: str) -> Any:
            values = [getattr(trial, name) for trial in mine]
            return torch.tensor(values, dtype=torch.float32, device=self.device)[:, None, None]

        parameters = []
        for inputs, outputs in itertools.pairwise(sizes):
            limit = (6 / (inputs + outputs)) ** 0.5
            kernel = (torch.rand(len(mine), inputs, outputs, device=self.device) * 2 - 1) * limit
            parameters += [kernel, torch.zeros(len(mine), 1, outputs, device=self.device)]
        for parameter in parameters:
            parameter.requires_grad_(True)
        moments = [[torch.zeros_like(parameter) for parameter in parameters] for _ in range(2)]
        names = ("learning_rate", "weight_decay", "dropout")
        return {"parameters": parameters, "moments": moments, "step": 0, **{name: numbers(name) for name in names}}

    def epoch(self) -> None:
        """Train every network for an epoch, each minibatch through all of them."""
        torch = self.torch
        for rows in torch.randperm(len(self.x), device=self.device).split(self.batch_size):
            for group in self.groups:
                self._step(group, self.x[rows], self.y[rows])
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def _step(self, group: dict[str, Any], x: Any, y: Any) -> None:
        torch, parameters = self.torch, group["parameters"]
        h = x.expand(len(group["learning_rate"]), *x.shape)
        layers = list(zip(parameters[::2], parameters[1::2], strict=True))
        for kernel, bias in layers[:-1]:
            h = torch.relu(torch.baddbmm(bias, h, kernel))
            share = group["dropout"]
            h = h * (torch.rand_like(h) >= share) / (1 - share)
        out = torch.baddbmm(layers[-1][1], h, layers[-1][0])
        losses = torch.nn.functional.cross_entropy(out.flatten(0, 1), y.repeat(len(out)), reduction="none")
        gradients = torch.autograd.grad(losses.view(len(out), -1).mean(dim=1).sum(), parameters)
        group["step"] += 1
        first, second = group["moments"]
        corrections = [1 - beta ** group["step"] for beta in (0.9, 0.999)]
        with torch.no_grad():
            torch._foreach_lerp_(first, gradients, 0.1)
            torch._foreach_mul_(second, 0.999)
            torch._foreach_addcmul_(second, gradients, gradients, 0.001)
            for parameter, mean, square in zip(parameters, first, second, strict=True):
                direction = mean / corrections[0] / ((square / corrections[1]).sqrt_() + 1e-7)
                parameter -= group["learning_rate"] * (direction + group["weight_decay"] * parameter)


class Alone:
    """PyTorch's own modules and AdamW, one network after another."""

    def __init__(self, options: Options, dataset: mlp_jax.Dataset, networks: list[mlp_jax.Trial]) -> None:
        import torch
        from torch import nn

        self.torch, self.batch_size = torch, options.batch_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.x = torch.from_numpy(np.asarray(dataset.train.features)).to(self.device)
        self.y = torch.from_numpy(np.asarray(dataset.train.targets, np.int64)).to(self.device)
        self.each = []
        for i, trial in enumerate(networks):
            sizes, layers = [options.features, *[options.width] * (i % 4 + 1)], []
            for inputs, outputs in itertools.pairwise(sizes):
                layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(trial.dropout)]
            model = nn.Sequential(*layers, nn.Linear(sizes[-1], CLASSES)).to(self.device)
            optimizer = torch.optim.AdamW(
                model.parameters(), trial.learning_rate, weight_decay=trial.weight_decay, fused=True
            )
            self.each.append((model, optimizer))

    def epoch(self) -> None:
        """Train each network for an epoch of its own."""
        torch = self.torch
        for model, optimizer in self.each:
            for rows in torch.randperm(len(self.x), device=self.device).split(self.batch_size):
                optimizer.zero_grad(set_to_none=True)
                torch.nn.functional.cross_entropy(model(self.x[rows]), self.y[rows]).backward()
                optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def timed(run: Callable[[], None]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def main(options: Options) -> None:
    """Measure, and write down what was found."""
    try:
        import torch  # noqa: F401
    except ImportError:
        sys.exit('PyTorch is not installed: python -m pip install -e ".[peers]"')
    record = environment()
    dataset, networks = table(options), trials(options)
    theirs: dict[str, Any] = {BATCHED: Batched(options, dataset, networks), ALONE: Alone(options, dataset, networks)}
    seconds: dict[str, list[float]] = {name: [] for name in (OURS, *theirs)}
    for contestant in theirs.values():
        contestant.epoch()
    compilation = []
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
        epochs, compiled = ours(Options(**vars(options) | {"rounds": 1}), dataset, networks)
        seconds[OURS] += epochs
        compilation.append(compiled)
        for name, contestant in theirs.items():
            seconds[name].append(timed(contestant.epoch))
    backend = jax.default_backend()
    record |= {
        **{name: value for name, value in vars(options).items() if name != "out"},
        "backend": backend,
        "compile": summary(compilation),
        "seconds_an_epoch": {name: summary(samples) for name, samples in seconds.items()},
    }
    path = write_record(record, options.out, f"mixed-{backend}")
    shown = Table(title=f"{options.networks} networks, depths 1 to 4, width {options.width}")
    for heading in ("way", "seconds an epoch", "against ours"):
        shown.add_column(heading, justify="left" if heading == "way" else "right")
    least = float(np.median(seconds[OURS]))
    for name, samples in seconds.items():
        median = float(np.median(samples))
        shown.add_row(name, f"{median:.3f}", f"{median / least:.2f} ×")
    Console().print(shown)
    print(f"compiled in {np.median(compilation):.1f} s at first; written to {path}")


if __name__ == "__main__":
    main(tyro.cli(Options))

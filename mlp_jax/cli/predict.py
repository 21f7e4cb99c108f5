"""mlp-jax predict."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._using import RunPath, check_file, choose, image_form, setting
from mlp_jax.datasets.dataset import ImageForm
from mlp_jax.errors import InputError
from mlp_jax.pictures.images import SURE, Picture, check_form, read_picture, verdict

_MOST_SHOWN = 10  # classes, the likeliest
_BAR = 20  # characters of a probability of 1
_SHOWN_FROM = 0.25  # ink that makes half a block


@dataclass
class Predict:
    """Say what is drawn in pictures, with a model of a run.

    A picture is a PNG or JPEG of any size with one drawing, dark on light or light on dark. It is brought into the form
    of the training images: fitted into their box (20 × 20 for MNIST), and placed by its centre of mass. Whatever is
    drawn, the answer is one of the model's classes.
    """

    run: RunPath
    """What mlp-jax sweep wrote."""
    images: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PICTURE ...")]]
    """PNG or JPEG files."""
    trial: int | None = None
    """Number in trials.csv of the trial that predicts; by default the best on validation."""
    out: Path | None = None
    """Figure to draw, .png or .svg: each picture, what the network saw, and the probabilities."""
    json: bool = False
    """Print the result as JSON."""


def run(options: Predict) -> int:
    """Run the command; returns the exit code."""
    if not options.images:
        if options.run.suffix.lower() in (".png", ".jpg", ".jpeg") and not options.run.is_dir():
            raise InputError(
                f"RUN is missing before {options.run}: expected what mlp-jax sweep wrote, then one or more pictures"
            )
        raise InputError("no picture is given: expected one or more PNG or JPEG files")
    if options.out is not None:
        check_file(options.out, ".png", ".svg")
    chosen = choose(options.run, options.trial)
    form = image_form(chosen.run)
    check_form(form)
    names = setting(chosen.run, "class_names")
    pictures, refused = _read(options.images, form)
    for error in refused.values():
        print(f"mlp-jax: error: {error}", file=sys.stderr)
    if not pictures:
        return 2
    x = np.concatenate([picture.features(form) for picture in pictures])
    outputs = np.asarray(chosen.model.class_probabilities(x) if names else chosen.model.predict(x), np.float64)
    if options.json:
        print_json(
            {
                "run": str(options.run),
                "trial": chosen.row,
                "by_validation": chosen.by_validation,
                "predictions": [
                    {"image": str(picture.path), "beside": picture.beside} | _record(row, names)
                    for picture, row in zip(pictures, outputs, strict=True)
                ],
                "refused": [{"image": str(path), "error": error} for path, error in refused.items()],
            }
        )
    else:
        console = console_for()
        console.print(f"{chosen}.", highlight=False, soft_wrap=True)
        for picture, row in zip(pictures, outputs, strict=True):
            console.print()
            console.print(_side_by_side(picture, row, names), highlight=False)
    if options.out is not None:
        from mlp_jax.answers import plots

        seen = [(picture.path.name, picture.grey, picture.ink) for picture in pictures]
        plots.save(plots.predictions(seen, outputs, names), options.out)
        if not options.json:
            console.print(f"\nWritten to {options.out}", highlight=False, soft_wrap=True)
    return 2 if refused else 0


def _read(paths: Iterable[Path], form: ImageForm) -> tuple[list[Picture], dict[Path, str]]:
    """The pictures, and for files that are no pictures the reason."""
    pictures, refused = [], {}
    for path in paths:
        try:
            pictures.append(read_picture(path, form))
        except (InputError, OSError) as error:
            refused[path] = str(InputError(str(error)))
    return pictures, refused


def _record(outputs: np.ndarray, names: list[str]) -> dict[str, Any]:
    if not names:
        return {"values": outputs.tolist()}
    best = int(outputs.argmax())
    probabilities = dict(zip(names, outputs.tolist(), strict=True))
    probability = float(outputs[best])
    sure = probability >= SURE
    return {"class": names[best], "probability": probability, "sure": sure, "probabilities": probabilities}


def _side_by_side(picture: Picture, outputs: np.ndarray, names: list[str]) -> RichTable:
    """What the network saw, beside its answer."""
    lines = [Text(str(picture.path))]
    notes = []
    if picture.beside > 1:
        notes.append(Text(f"{picture.beside} drawings seem to lie beside each other: expected one per picture"))
    if names:
        best = outputs.argsort(kind="stable")[::-1]
        lines.append(Text(verdict(outputs, names), style="bold"))
        table = RichTable(box=None, pad_edge=False, show_header=False)
        for k in np.sort(best[:_MOST_SHOWN]):
            table.add_row(Text(names[k]), f"{100 * outputs[k]:5.1f} %", "█" * round(_BAR * outputs[k]))
        said = Group(*lines, *notes, Text(), table)
    else:
        said = Group(*lines, Text("is " + ", ".join(f"{value:.4g}" for value in outputs), style="bold"), *notes)
    grid = RichTable.grid(padding=(0, 3))
    grid.add_row(Text(blocks(picture.ink), no_wrap=True), said)
    return grid


def blocks(ink: np.ndarray) -> str:
    """An image ``[H, W]`` of ink from 0 to 1 as lines of half blocks, two rows per line, in a frame."""
    dark = np.pad(ink >= _SHOWN_FROM, ((0, ink.shape[0] % 2), (0, 0)))
    signs = np.array([[" ", "▄"], ["▀", "█"]])[dark[::2].astype(int), dark[1::2].astype(int)]
    rule = "─" * ink.shape[1]
    return "\n".join([f"┌{rule}┐", *("│" + "".join(line) + "│" for line in signs), f"└{rule}┘"])

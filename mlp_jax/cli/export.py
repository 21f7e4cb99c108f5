"""mlp-jax export."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlp_jax.adapters.export import npz_bytes, stablehlo_bytes
from mlp_jax.adapters.onnx import onnx_bytes
from mlp_jax.cli._output import console_for
from mlp_jax.cli._using import RunPath, check_file, choose, setting
from mlp_jax.errors import InputError
from mlp_jax.files import written_whole


@dataclass
class Export:
    """Write a trial's model for use without this package.

    npz: plain arrays A, c1, B, c2, activation, task, class_names and feature_dtype, for NumPy. stablehlo: the whole
    function, for jax.export.deserialize (needs the extra export). onnx: the same, for onnxruntime and others (needs the
    extra onnx).
    """

    run: RunPath
    """What mlp-jax sweep wrote."""
    out: Path
    """File to write; an existing one is replaced."""
    format: Literal["npz", "stablehlo", "onnx"] = "npz"
    """What to write."""
    trial: int | None = None
    """Number of the trial in trials.csv; by default the best on validation."""
    inputs: Literal["auto", "uint8", "float"] = "auto"
    """What the StableHLO or ONNX function takes: uint8 intensities, which it scales, or numbers as the model sees them;
    auto: what the run was trained on."""


def run(options: Export) -> int:
    """Run the command; returns the exit code."""
    check_file(options.out, *(() if options.format == "stablehlo" else (f".{options.format}",)))
    if options.format == "stablehlo" and options.out.suffix.lower() in (".npz", ".npy", ".onnx"):
        raise InputError(f"{options.out}: expected another name for StableHLO, such as {options.out.stem}.stablehlo")
    chosen = choose(options.run, options.trial)
    names, feature_dtype = setting(chosen.run, "class_names"), setting(chosen.run, "feature_dtype")
    trained_on = "uint8" if feature_dtype == "uint8" else "float"
    inputs = trained_on if options.inputs == "auto" else options.inputs
    if options.format == "npz":
        content = npz_bytes(chosen.model, class_names=names, feature_dtype=feature_dtype)
    elif options.format == "onnx":
        content = onnx_bytes(chosen.model, inputs=inputs, class_names=names)
    else:
        content = stablehlo_bytes(chosen.model, inputs=inputs)
    with written_whole(options.out) as file:
        file.write(content)
    console = console_for()
    console.print(f"{chosen}.\nWritten to {options.out}", highlight=False, soft_wrap=True)
    return 0

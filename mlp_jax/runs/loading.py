"""One trained model from a file or a run."""

import re
from pathlib import Path

import numpy as np

from mlp_jax.datasets.npz import names_in, read_npz
from mlp_jax.errors import DataError, InputError, first_line
from mlp_jax.machine.backend import require_jax
from mlp_jax.networks.layers import Widths, check_widths
from mlp_jax.networks.models import Model, model_from_weights
from mlp_jax.runs.directory import read_run
from mlp_jax.runs.tables import best_trial, layers_text, widths_at
from mlp_jax.sweeps.sweep import check_dtype

_TEXTS = ("activation", "task")


def load_model(path: str | Path, *, hidden_units: Widths | None = None, trial: int | None = None) -> Model:
    """Load a trained model: from an .npz file that ``mlp-jax export`` wrote, or from a run directory.

    Pass ``predict`` and ``predict_proba`` features as the model was trained on them; pixels as uint8, which the model
    scales to [0, 1] itself.

    Args:
        path: the file or the directory.
        hidden_units: of a run, the width whose best trial on validation is loaded (a tuple for several layers); by
            default the best trial of all widths is.
        trial: of a run, the number of the trial instead.

    Raises:
        DataError: there is no such file or run, it is damaged, or it holds something else.
        InputError: the run has no such trial or width, every trial that could be chosen diverged, or the parameters are
            float64 and JAX's 64-bit mode is off.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        if hidden_units is not None or trial is not None:
            raise InputError(f"{path} is no run directory: expected neither hidden_units nor trial for a single model")
        return _exported(path)
    if hidden_units is not None and trial is not None:
        raise InputError("hidden_units and trial are both given: expected one of them")
    run = read_run(path)
    check_dtype(run.config["dtype"])
    trials = run.trials
    if hidden_units is not None:
        wanted = layers_text(check_widths(hidden_units))
        widths = [layers_text(widths_at(trials, row)) for row in range(len(trials["trial"]))]
        if wanted not in widths:
            raise InputError(f"{path} has no width {wanted}: expected one of {', '.join(dict.fromkeys(widths))}")
        here = np.array(widths) == wanted
        trials = {name: column[here] for name, column in trials.items()}
    return run.model(best_trial(trials) if trial is None else trial)


def _exported(path: Path) -> Model:
    """The model in a file that ``mlp_jax.adapters.export.npz_bytes`` made."""
    if path.suffix.lower() != ".npz" and path.exists():
        other = {".onnx": "onnxruntime loads it", ".stablehlo": "jax.export.deserialize loads it"}
        hint = f" ({other[path.suffix.lower()]})" if path.suffix.lower() in other else ""
        raise DataError(f"{path} is no .npz file{hint}: expected what mlp-jax export --format npz wrote, or a run")
    symbols = [name for name in names_in(path) if re.fullmatch(r"[Ac]\d*|B", name)]
    arrays = read_npz(path, [*symbols, "shape"], _TEXTS)
    if missing := [name for name in ("A", *_TEXTS) if name not in arrays]:
        raise DataError(f"{path}: holds no {', '.join(missing)}: expected what mlp-jax export --format npz wrote")
    if arrays["A"].dtype == np.float64:
        check_dtype("float64")
    require_jax()  # or its refusal would be taken for one of these parameters
    try:
        model = model_from_weights(
            {symbol: arrays[symbol] for symbol in symbols},
            activation=str(arrays["activation"]),
            task=str(arrays["task"]),
            shape=tuple(arrays["shape"].tolist()) if "shape" in arrays else None,
        )
    except KeyError as error:
        raise DataError(f"{path}: holds no {error.args[0]}: expected what mlp-jax export --format npz wrote") from None
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: not a model ({first_line(error)})") from None
    if unused := set(symbols) - model.weights.keys():
        raise DataError(f"{path}: holds {', '.join(sorted(unused))}, for which the other arrays have no layer")
    return model

"""The report of a run: one self-contained HTML page, without network or script."""

import base64
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlp_jax.answers.analysis import Analysis
from mlp_jax.answers.compare import Comparison
from mlp_jax.answers.compare_words import comparison_answer, comparison_tables
from mlp_jax.answers.words import answer, as_html, findings, question, tables
from mlp_jax.networks.layers import check_widths
from mlp_jax.runs.directory import recipe_of
from mlp_jax.runs.tables import KEYS, layers_text
from mlp_jax.training.axes import AXES
from mlp_jax.training.recipe import Recipe

if TYPE_CHECKING:
    from mlp_jax.answers.plots import RunFigure

_MOST_SVG = 1_000_000  # bytes; a figure of more lines than that is embedded as PNG

CAPTIONS = {
    "against-width": "Where scores on examples that no model was trained on flatten, more hidden units "
    "stop helping. Choices look at validation; widths are compared in pairs, in the tables below.",
    "learning-curves": "How training went: where validation turns back while training goes on, it overfits.",
    "scores-against-parameters": "The same by what a model costs in parameters, with the loss beside the score.",
    "rate-by-width": "Whether every width wants the same learning rate.",
    "training-time": "What a width costs, and what training all of them together saves.",
    "predicted-against-true": "How far predictions are from the truth: on the dashed line they agree.",
    "confusion-matrix": "What is taken for what.",
    "mistakes": "The mistakes that the model is surest of.",
    "comparison": "Scores on validation, with intervals of each run alone; and, of the same data, what one has "
    "over the other: a difference whose interval contains 0 could be luck.",
    "hidden-units": "Light: ink there excites the unit; dark: ink there inhibits it; grey: it makes no difference.",
}


# How to run it again


def rerun(config: Mapping[str, Any]) -> str:
    """The command that repeats the run, or Python code if the command line has no options for it."""
    recipe, seeds = recipe_of(config), [int(seed) for seed in config["seeds"]]
    usual = Recipe(epochs=recipe.epochs, batch_size=recipe.batch_size, precision=recipe.precision)
    rule = _further(config)
    one_each = all(len(values) == 1 for values in rule.values()) and all(type(m) is int for m in config["hidden_units"])
    if "grids" in config or recipe != usual or seeds != list(range(seeds[0], seeds[0] + len(seeds))) or not one_each:
        return _rerun_python(config, recipe)
    transpose = config.get("transpose")
    parts = ["mlp-jax", "sweep", "--dataset", str(config["dataset"])]
    parts += [] if transpose is None else ["--transpose" if transpose else "--no-transpose"]
    parts += ["--hidden-units", *map(str, config["hidden_units"])]
    parts += ["--activations", *map(str, config["activations"])]
    parts += ["--learning-rates", *map(str, config["learning_rates"])]
    parts += [part for name, (value,) in rule.items() for part in (f"--{name.replace('_', '-')}", f"{value}")]
    parts += ["--seeds", str(len(seeds)), "--first-seed", str(seeds[0])]
    parts += ["--epochs", str(recipe.epochs), "--batch-size", str(recipe.batch_size)]
    parts += ["--layout", str(config["layout"]), "--dtype", str(config["dtype"]), "--precision", recipe.precision]
    parts += [] if config["use_bias"] else ["--no-use-bias"]
    parts += ["--keep-state"] if config.get("keep_state") else []
    return ("JAX_ENABLE_X64=1 " if config["dtype"] == "float64" else "") + shlex.join(parts)


def _rerun_python(config: Mapping[str, Any], recipe: Recipe) -> str:
    transpose = "" if config.get("transpose") is None else f", transpose={config['transpose']}"
    grid = " + ".join(map(_grid_python, config.get("grids", [config])))
    names = ("layout", "use_bias", "dtype", *(("keep_state",) if config.get("keep_state") else ()))
    rest = ", ".join(f"{name}={config[name]!r}" for name in names)
    return (
        "import mlp_jax\n\n"
        f"dataset = mlp_jax.load_dataset({config['dataset']!r}{transpose})\n"
        f"grid = {grid}\n"
        f"recipe = mlp_jax.{recipe!r}\n"
        f"result = mlp_jax.sweep(grid, dataset, recipe=recipe, {rest})"
    )


def _grid_python(axes: Mapping[str, Any]) -> str:
    """The call that makes a product again."""
    values = {axis.plural: list(axes[axis.plural]) for axis in AXES.values() if axis.plural in axes}
    values["hidden_units"] = list(map(check_widths, values["hidden_units"]))
    return f"mlp_jax.Grid({', '.join(f'{name}={each!r}' for name, each in values.items())})"


def _further(config: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values on each axis besides the article's, by name."""
    return {
        name: list(config[axis.plural]) for name, axis in AXES.items() if name not in KEYS and axis.plural in config
    }


def how_it_was_run(config: Mapping[str, Any], environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Configuration and environment as names and values for readers."""
    sizes = ", ".join(f"{split} {count:,}" for split, count in config.get("examples", {}).items())
    seconds, versions = environment.get("seconds", {}), environment.get("versions", {})
    trained = f"{sum(seconds['epochs']):.1f} s" if "epochs" in seconds else ""
    epoch = f"{seconds['warm_epoch']:.2f} s per epoch of all trials" if "warm_epoch" in seconds else ""
    compiled = f"{seconds['compile']:.1f} s of compilation" if "compile" in seconds else ""
    device = f"{environment.get('devices', 1)} × {environment.get('device', 'unknown')}"
    cores = f"{environment['cpu_count']} CPU cores" if environment.get("cpu_count") else ""
    further = _further(config)
    optimizers = list(map(str, further.pop("optimizer", ["adam"])))
    constants = ", ".join(f"{name} {config[name]:g}" for name in ("beta1", "beta2", "epsilon"))
    optimizer = ", ".join(f"{name} ({constants})" if name.startswith("adam") else name for name in optimizers)
    listed = {name: ", ".join(map(str, config[name])) for name in ("activations", "seeds")}
    pairs = [
        ("Data set", f"{config['dataset_name']} ({config['dataset']})"),
        ("Examples", sizes),
        ("SHA-256 of the data", str(config["dataset_digest"])),
        ("Task", str(config["task"])),
        ("Hidden units M", ", ".join(layers_text(check_widths(each)) for each in config["hidden_units"])),
        ("Activations", listed["activations"]),
        ("Learning rates", ", ".join(f"{rate:g}" for rate in config["learning_rates"])),
        ("Seeds", listed["seeds"]),
        ("Recipe", f"{config['epochs']} epochs, batches of {config['batch_size']}"),
        ("Optimizer", optimizer),
        *((AXES[name].label.capitalize(), ", ".join(map(_plain, values))) for name, values in further.items()),
        ("Biases", "yes" if config["use_bias"] else "no"),
        ("Layout", str(config["layout"])),
        ("Precision", f"{config['dtype']}, first layers' products from {recipe_of(config).precision}"),
        ("Device", _listed(device, cores, str(environment.get("platform", "")))),
        ("Date", f"{environment['started']} to {environment['ended']}" if "started" in environment else ""),
        ("Time", _listed(trained, epoch, compiled)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [(name, value) for name, value in pairs if value]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _listed(*parts: str) -> str:
    return ", ".join(filter(None, parts))


# The page

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --soft: #5a5a5a; --rule: #d9d9d9; --tint: #f4f4f2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e6; --paper: #17181a; --soft: #a9a9a6; --rule: #3a3b3e; --tint: #222326; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 60rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; }
.answer { font-size: 1.15rem; margin: 0 0 1rem; padding: .8rem 1rem; background: var(--tint);
  border-left: .3rem solid #2a6f8e; }
.caution { margin: 0 0 1rem; padding: .6rem 1rem; border-left: .3rem solid #c77700; font-weight: 600; }
.scroll { overflow-x: auto; }
div.table { background: linear-gradient(90deg, var(--paper) 60%, transparent) 0 0 / 2rem 100% no-repeat local,
  linear-gradient(270deg, var(--paper) 60%, transparent) 100% 0 / 2rem 100% no-repeat local,
  linear-gradient(90deg, var(--soft), transparent) 0 0 / .8rem 100% no-repeat,
  linear-gradient(270deg, var(--soft), transparent) 100% 0 / .8rem 100% no-repeat, var(--paper); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; overflow-wrap: normal; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); }
thead th { border-bottom: 2px solid var(--soft); font-weight: 600; vertical-align: bottom;
  white-space: normal; }
ul { padding-left: 1.2rem; }
li { margin: .3rem 0; }
.note { color: var(--soft); font-size: .9rem; margin: .5rem 0; }
figure { margin: 1.2rem 0 2rem; }
figure .scroll { background: #fff; border-radius: .3rem; }
img { display: block; width: 100%; height: auto; cursor: zoom-in; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .4rem; }
input.zoom { position: absolute; opacity: 0; }
input.zoom:checked + img { width: 60rem; max-width: none; cursor: zoom-out; }
label:focus-within { outline: 2px solid #2a6f8e; display: block; }
dl { display: grid; grid-template-columns: minmax(7rem, auto) 1fr; gap: .3rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
pre { overflow-x: auto; padding: .8rem 1rem; background: var(--tint); font-size: .9rem; overflow-wrap: normal; }
.narrow { display: none; }
@media (max-width: 40rem) {
  .narrow { display: block; }
  dl { display: block; }
  dd { margin: 0 0 .6rem; }
}
"""


def page(
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    analysis: Analysis,
    figures: Iterable["RunFigure"],
    notes: Sequence[str] = (),
    against: str = "",
) -> str:
    """The page as HTML: question, answer, figures and tables, how it was run, how to run it again.

    Args:
        config: of the run.
        environment: of the run.
        analysis: of the run.
        figures: from ``mlp_jax.answers.plots.run_figures``, embedded one after another.
        notes: on the figures, such as why some are missing.
        against: what ``comparison_section`` makes of this run and another.
    """
    asked = as_html(question(config))
    drawn = [_figure(figure) for figure in figures]
    first, *others = (table.html() for table in tables(analysis))
    said = answer(analysis)
    facts = "".join(
        f"<dt>{as_html(name)}</dt><dd>{as_html(value)}</dd>" for name, value in how_it_was_run(config, environment)
    )
    parts = [
        "<header>",
        f"<h1>{asked}</h1>",
        f'<p class="answer">{as_html(said.short)}</p>',
        f'<p class="caution">{as_html(" ".join(said.cautions))}</p>' if said.cautions else "",
        _list(said.details),
        "</header>",
        "<main>",
        '<p class="note narrow">Tap a figure to enlarge it, and once more to fit it to the screen.</p>',
        '<p class="note narrow">A table whose edge is shaded goes on there: swipe it.</p>',
        *drawn[:1],
        first,
        _list(findings(analysis)),
        *others,
        against,
        "<h2>More figures</h2>" if drawn[1:] else "",
        *(f'<p class="note">{as_html(note)}</p>' for note in notes),
        *drawn[1:],
        "<h2>How it was run</h2>",
        f"<dl>{facts}</dl>",
        "<h2>How to run it again</h2>",
        f'<pre tabindex="0"><code>{as_html(rerun(config))}</code></pre>',
        "</main>",
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{asked}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n" + "\n".join(filter(None, parts))
    ) + "\n</body>\n</html>\n"


def comparison_section(found: Comparison, runs: Mapping[str, str], figures: Iterable["RunFigure"]) -> str:
    """A section of the page as HTML: two runs held against each other, in a sentence, figures and tables.

    Args:
        found: what came of that.
        runs: what each name stands for.
        figures: from ``mlp_jax.answers.plots.comparison_figures``.
    """
    said = comparison_answer(found)
    parts = [
        "<section>",
        "<h2>Against another run</h2>",
        f'<p class="note">{"; ".join(as_html(f"{name}: {runs[name]}") for name in found.names)}.</p>',
        f'<p class="answer">{as_html(said.short)}</p>',
        f'<p class="caution">{as_html(" ".join(said.cautions))}</p>' if said.cautions else "",
        _list(said.details),
        *map(_figure, figures),
        *(table.html() for table in comparison_tables(found)),
        "</section>",
    ]
    return "\n".join(filter(None, parts))


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{as_html(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _caption(name: str) -> str:
    """The caption of a figure by its name, which may begin with the score and say that the width is recommended."""
    kind = "against-width" if name.endswith("-against-width") else name.removesuffix("-recommended")
    recommended = " Of the recommended width." if name.endswith("-recommended") else ""
    return CAPTIONS.get(kind, name) + recommended


def _figure(drawn: "RunFigure") -> str:
    from mlp_jax.answers.plots.style import encode

    kind, data = "svg+xml", encode(drawn.figure, "svg")
    if len(data) > _MOST_SVG:
        kind, data = "png", encode(drawn.figure, "png")
    width, height = (round(96 * inches) for inches in drawn.figure.get_size_inches())
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    # A figure is enlarged by a checkbox that nobody sees, so that it needs no script.
    return (
        '<figure><div class="scroll"><label><input type="checkbox" class="zoom" aria-label="Enlarge the figure">'
        f'<img src="{source}" width="{width}" height="{height}" alt="{as_html(drawn.alt)}"></label></div>'
        f"<figcaption>{as_html(_caption(drawn.name))}</figcaption></figure>"
    )

"""mlp-jax check."""

from dataclasses import dataclass

from mlp_jax.answers.terminal import print_table
from mlp_jax.cli._output import console_for, print_json
from mlp_jax.cli._using import RunPath
from mlp_jax.runs.directory import is_finished
from mlp_jax.runs.verify import verify


@dataclass
class Check:
    """Verify a run: intact files, counts that match the configuration, scores that follow from the parameters.

    For an unfinished run: checkpoints that can be read. Exit code 0: sound; 1: something is wrong. Nothing is
    written.
    """

    run: RunPath
    """What mlp-jax sweep wrote, finished or not."""
    dataset: str | None = None
    """The run's data set, if it has moved; by default loaded by its original name, else from the recorded path."""
    json: bool = False
    """Print the findings as JSON."""


def run(options: Check) -> int:
    """Run the command; returns the exit code."""
    findings = verify(options.run, options.dataset)
    wrong, unchecked = (sum(each.verdict == verdict for each in findings) for verdict in ("wrong", "unchecked"))
    if options.json:
        print_json(
            {
                "run": str(options.run),
                "finished": is_finished(options.run),
                "sound": not wrong,
                "findings": [vars(each) for each in findings],
            }
        )
        return int(wrong > 0)
    console = console_for()
    rows = [(each.part, each.verdict, each.message) for each in findings]
    styles = ["bold" if each.verdict == "wrong" else None for each in findings]
    print_table(console, ("part", "verdict", "found"), rows, left=("part", "verdict"), prose="found", styles=styles)
    said = f"{wrong} of {len(findings)} findings are wrong" if wrong else "sound"
    left = f"; {unchecked} not checked" if unchecked else ""
    console.print(f"{options.run}: {said}{left}.", highlight=False, markup=False, soft_wrap=True)
    return int(wrong > 0)

"""The notebook as it is committed is whole, and it runs.

    python tests/test_notebook.py

executes it and writes it back with its outputs, without what would differ for no reason the next time.
"""

import ast
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "experiments" / "image_recognition.ipynb"
MOST_BYTES = 2_500_000
VOLATILE = re.compile(r"(?<![\w.])/(?:tmp|home|root|work|usr|opt|var|mnt|Users|private)/|[A-Z]:\\|0x[0-9a-f]{6,}")

FACTS = """
import json

print(json.dumps({
    "test": {m: row.mean["test_score"] for m, row in ((row.hidden_units, row) for row in rows)},
    "ten": test_ten.score,
    "hundred": test_hundred.score,
    "training_hundred": train_hundred.score,
    "enough": verdict.enough.hidden_units,
    "gains": [[step.gain, step.distinguishable] for step in verdict.gains],
    "interaction": interaction.p_value,
    "best_rates": [best.learning_rate for best in best_rates(by_rate, by_rates.outcomes)],
    "best_rates_of_many": [best.learning_rate for best in best_rates(many_trials, many.outcomes)],
    "trials": [len(result.trials), len(by_rate["trial"]), len(many.trials)],
    "best_of_many": best_point(points).mean["test_score"],
    "read": dict(zip(drawn, said.argmax(axis=1).tolist())),
}))
"""


def execute(notebook):
    """Run every cell in a new kernel; raises at the first that fails."""
    from nbclient import NotebookClient

    NotebookClient(notebook, timeout=900, kernel_name="python3", record_timing=False).execute()


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def committed():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_valid_and_was_run_from_top_to_bottom(committed):
    nbformat.validate(committed)
    cells = code_cells(committed)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    kinds = {(output.output_type, output.get("name")) for output in outputs}
    assert kinds <= {("stream", "stdout"), ("execute_result", None)}  # no error, no warning
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 15
    assert NOTEBOOK.stat().st_size < MOST_BYTES


def test_it_holds_nothing_of_the_machine_that_ran_it(committed):
    assert committed.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in committed.cells:
        assert cell.metadata == {}
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts += [output.get("text", ""), *(v for k, v in output.get("data", {}).items() if k != "image/png")]
        for text in texts:
            assert not VOLATILE.search(text), text


def test_the_api_that_it_names_exists(committed):
    """Every import of ours, and every attribute of what was imported."""
    nodes = [node for cell in code_cells(committed) for node in ast.walk(ast.parse(cell.source))]
    imports = [
        node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) and "mlp_jax" in ast.unparse(node)
    ]
    names = {}
    exec(compile(ast.Module(imports, []), NOTEBOOK.name, "exec"), names)
    used = {
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names
    }
    for name, attribute in used:
        assert hasattr(names[name], attribute), f"{name}.{attribute}"
    assert len(names) > 15
    assert len(used) > 15


@pytest.mark.slow
def test_it_runs_and_finds_what_it_says(committed):
    committed.cells.append(nbformat.v4.new_code_cell(FACTS))
    execute(committed)
    facts = json.loads(committed.cells[-1].outputs[0].text)
    accuracy = {int(m): score for m, score in facts["test"].items()}
    assert accuracy[0] == pytest.approx(0.9277, abs=0.004)
    assert accuracy[10] == pytest.approx(0.9238, abs=0.006)  # the article's
    assert accuracy[100] == pytest.approx(0.9749, abs=0.003)  # the article's
    assert accuracy[0] < accuracy[25] < accuracy[50] < accuracy[100] < accuracy[200]
    assert facts["ten"] == pytest.approx(accuracy[10], abs=0.01)
    assert facts["hundred"] == pytest.approx(accuracy[100], abs=0.005)
    assert facts["training_hundred"] > 0.985
    assert facts["enough"] >= 100
    gains, told = zip(*facts["gains"], strict=True)
    assert gains[0] < 0.002
    assert gains[1] > 0.02
    assert all(told[1:4])
    assert gains[-1] < 0.003
    assert facts["interaction"] < 0.05
    assert min(facts["best_rates"]) > 1e-3
    assert 5e-3 <= min(facts["best_rates_of_many"]) <= max(facts["best_rates_of_many"]) <= 2e-2
    assert facts["trials"] == [35, 36, 1000]
    assert 0.85 < facts["best_of_many"] < 0.93
    assert facts["read"] == {"four": 4, "three": 3, "seven": 7}


def strip(notebook):
    """Leave out what another run or another machine would change without saying anything else."""
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata = {}


if __name__ == "__main__":
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    execute(notebook)
    strip(notebook)
    nbformat.write(notebook, NOTEBOOK)
    sys.exit(0)

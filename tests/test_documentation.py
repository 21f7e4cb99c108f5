"""What the README says is run, and its measured figures are those of the records beside the benchmarks."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 2
    namespace = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert "Trial(hidden_units=100, activation='relu'" in capsys.readouterr().out
    assert namespace["accuracy"] > 0.5


@pytest.mark.parametrize("name", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(name):
    assert name.startswith("https://") or (ROOT / name).exists()


@pytest.mark.parametrize("record", sorted((ROOT / "benchmarks" / "records").glob("*-cpu.json")), ids=lambda p: p.stem)
def test_measured_figures_are_those_of_the_record(record):
    for row in json.loads(record.read_text(encoding="utf-8")).get("results", []):
        seconds = row["least"] if "least" in row else (row.get("warm") or row["whole"])["median"]
        line = rf"^\| {re.escape(row['title'])} \| {len(row['widths'])} \|(.*\|)? {seconds:.2f} \|"
        assert re.search(line, README, re.MULTILINE), f"{row['title']}: {seconds:.2f}"


def test_limits_are_those_of_the_record():
    record = json.loads((ROOT / "benchmarks" / "records" / "roofline-cpu.json").read_text(encoding="utf-8"))
    for limit in record["limits"]:
        seconds, reached = limit["limit_one_after_the_other"], 100 * limit["reached_one_after_the_other"]
        line = rf"^\| {len(limit['widths'])} \|.* {seconds:.2f} s \|.* {reached:.0f} % \|$"
        assert re.search(line, README, re.MULTILINE), f"{seconds:.2f} s, {reached:.0f} %"
    for row in record["results"]:
        line = f"| {row['title']} | {len(row['widths'])} | {row['against_products']:.2f} × |"
        assert line in README, line

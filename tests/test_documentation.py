"""What the pages say is run, and the README's measured figures are those of the records beside the benchmarks."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)


@page
def test_python_blocks_run_and_print_what_they_say(page, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    namespace = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)
    printed = capsys.readouterr().out
    for said in re.findall(r"# → (.*)", "".join(blocks)):
        assert said in printed.splitlines()
    if page.name == "README.md":
        assert len(blocks) >= 2
        assert "Trial(hidden_units=100, activation='relu'" in printed
        assert namespace["accuracy"] > 0.5


@page
def test_links_lead_somewhere(page):
    for name in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert name.startswith("https://") or (page.parent / name).exists(), name


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


def test_scaling_is_that_of_the_record():
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    parts = json.loads((ROOT / "benchmarks" / "records" / "scaling-cpu.json").read_text(encoding="utf-8"))["parts"]
    for point in parts["trials"]["points"][1:]:
        numbers = (
            point["epoch"],
            1000 * point["epoch"] / point["trials"],
            point["compile"],
            point["peak_bytes"] / 2**30,
        )
        row = "| {} | {:.3f} | {:.2f} | {:.2f} | {:.2f} |".format(point["trials"], *numbers)
        assert row in text, row
    for point in parts["plan"]["points"]:
        foreseen, measured = point["foreseen"], point["measured"]
        wide = ", ".join(map(str, point["widths"]))
        row = f"| {wide} | {point['seeds']} | {foreseen['epoch']:.2f} s | {measured['epoch']:.2f} s |"
        row += f" {foreseen['in_all']:.1f} s | {measured['in_all']:.1f} s |"
        assert row in text, row

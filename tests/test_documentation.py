"""What the pages say is run, and the README's measured figures are those of the records beside the benchmarks."""

import json
import re
import sys
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


def test_tables_are_those_of_the_records():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import tables
    finally:
        sys.path.pop(0)
    shown = ""
    for written in tables.PAGES:
        text = written.read_text(encoding="utf-8")
        assert tables.filled(text, tables.TABLES) == text, f"{written.name}: python benchmarks/tables.py writes it anew"
        shown += text
    for name in tables.TABLES:
        assert f"<!-- {name} -->" in shown, name


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

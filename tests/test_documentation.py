"""What the pages say is run, their figures are those of the records, and the site is whole without a network."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlp_jax import ACTIVATIONS
from mlp_jax.training.optimizers import OPTIMIZERS

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
LONG = {
    "docs/method.md",
    "docs/search.md",
    "docs/devices.md",
    "docs/models.md",
    "docs/how-to.md",
    "docs/recipes.md",
    "docs/data.md",
}
"""Pages whose code trains for longer; the slow tests run it."""


def named(path):
    return path.relative_to(ROOT).as_posix()


page = pytest.mark.parametrize("page", PAGES, ids=named)


@pytest.mark.parametrize(
    "page", [pytest.param(path, marks=[pytest.mark.slow] if named(path) in LONG else []) for path in PAGES], ids=named
)
def test_python_blocks_run_and_print_what_they_say(page, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    namespace = {}
    for block in blocks:
        exec(compile(block, page.name, "exec"), namespace)
    printed = capsys.readouterr().out
    for said in re.findall(r"# → (.*)", "".join(blocks)):
        assert said in printed.splitlines()
    if page.name == "README.md":
        assert "Trial(hidden_units=100, activation='relu'" in printed
        assert namespace["accuracy"] > 0.5


@page
def test_links_lead_somewhere(page):
    for name in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert name.startswith("https://") or (page.parent / name).exists(), name


@pytest.fixture(autouse=True)
def registries():
    """What readers are shown to add, such as an optimizer of their own, is there for one page alone."""
    known = [(registry, dict(registry)) for registry in (ACTIVATIONS, OPTIMIZERS)]
    yield
    for registry, before in known:
        registry.clear()
        registry.update(before)


def test_the_site_is_built_and_needs_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    pytest.importorskip("mkdocstrings", reason="needs the extra docs")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    texts = {path.relative_to(tmp_path).as_posix(): path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert {"index.html", "changelog.html", "contributing.html", "api/sweeps.html"} <= texts.keys()
    assert 'id="mlp_jax.sweep"' in texts["api/sweeps.html"]
    for name, text in texts.items():
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', text)
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="([^"]+)"', text)
        assert loaded
        for each in loaded:
            assert not re.match(r"(https?:)?//", each), f"{name} loads {each}"


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

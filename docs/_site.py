"""MkDocs hooks: the site is the pages in docs/ and those of the repository's root that a reader looks for.

README.md, CHANGELOG.md and CONTRIBUTING.md become pages, and the records, figures and notebook that pages link to
become files of the site: so links lead somewhere both in the repository and on the site.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""By path in the repository: the page of the site."""
FILES = ("LICENSE", "benchmarks/records/*.*", "experiments/*.ipynb", "mlp_jax/datasets/mnist/README.md")
"""Patterns of other files that pages link to."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside of docs/."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    for pattern in FILES:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, _target(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links that are relative to a page's place in the repository relative to its place in the site."""
    source = {page: path for path, page in PAGES.items()}.get(page.file.src_uri)
    folder = ROOT if source else (ROOT / "docs" / page.file.src_uri).parent

    def moved(found: re.Match[str]) -> str:
        path, anchor = found[1], found[2] or ""
        if re.match(r"[a-z]+:", path):
            return found[0]
        name = _target((folder / path).resolve())
        depth = page.file.src_uri.count("/")
        return f"]({'../' * depth}{name}{anchor})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", moved, markdown)


def _target(path: Path) -> str:
    """Place in the site of a file of the repository; browsers show a text as such if its name ends in .txt."""
    name = path.relative_to(ROOT).as_posix()
    if name in PAGES:
        return PAGES[name]
    if name.startswith("docs/"):
        return name.removeprefix("docs/")
    return f"{name}.txt" if path.suffix in ("", ".md") else name

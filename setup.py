"""The long description: README.md as a package index shows it, where nothing of the repository lies beside it."""

import re
from pathlib import Path

from setuptools import setup


def standalone(text: str) -> str:
    """Leave out pictures of the repository, and of links into it all but their text."""
    text = re.sub(r"^!\[[^\]]*\]\((?![a-z]+:)[^)]+\)\n\n?", "", text, flags=re.MULTILINE)
    return re.sub(r"\[([^\]]+)\]\((?![a-z]+:)[^)]+\)", r"\1", text)


if __name__ == "__main__":
    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    setup(long_description=standalone(readme), long_description_content_type="text/markdown")

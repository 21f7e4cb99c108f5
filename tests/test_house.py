"""How the package is laid out: rooms that import one way, as pyproject.toml states it; the smoke tests; the version."""

import re
import tomllib

from conftest import SMOKE
from importlinter.api import read_configuration
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_each_room_imports_from_those_below_it_alone(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    assert read_configuration()["contracts_options"], "there is a contract to be held"
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


def test_the_smoke_tests_exist(request):
    tests = request.config.rootpath / "tests"
    for name in SMOKE:
        file, _, test = name.partition("::")
        assert not test or re.search(rf"^def {test}\(", (tests / file).read_text("utf-8"), re.MULTILINE), name
        assert (tests / file).is_file()


def test_the_version_without_git_is_the_one_that_is_cited(request):
    root = request.config.rootpath
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    version = project["tool"]["setuptools_scm"]["fallback_version"]
    assert re.search(rf"^version: {re.escape(version)}$", (root / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert "version" in project["project"]["dynamic"]  # and of a tag, where there is one

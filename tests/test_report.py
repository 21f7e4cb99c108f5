"""The report: what it says, that it is safe and whole, and that a browser shows it as meant."""

import functools
import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from html.parser import HTMLParser
from typing import ClassVar

import numpy as np
import pytest
from test_analysis import MIXED, RISING, drawn, history_of, joined, with_rate
from test_results import table

import mlp_jax
from mlp_jax import Grid, Recipe, cli
from mlp_jax.answers.analysis import analyse
from mlp_jax.answers.report import rerun
from mlp_jax.answers.words import answer, findings, question, tables
from mlp_jax.runs.directory import read_run

EVIL = '<script>alert("x")</script> & "co"'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """What a reader of the page meets: elements, their attributes, text."""

    VOID = frozenset({"meta", "img", "input", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a data set that can be loaded again, with names that would break a careless page."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("report")
    images, labels = rng.integers(0, 256, (60, 6, 5)).astype(np.uint8), np.arange(60) % 3
    path = folder / f"{EVIL.replace('/', '')}.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    arguments = ["sweep", "--dataset", str(path), "--hidden-units", "0", "4", "--learning-rates", "0.001", "0.01"]
    assert cli.main([*arguments, "--seeds", "2", "--epochs", "2", "--no-use-bias", "--out", str(folder / "run")]) == 0
    return folder / "run"


def small_analysis(trials, score_name="accuracy"):
    history = history_of(np.full((len(trials["trial"]), 2), 0.5), trials)
    return analyse(trials, history, {"score_name": score_name, "examples": {"test": 100}})


def test_the_page_is_whole_safe_and_accessible(run, capsys):
    assert cli.main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"Written to {run / 'report.html'}\n"
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not page.all("script")
    assert EVIL.replace("/", "") in "".join(page.words).replace("\xa0", " ")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    shown = page.all("img")
    assert len(shown) == 7  # against width, curves, parameters, rate × width, confusions, mistakes, units
    assert all(image["alt"].endswith(".") and len(image["alt"]) > 30 for image in shown)
    # Nothing comes from elsewhere.
    sources = [value for _, each in page.elements for name, value in each.items() if name in ("src", "href")]
    assert len(sources) == len(shown)
    assert all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\(|@import|https?:", re.sub(r"data:image/[^\"]*", "", text))
    headings = [cell.get("scope") for cell in page.all("th")]
    assert headings
    assert set(headings) == {"col"}


def test_the_page_says_what_was_found_and_how(run):
    words = " ".join(" ".join(Page((run / "report.html").read_text(encoding="utf-8")).words).split())
    words = words.replace("\xa0", " ")
    back = read_run(run)
    analysis = analyse(back.trials, back.history, back.config, outcomes=back.outcomes)
    said = answer(analysis)
    assert any(sentence.startswith("Still learning at the last epoch") for sentence in said.cautions)  # of 2
    sentences = (question(back.config), said.short, *said.cautions, *said.details, *findings(analysis))
    for sentence in (*sentences, rerun(back.config)):
        assert " ".join(sentence.split()) in words
    for found in tables(analysis):
        assert " ".join(" ".join(row) for row in found.rows) in words
    for value in (back.config["dataset_digest"], back.environment["versions"]["jax"], "learning rate"):
        assert value in words


def test_the_command_runs_it_again(run, tmp_path):
    command = shlex.split(rerun(read_run(run).config))
    assert command[:2] == ["mlp-jax", "sweep"]
    assert cli.main([*command[1:], "--out", str(tmp_path / "again")]) == 0
    first, again = read_run(run), read_run(tmp_path / "again")
    assert first.config == again.config
    for column, values in first.trials.items():
        np.testing.assert_array_equal(values, again.trials[column])


def test_what_the_command_line_cannot_ask_for_is_run_again_from_python(run, monkeypatch):
    asked = []
    monkeypatch.setattr(mlp_jax, "sweep", lambda *args, **kwargs: asked.append((*args, kwargs)))
    config = read_run(run).config
    exec(rerun(config | {"seeds": [5, 9], "beta1": 0.8, "precision": "bfloat16"}), {})
    ((grid, dataset, options),) = asked
    assert grid == Grid((0, 4), ("sigmoid",), (1e-3, 1e-2), (5, 9))
    assert dataset.digest == config["dataset_digest"]
    recipe = Recipe(epochs=2, beta1=0.8, precision="bfloat16")
    assert options == {"recipe": recipe, "layout": "packed", "use_bias": False, "dtype": "float32"}


@pytest.mark.parametrize(
    ("case", "short", "detail"),
    [
        (RISING, "As many as were tried, or more: 40 hidden", "M = 40 reaches a test accuracy of"),
        (MIXED, "About 20 hidden units: 10 are worse", "M = 20 is the smallest width within one standard error"),
        (({0: 0.9, 20: 0.903}, 3, 400), "It cannot be told whether a hidden layer helps", "M is the number of"),
        (({10: 0.9, 20: 0.8}, 3, 400), "10 hidden units did best, the fewest that were tried", "M = 10 reaches"),
        (({10: 0.4, 20: 0.45}, 1, 400), "20 hidden units did best of 2 numbers tried, but one seed", "M is the number"),
    ],
)
def test_answers_fit_what_was_found(case, short, detail):
    trials, outcomes = drawn(*case)
    config = {"score_name": "accuracy", "examples": outcomes.sizes}
    history = history_of(np.full((len(trials["trial"]), 2), 0.5), trials)
    said = answer(analyse(trials, history, config, outcomes=outcomes))
    assert said.short.startswith(short)
    assert detail in " ".join(said.details)
    assert f"That rests on validation ({case[1]} seed" in said.short
    assert "Still learning" not in str(said)
    assert "more likely" not in str(said)


def test_answers_name_their_intervals_and_settings():
    row = table({10: [0.4, 0.41]})
    single = answer(small_analysis(row, "R²"))
    assert single.short == "It reaches a test R² of 0.8100 (95 % interval 0.6829 to 0.9371, 2 seeds, 100 examples)."
    assert answer(small_analysis(table({10: [0.4]}), "R²")).short == "It reaches a test R² of 0.8000."
    below = answer(small_analysis(table({10: [-0.4]}), "R²")).short
    assert "−0.8000 (squared errors 1.8 times as great as if all answers were the mean" in below
    assert "every trial diverged" in answer(small_analysis(table({10: [0.4]}, diverged=[1]))).short
    settings = small_analysis(joined(with_rate(1e-3, {10: [0.4, 0.41]}), with_rate(1e-2, {10: [0.3, 0.31]})))
    assert answer(settings).details == ("Best of 2 settings on validation: sigmoid, learning rate 0.001.",)


def test_a_notebook_shows_tables():
    (found,) = tables(small_analysis(table({10: [0.4]})))
    assert "<td>10</td>" in found._repr_html_()


def test_tables_leave_out_what_is_not_known():
    by_width, gains, best = tables(small_analysis(table({10: [0.4, 0.42], 20: [0.45, 0.46]}, diverged=[0, 3, 0, 0])))
    assert by_width.headings[:4] == ("M", "test", "95 %", "SD over seeds")
    assert by_width.rows[0] == ("10", "80.00", "–", "–", "40.00", "1", "100", "1 of 2")
    assert gains.rows == [("10 → 20", "+5.00", "–", "–", "–", "+10.00", "–")]
    assert best.rows == [("10 → 20", "+5.00", "–", "–", "–", "+10.00", "–")]
    (single,) = tables(small_analysis(table({10: [0.4]}), "R²"))
    assert single.headings == ("M", "test", "validation", "best epoch", "parameters", "seeds")
    assert single.rows == [("10", "0.8000", "0.4000", "1", "100", "1")]


def test_analyse_prints_and_gives_json(run, capsys):
    assert cli.main(["analyse", str(run)]) == 0
    said = capsys.readouterr().out
    assert "Accuracy (%) by width" in said
    assert "What each step gains" in said
    assert "Best learning rate by width" in said
    assert "\x1b" not in said
    assert cli.main(["analyse", str(run), "--json"]) == 0
    record = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert [row["hidden_units"] for row in record["widths"]] == [0, 0, 4, 4]
    assert len(record["gains"]) == 2
    assert len(record["interactions"]) == 1


@pytest.mark.slow
def test_time_adds_to_the_run_what_figures_and_tables_show(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    assert cli.main(["time", str(copy), "--epochs", "2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    timing = read_run(copy).timing
    assert len(timing["seconds"]) == 2 * 2 * 2
    assert (timing["seconds"] > 0).all()
    alone = []
    for width in (0, 4):
        here = (timing["program"] == "alone") & (timing["hidden_units"] == width)
        alone.append(np.median(timing["seconds"][here]))
    assert list(record["seconds_alone"].values()) == pytest.approx(alone)
    assert list(record["seconds_one_after_another"].values()) == pytest.approx(np.cumsum(alone))
    assert cli.main(["analyse", str(copy)]) == 0
    assert "epoch alone (s)" in capsys.readouterr().out
    assert cli.main(["plot", str(copy), "--out", str(tmp_path / "figures"), "--format", "svg"]) == 0
    assert "<svg" in (tmp_path / "figures" / "training-time.svg").read_text()


def test_without_the_data_there_are_no_figures_of_a_model(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"dataset_digest": "0" * 64}))
    assert cli.main(["report", str(copy)]) == 0
    assert "without figures of a model" in capsys.readouterr().err
    text = (copy / "report.html").read_text(encoding="utf-8")
    assert "its SHA-256 differs" in text
    assert len(Page(text).all("img")) == 4
    assert cli.main(["time", str(copy)]) == 2
    assert "its SHA-256 differs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "nowhere"], "nowhere is no directory"),
        (["analyse", "nowhere"], "nowhere is no directory"),
        (["time", "nowhere"], "nowhere is no directory"),
        (["report", "RUN", "--out", "report.pdf"], "expected a name that ends in .html"),
        (["report", "RUN", "--out", "missing/report.html"], "missing"),
        (["time", "RUN", "--epochs", "0"], "epochs is 0"),
        (["plot", "RUN", "--format", "pdf"], "pdf"),
    ],
)
def test_mistakes(arguments, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([str(run) if each == "RUN" else each for each in arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("mlp-jax: error: ")
    assert said.err.count("\n") == 1
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_importing_the_package_imports_no_scipy():
    code = "import sys, mlp_jax, mlp_jax.answers.analysis; assert not [m for m in sys.modules if m.startswith('scipy')]"
    subprocess.run([sys.executable, "-c", code], check=True)


# In a browser

# The page in a frame as wide as a phone (a headless window is never as narrow), and what was measured of it.
FRAME = """<!DOCTYPE html><body style="margin:0">
<iframe src="page.html" style="width:{width}px;height:{height}px;border:0"></iframe><pre id="measured"></pre><script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
  const images = [...page.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width]);
  const boxes = [...page.querySelectorAll("table")].map(t => getComputedStyle(t.parentElement).overflowX);
  const zoom = page.querySelector("input.zoom"), label = zoom.parentElement;
  label.click();
  const enlarged = page.images[0].getBoundingClientRect().width, stays = root.scrollWidth;
  label.click();
  document.getElementById("measured").textContent = JSON.stringify(
    {{scroll: root.scrollWidth, client: root.clientWidth, images, boxes, enlarged, stays,
      height: root.scrollHeight, text: page.body.innerText.length}});
}};
</script></body>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        self.asked.append(self.path)


@pytest.fixture
def served(tmp_path):
    """A directory, and the address at which it is served."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def chromium(profile, *arguments):
    quiet = [f"--disable-{what}" for what in ("gpu", "quic", "background-networking", "component-update", "sync")]
    return subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--no-first-run", *quiet, f"--user-data-dir={profile}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 900)])
def test_a_browser_shows_it(run, served, tmp_path_factory, width, height):
    from matplotlib.image import imread

    folder, address = served
    profile = tmp_path_factory.mktemp("profile")
    assert cli.main(["report", str(run), "--out", str(folder / "page.html")]) == 0
    (folder / "frame.html").write_text(FRAME.format(width=width, height=height))
    Quiet.asked.clear()
    dom = chromium(profile, "--virtual-time-budget=5000", "--dump-dom", f"{address}/frame.html")
    measured = json.loads(re.search(r'<pre id="measured">(.*?)</pre>', dom, re.DOTALL).group(1))
    assert measured["client"] in range(width - 20, width + 1)
    assert measured["scroll"] <= measured["client"]  # no sideways scrolling
    assert measured["text"] > 1000
    assert set(measured["boxes"]) == {"auto"}
    assert len(measured["images"]) == 7
    for complete, natural, shown in measured["images"]:
        assert complete
        assert natural > 300
        assert 0.8 * min(width, 900) < shown <= width
    assert measured["enlarged"] >= 900  # and the page is no wider for it
    assert measured["stays"] <= measured["client"]
    assert set(Quiet.asked) <= {"/frame.html", "/page.html", "/favicon.ico"}

    picture = folder / "screen.png"
    chromium(profile, f"--screenshot={picture}", f"--window-size={max(width, 500)},{height}", f"{address}/frame.html")
    pixels = imread(picture)[:, :width, :3]
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50  # text, and a figure in colours

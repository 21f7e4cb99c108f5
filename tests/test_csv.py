"""CSV files: what is taken for what, what is refused in which row and column, and from one file to an answer."""

import csv
import gzip
import json
import re
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
from conftest import make_dataset

import mlp_jax.datasets.csv_files
from mlp_jax import DataError, Dataset, InputError, SweepWarning, cli, load_dataset
from mlp_jax.datasets import absolute_path
from mlp_jax.datasets.carving import three_parts
from mlp_jax.runs.directory import read_run

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).round(3)
SPECIES = np.array(["setosa", "versicolor", "virginica"])[np.arange(60) % 3]
PIXELS = RNG.integers(0, 256, (60, 64))


def write(path, rows, header=None, **options):
    path.parent.mkdir(exist_ok=True)
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", newline="") as file:
        csv.writer(file, **options).writerows([*([header] if header else []), *rows])
    return path


def beside(*columns):
    """Rows of columns, each ``[N]`` or ``[N, D]``."""
    return [
        [value for part in row for value in (part if isinstance(part, list) else [part])]
        for row in zip(*(np.asarray(each).tolist() for each in columns), strict=True)
    ]


def refuses(message, name, error=DataError):
    """Data are refused with that message, in one line that names them."""
    with pytest.raises(error, match=message) as caught:
        load_dataset(name)
    assert "\n" not in str(caught.value)
    assert str(name).split(":")[0] in str(caught.value)


def carved(x, y):
    """What ``from_arrays`` makes of rows that are divided as ours are."""
    parts = three_parts(len(x), y, seed=0)
    assert [len(part) for part in parts] == [len(x) - 2 * round(len(x) / 6), round(len(x) / 6), round(len(x) / 6)]
    assert sorted(np.concatenate(parts)) == list(range(len(x)))
    train, validation, test = parts
    held = {"x_validation": x[validation], "y_validation": y[validation]}
    return Dataset.from_arrays(x[train], y[train], x[test], y[test], **held)


@pytest.mark.parametrize(
    ("name", "header", "options"),
    [
        ("a.csv", ["a", "b", "c", "species"], {}),
        ("a.CSV", ["a", "b", "c", "species"], {"quoting": csv.QUOTE_ALL}),
        ("a.csv.gz", None, {}),
        ("a.tsv", ["a", "b", "c", "species"], {"delimiter": "\t"}),
        ("a.csv", None, {"delimiter": ";"}),
        ("a.tsv.gz", ["1", "2", "3", "species"], {"delimiter": "\t", "lineterminator": "\n"}),
    ],
)
def test_text_is_classes_whatever_the_file_looks_like(name, header, options, tmp_path):
    path = write(tmp_path / name, beside(X, SPECIES), header, **options)
    dataset = load_dataset(path)
    assert (dataset.name, dataset.task, dataset.image_shape) == ("a", "multiclass", None)
    assert dataset.class_names == ("setosa", "versicolor", "virginica")
    assert [len(split) for split in dataset.splits.values()] == [40, 10, 10]
    assert dataset.digest == carved(X, np.arange(60) % 3).digest


def test_a_mark_of_excel_spaces_and_empty_lines_are_no_data(tmp_path):
    path = write(tmp_path / "a.csv", beside(X, SPECIES), ["a", "b", "c", "species"])
    lines = path.read_text().splitlines()
    (tmp_path / "b.csv").write_text(
        "\ufeff" + "\n\n".join(line.replace(",", ",  ") for line in lines) + "\n\n", "utf-8"
    )
    assert load_dataset(tmp_path / "b.csv").digest == load_dataset(path).digest
    (tmp_path / "b.csv").write_text("\n\n".join([*lines[:5], "1,2,x,setosa", *lines[5:]]))
    refuses(r"row 11, column 3 \(c\) is 'x'", f"{tmp_path / 'b.csv'}:label=species")


@pytest.mark.parametrize(
    ("columns", "header", "setting", "label", "warning"),
    [
        ((np.arange(60) % 3, X), ["Label", "a", "b", "c"], "", 0, None),
        ((X, np.arange(60) % 3), ["a", "b", "c", "y"], "", 3, None),
        ((X, np.arange(60) % 3), ["a", "b", "c", "kind"], "", 3, "kind is taken as what to learn"),
        ((X, np.arange(60) % 3), None, "", 3, "the last column is taken"),
        ((np.arange(60) % 3, X), ["kind", "a", "b", "c"], ":label=kind", 0, None),
        ((np.arange(60) % 3, X), ["kind", "a", "b", "c"], ":label=KIND", 0, None),
        ((np.arange(60) % 3, X), None, ":label=1", 0, None),
        ((X, np.arange(60) % 3), None, ":label=-1", 3, None),
        ((X, np.arange(60) % 3), ["a:x", "b", "class", "what: kind=?"], ":label=what: kind=?", 3, None),
        ((np.arange(60) % 3, X), ["4", "3", "2", "1"], ":label=4:header=yes", 0, None),
    ],
)
def test_which_column_is_learned(columns, header, setting, label, warning, tmp_path):
    path = write(tmp_path / "a.csv", beside(*columns), header)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dataset = load_dataset(f"{path}{setting}")
    told = [str(each.message) for each in said]
    assert len(told) == (warning is not None)
    assert all(warning in each for each in told)
    expected = columns[0 if label == 0 else 1]
    assert dataset.digest == carved(X, expected).digest


def test_numbers_of_columns_are_a_header_where_they_count_them(tmp_path):
    x = RNG.normal(size=(60, 5)).round(2)
    plain = write(tmp_path / "plain.csv", beside(x, SPECIES))
    for header in (["0", "1", "2", "3", "4", "species"], ["1", "2", "3", "4", "5", "species"]):
        path = write(tmp_path / "a.csv", beside(x, SPECIES), header)
        assert load_dataset(path).digest == load_dataset(plain).digest
    assert load_dataset(f"{plain}:header=no").digest == load_dataset(plain).digest
    fewer = load_dataset(f"{plain}:header=yes")
    assert sum(len(split) for split in fewer.splits.values()) == 59


def test_the_index_that_pandas_writes_is_left_out(tmp_path):
    expected = load_dataset(write(tmp_path / "a.csv", beside(X, SPECIES), ["a", "b", "c", "species"])).digest
    for start in (0, 1):
        rows = beside(np.arange(start, 60 + start), X, SPECIES)
        path = write(tmp_path / "b.csv", rows, ["", "a", "b", "c", "species"])
        with pytest.warns(SweepWarning, match="no name and counts the rows"):
            assert load_dataset(path).digest == expected
    path = write(tmp_path / "c.csv", beside(X[:, 0], X[:, 1:], SPECIES), ["", "b", "c", "species"])
    assert load_dataset(path).digest == expected


def test_columns_are_left_out_on_request(tmp_path):
    expected = load_dataset(write(tmp_path / "a.csv", beside(X, SPECIES), ["a", "b", "c", "species"])).digest
    names = [f"n{index}" for index in range(60)]
    path = write(tmp_path / "b.csv", beside(names, X[:, :2], names, X[:, 2], SPECIES), ["n", "a", "b", "m", "c", "y"])
    refuses(r"row 2, column 1 \(n\) is 'n0': expected a number, .*:drop=n", path)
    assert load_dataset(f"{path}:drop=n, m").digest == expected
    refuses("has no column 'k' to drop: expected one of n, a, b, m, c, ...", f"{path}:drop=k")


@pytest.mark.parametrize(
    ("values", "setting", "task", "classes", "warning"),
    [
        (np.arange(60) % 2, "", "multiclass", ("0", "1"), None),
        (np.arange(60) % 2, ":task=binary", "binary", ("0", "1"), None),
        (3 + np.arange(60) % 3 * 2, "", "multiclass", ("3", "5", "7"), None),
        ((np.arange(60) % 3).astype(float), "", "multiclass", ("0", "1", "2"), None),
        (-1 + np.arange(60) % 3, "", "multiclass", ("-1", "0", "1"), None),
        (np.arange(60) % 15, ":task=regression", "regression", (), None),
        (X[:, 0] * 2, "", "regression", (), None),
        (np.arange(60), "", "regression", (), "60 different whole numbers in 60 rows"),
        (np.arange(60) % 21, ":task=multiclass", "multiclass", tuple(map(str, range(21))), None),
        (np.arange(60) % 3 / 2, "", "regression", (), "3 different numbers in 60 rows"),
        (np.arange(60) % 3 / 2, ":task=multiclass", "multiclass", ("0", "0.5", "1"), None),
        (["5+", "4", "3"] * 20, "", "multiclass", ("3", "4", "5+"), "numbers, and text like '5\\+'"),
        ([each * 10**17 for each in range(60)], "", "regression", (), "different whole numbers|as great"),
    ],
)
def test_what_a_column_holds_is_what_is_learned(values, setting, task, classes, warning, tmp_path):
    path = write(tmp_path / "a.csv", beside(X, values), ["a", "b", "c", "y"])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dataset = load_dataset(f"{path}{setting}")
    assert (dataset.task, dataset.class_names) == (task, classes)
    assert bool(said) == bool(warning)
    assert all(re.search(warning, str(each.message)) for each in said)
    assert dataset.outputs == (1 if task != "multiclass" else len(classes))


@pytest.mark.parametrize("header", [["label", *(f"pixel{place}" for place in range(64))], None])
@pytest.mark.parametrize("last", [False, True])
def test_pixels_are_images(header, last, tmp_path):
    labels = np.arange(60) % 4
    rows = beside(PIXELS, labels) if last else beside(labels, PIXELS)
    path = write(tmp_path / "a.csv", rows, header and (header[1:] + header[:1] if last else header))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        dataset = load_dataset(path)
    assert [f"the {'last' if last else 'first'} column is taken" in str(each.message) for each in said] == (
        [] if header else [True]
    )
    assert (dataset.image_shape, dataset.train.features.dtype) == ((8, 8), np.uint8)
    assert dataset.digest == carved(PIXELS.reshape(60, 8, 8).astype(np.uint8), labels).digest


def test_what_only_resembles_pixels_is_used_as_it_is(tmp_path):
    y = np.arange(60) % 2
    for name, x, header in (
        ("few levels", PIXELS // 16, None),  # as scikit-learn's digits
        ("other names", PIXELS, [f"count of {place}" for place in range(64)]),
        ("no square", PIXELS[:, :63], [f"pixel{place}" for place in range(63)]),
        ("few columns", PIXELS[:, :4], None),
        ("past 255", PIXELS + 1, [f"px_{place}" for place in range(64)]),
    ):
        path = write(tmp_path / f"{name}.csv", beside(y, x), header and ["label", *header])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SweepWarning)
            dataset = load_dataset(f"{path}:label=1")
        assert dataset.train.features.dtype == np.float32, name
        assert dataset.image_shape == ((8, 8) if name == "past 255" else None), name


def test_a_directory_has_a_file_for_each_split(tmp_path):
    header = ["a", "b", "c", "species"]
    parts = {"train": slice(0, 30), "valid": slice(30, 45), "test": slice(45, 60)}
    for split, part in parts.items():
        write(tmp_path / "set" / f"{split}.csv", beside(X[part], SPECIES[part]), header)
    y = np.arange(60) % 3
    expected = Dataset.from_arrays(X[:30], y[:30], X[45:], y[45:], x_validation=X[30:45], y_validation=y[30:45])
    assert load_dataset(tmp_path / "set").digest == expected.digest
    # Columns in another order, and a compressed copy beside the file.
    write(tmp_path / "set" / "test.csv", beside(SPECIES[45:], X[45:, ::-1]), ["species", "c", "b", "a"])
    shutil.copy(tmp_path / "set" / "train.csv", tmp_path / "set" / "train.csv.gz")
    (tmp_path / "set" / "sample_submission.csv").write_text("id,y\n1,0\n")
    assert load_dataset(tmp_path / "set").digest == expected.digest
    # A common prefix, and no split to validate by.
    (tmp_path / "set" / "valid.csv").unlink()
    (tmp_path / "set" / "train.csv.gz").unlink()
    for split in ("train", "test"):
        (tmp_path / "set" / f"{split}.csv").rename(tmp_path / "set" / f"my_{split}.csv")
    assert load_dataset(tmp_path / "set").digest == Dataset.from_arrays(X[:30], y[:30], X[45:], y[45:]).digest
    refuses(
        "my_train.csv: has no column 'nothing': expected one of a, b, c, species", f"{tmp_path / 'set'}:label=nothing"
    )


def test_a_test_file_without_labels_is_left_out(tmp_path):
    header = ["label", *(f"pixel{place}" for place in range(64))]
    y = np.arange(60) % 4
    for names, width in ((header, 1), (None, 0)):
        write(tmp_path / "k" / "train.csv", beside(y, PIXELS), names)
        write(tmp_path / "k" / "test.csv", beside(PIXELS), names and names[width:])
        with pytest.warns(SweepWarning, match="test.csv is left out, as it has no column (label|1)"):
            dataset = load_dataset(f"{tmp_path / 'k'}:label=1")
        assert dataset.digest == carved(PIXELS.reshape(60, 8, 8).astype(np.uint8), y).digest


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("a,b,d,species\n1,2,3,setosa\n", r"test.csv: lacks column c: expected the columns of train \(3 features\)"),
        ("a,b,c,d,species\n1,2,3,4,setosa\n", "test.csv: has column d, which train lacks"),
        ("1,2,3,setosa\n", "test.csv: has no header, and the training file one"),
        ("a,b,c,species\n", "test.csv: holds a header and no rows"),
        ("", "test.csv: is empty"),
        ("a,b,c,species\n1,2,,setosa\n", r"test.csv: row 2, column 3 \(c\) is empty"),
    ],
)
def test_a_test_file_that_does_not_fit_is_refused(test, message, tmp_path):
    write(tmp_path / "set" / "train.csv", beside(X, SPECIES), ["a", "b", "c", "species"])
    (tmp_path / "set" / "test.csv").write_text(test)
    refuses(message, tmp_path / "set")


def test_a_directory_of_several_sets_is_refused(tmp_path):
    for name in ("a_train.csv", "b_test.csv"):
        write(tmp_path / "set" / name, beside(X, SPECIES))
    refuses(r"several data sets \(a_train.csv, b_test.csv\): expected one, so name a file", tmp_path / "set")
    write(tmp_path / "set" / "b_train.csv", beside(X, SPECIES))
    refuses("holds both a_train.csv and b_train.csv: expected one data set", tmp_path / "set")
    assert load_dataset(tmp_path / "set" / "a_train.csv").name == "a_train"
    for path in (tmp_path / "set").glob("*_train.csv"):
        path.unlink()
    refuses("holds b_test.csv and no train.csv", tmp_path / "set")


GOOD = "a,b,y\n" + "".join(f"{row},{row / 2},{'pq'[row % 2]}\n" for row in range(8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b,y\n", "holds a header and no rows: expected examples below it"),
        ("a\n1\n2\n", "has 1 column: expected one to learn, and others beside it"),
        ("a,b,y\n1,2,p\n", "train has 1 row: too few to hold validation and test out, so give at least 3"),
        ("a,b,y\n1,2,p\n1,2,q\n", "train has 2 rows: too few"),
        (GOOD.replace("q", "p"), "column y holds 'p' in every row: expected at least two classes"),
        (GOOD + "1,2\n", "row 10 has 2 columns: expected 3, as in the first row"),
        (GOOD + "1,2,p,4\n", "row 10 has 4 columns: expected 3"),
        (GOOD + ",2,p\n", r"row 10, column 1 \(a\) is empty: expected a value, so fill it in or leave that row out"),
        (GOOD + "1,NA,p\n", r"row 10, column 2 \(b\) is missing \(NA\)"),
        (GOOD + "nan,2,p\n", r"row 10, column 1 \(a\) is missing \(nan\)"),
        (GOOD + "1,2,\n", r"row 10, column 3 \(y\) is empty"),
        (GOOD + "1,2,?\n", r"row 10, column 3 \(y\) is missing"),
        (GOOD + "1,red,p\n", r"row 10, column 2 \(b\) is 'red': expected a number, .*get_dummies.*:drop=b"),
        (GOOD + "1,2024-01-31,p\n", r"row 10, column 2 \(b\) is '2024-01-31': expected a number"),
        (GOOD + "1,inf,p\n", r"row 10, column 2 \(b\) is 'inf': expected a finite float32 number"),
        (GOOD + "1,1e39,p\n", r"row 10, column 2 \(b\) is '1e39': expected a finite float32 number"),
        (GOOD + f"1,{10**40},p\n", r"row 10, column 2 \(b\) is '10000.*': expected a finite float32 number"),
        (GOOD.replace("b", "a"), "has two columns called 'a': give each its own name"),
        ("label,class,a\n" + "1,2,3\n" * 9, r"has columns label and class: .*name it \(:label=label\)"),
        (GOOD + '1,"2,p\n', "line 10 is damaged .*: expected CSV"),
        (GOOD + '1,"2"x,p\n', "line 10 is damaged"),
        (GOOD + "1,\0,p\n", "line 10 is damaged|expected a number"),
        (GOOD.encode("utf-16"), "is not text in UTF-8: save it as CSV in UTF-8"),
        (gzip.compress(GOOD.encode(), mtime=0)[:-9], "damaged gzip data"),
        (b"\x1f\x8bnothing", "damaged gzip data"),
        (GOOD.replace("p", str(2**60)).replace("q", str(2**60 + 2**20)), "below 2.53, so number them anew"),
        (GOOD + "1,2," + "p" * 200_000, "line 10 is damaged .field larger than field limit"),
    ],
)
def test_a_bad_file_is_refused_by_row_and_column(content, message, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refuses(message, path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (":lable=y", "unknown setting lable: expected label, task, standardize, header, drop, as in NAME:label="),
        (":header=maybe", "header is 'maybe': expected yes or no"),
        (":standardize=1", "standardize is '1': expected yes or no"),
        (":task=guess", "task"),
        (":label=z", "has no column 'z': expected one of a, b, y"),
        (":label=9", "has no column '9'"),
        (":label=0", "has no column '0'"),
        (":task=regression", "column y holds text: expected numbers, for task regression"),
        (":label=y:label=b", "a setting is given twice"),
        (":drop=a,b", "has 1 column: expected one to learn"),
    ],
)
def test_a_bad_setting_is_refused(setting, message, tmp_path):
    path = tmp_path / "good.csv"
    path.write_text(GOOD)
    refuses(message, f"{path}{setting}", InputError)


def test_data_of_other_forms_have_no_settings(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X)
    refuses("unknown setting label: expected none, for data of this form", f"{tmp_path / 'a.npz'}:label=y")


def test_three_rows_are_enough(tmp_path):
    (tmp_path / "a.csv").write_text("a,y\n1.5,p\n2.5,q\n3.5,q\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)
        assert [len(split) for split in load_dataset(tmp_path / "a.csv").splits.values()] == [1, 1, 1]


def test_a_line_without_end_and_a_file_past_memory_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"1" * 2**25))
    refuses("line 1 is longer than", path)
    write(tmp_path / "b.csv", beside(X, SPECIES))
    monkeypatch.setattr(mlp_jax.datasets.csv_files, "machine_memory", lambda: 100)
    refuses("more than this machine's memory of 100 bytes", tmp_path / "b.csv")


def test_late_rows_are_as_checked_as_early_ones(tmp_path):
    rows = [[row / 700, row % 5 / 3, "pq"[row % 2]] for row in range(3000)]
    path = write(tmp_path / "a.csv", rows, ["a", "b", "y"])
    y = np.arange(3000) % 2
    assert load_dataset(path).digest == carved(np.array([row[:2] for row in rows]), y).digest
    rows[2500][1] = "x"
    refuses(r"row 2502, column 2 \(b\) is 'x'", write(path, rows, ["a", "b", "y"]))


def test_standardized_by_the_training_split(tmp_path):
    x = np.column_stack([X * [1, 1000, 1] + [0, 5000, 0], np.full(60, 7)])
    path = write(tmp_path / "a.csv", beside(x, 300 + 100 * X[:, 0] + 0.5), ["a", "b", "c", "same", "y"])
    with pytest.warns(SweepWarning) as said:
        plain = load_dataset(path)
    assert [re.search("with (.*) as great as (\\w+)", str(each.message)).groups() for each in said] == [
        ("features", "b"),
        ("values to learn", "y"),
    ]
    dataset = load_dataset(f"{path}:standardize=yes")
    for values in (dataset.train.features[:, :3], dataset.train.targets):
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(values.std(axis=0), 1, rtol=1e-6)
    assert all((split.features[:, 3] == 0).all() for split in dataset.splits.values())
    mean, deviation = plain.train.features.mean(axis=0), plain.train.features.std(axis=0)
    expected = ((plain.test.features - mean) / np.where(deviation > 0, deviation, 1))[:, :3]
    np.testing.assert_allclose(dataset.test.features[:, :3], expected, rtol=1e-5)
    assert plain.standardized().digest == dataset.digest


def test_seconds_since_1970_are_mended_by_standardizing(tmp_path):
    x = np.column_stack([X[:, 0], 1_700_000_000 + np.arange(60)])
    path = write(tmp_path / "a.csv", beside(x, SPECIES), ["a", "when", "species"])
    with pytest.warns(SweepWarning) as said:
        load_dataset(path)
    assert any(re.search(r"column when \(.* different values become", str(each.message)) for each in said)
    dataset = load_dataset(f"{path}:standardize=yes")
    assert len(np.unique(dataset.train.features[:, 1])) == len(dataset.train)


def test_a_file_is_found_again_with_its_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", beside(X, SPECIES), ["a", "b", "c", "species"])
    assert absolute_path("a.csv:label=species") == f"{tmp_path / 'a.csv'}:label=species"
    assert absolute_path("no.csv:label=species") is None
    shutil.copy("a.csv", "b.csv:label=a")  # a file of that very name
    assert absolute_path("b.csv:label=a") == str(tmp_path / "b.csv:label=a")


def test_mnist_is_known_by_its_content(tmp_path, monkeypatch):
    x = PIXELS.reshape(60, 8, 8).astype(np.uint8)
    y = np.arange(60) % 4
    monkeypatch.setattr(mlp_jax.datasets.carving, "hold_out", lambda images, labels: "first")
    path = write(
        tmp_path / "set" / "train.csv", beside(y, PIXELS), ["label", *(f"pixel{place}" for place in range(64))]
    )
    shutil.copy(path, tmp_path / "set" / "test.csv")
    expected = Dataset.from_arrays(x, y, x, y, hold_out="first")
    assert load_dataset(tmp_path / "set").digest == expected.digest


@pytest.mark.slow  # 110 MB of text
def test_mnist_as_csv_is_mnist(tmp_path):
    from mlp_jax.datasets import _MNIST, find_idx, read_idx

    files = find_idx(_MNIST).paths
    for split in ("train", "test"):
        images, labels = read_idx(files[split, "images"]), read_idx(files[split, "labels"])
        table = np.column_stack([labels, images.reshape(len(images), -1)])
        header = ",".join(["label", *(f"pixel{place}" for place in range(784))])
        np.savetxt(tmp_path / f"{split}.csv", table, "%d", ",", header=header, comments="")
    assert load_dataset(tmp_path).digest == load_dataset("mnist").digest


def test_from_an_own_file_to_an_answer(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x = RNG.normal(size=(300, 2)) * [1, 400]
    y = np.where((x / [1, 400]).prod(axis=1) > 0, "same", "other")  # takes hidden units
    write(tmp_path / "mine.csv", beside(y, x), ["kind", "small", "great"])
    name = "mine.csv:label=kind:standardize=yes"
    assert cli.main(["data", "--dataset", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["task"], told["classes"]) == ("mine", "multiclass", ["other", "same"])
    options = ["--hidden-units", "0", "16", "--seeds", "2", "--epochs", "60", "--batch-size", "32"]
    rate = ["--learning-rates", "0.03", "--activations", "relu"]
    assert cli.main(["sweep", "--dataset", name, *options, *rate, "--out", "run", "--json"]) == 0
    capsys.readouterr()
    run = read_run(tmp_path / "run")
    assert run.config["dataset_path"] == f"{tmp_path / 'mine.csv'}:label=kind:standardize=yes"
    scores = {m: run.trials["test_score"][run.trials["hidden_units"] == m].mean() for m in (0, 16)}
    assert scores[0] < 0.75 < 0.9 < scores[16]
    assert cli.main(["analyse", "run"]) == 0
    assert "hidden units" in capsys.readouterr().out
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for command in (["check", "../run"], ["evaluate", "../run"], ["evaluate", "../run", "--dataset", f"../{name}"]):
        assert cli.main(command) == 0, command
        assert capsys.readouterr().err == ""


def test_a_bad_file_ends_a_command_with_one_line(tmp_path, capsys):
    (tmp_path / "bad.csv").write_text(GOOD + "1,red,p\n")
    for command in ("sweep", "train", "data"):
        assert cli.main([command, "--dataset", str(tmp_path / "bad.csv")]) == 2
        said = capsys.readouterr()
        assert re.search(r"row 10, column 2 \(b\) is 'red'", said.err)
        assert said.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bad.csv"]


def test_pandas_is_not_needed(tmp_path):
    path = write(tmp_path / "a.csv", beside(X, SPECIES), ["a", "b", "c", "species"])
    code = (
        "import sys; sys.modules.update(pandas=None, polars=None, pyarrow=None)\n"
        f"from mlp_jax import Dataset, load_dataset; print(load_dataset({str(path)!r}))\n"
        "print(Dataset.from_frame({'a': [1.5, 2, 3] * 9, 'y': ['p', 'q', 'q'] * 9}, label='y'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("multiclass") == 2


def test_a_small_data_set_written_out_is_the_same(tmp_path):
    small = make_dataset()
    for split, values in small.splits.items():
        rows = beside(values.features, values.targets)
        write(tmp_path / f"{split}.csv", rows, [*(f"x{column}" for column in range(small.features)), "y"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)
        assert load_dataset(tmp_path).digest == small.digest


def test_mutated_files_raise_nothing_but_data_error(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "a.csv"
    pieces = [
        b",",
        b"\n",
        b'"',
        b"\r",
        b"\0",
        b";",
        b"\t",
        b"nan",
        b"1e400",
        b"\xff",
        b"9" * 500,
        b"label",
        b"",
        b" ",
        b"_1",
    ]
    settings = ["", ":label=label", ":label=1", ":header=no", ":standardize=yes", ":task=regression", ":drop=a"]
    seen = set()
    for _ in range(400):
        content = GOOD.replace("y\n", "label\n").encode()
        for _ in range(rng.integers(1, 4)):
            start = rng.integers(len(content) + 1)
            content = content[:start] + pieces[rng.integers(len(pieces))] + content[start + rng.integers(3) :]
        path.write_bytes(gzip.compress(content, mtime=0)[: rng.integers(20, 200)] if rng.random() < 0.1 else content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SweepWarning)
            try:
                load_dataset(f"{path}{settings[rng.integers(len(settings))]}")
                seen.add("read")
            except DataError as error:
                seen.add("one line" if "\n" not in str(error) else str(error))
    assert seen == {"read", "one line"}

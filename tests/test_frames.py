"""Data frames: of pandas, polars, pyarrow and mappings; what columns are, and what is refused, by the column's name."""

import warnings
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from mlp_jax import DataError, Dataset, Grid, InputError, Recipe, SweepWarning, load_dataset, sweep

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)).round(3)
LABELS = np.arange(60) % 3
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "kind": np.array(["low", "mid", "top"])[LABELS]})


def refuses(message, frame, label="kind", error=DataError, **options):
    with pytest.raises(error, match=message) as caught:
        Dataset.from_frame(frame, label=label, **options)
    assert "\n" not in str(caught.value)


def forms():
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    yield "pandas", FRAME
    yield "pandas, nullable", FRAME.convert_dtypes()
    yield "pandas, another index", FRAME.set_index(pd.Index(range(100, 160)))
    yield "pandas, the label first", FRAME[["kind", "a", "b"]]
    yield "polars", polars.from_pandas(FRAME)
    yield "pyarrow", pyarrow.Table.from_pandas(FRAME)
    yield "mapping", {name: FRAME[name].tolist() for name in FRAME}


def test_a_frame_is_what_its_file_is_whatever_made_it(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    expected = load_dataset(tmp_path / "a.csv")
    for name, frame in forms():
        dataset = Dataset.from_frame(frame, label="kind")
        assert dataset.digest == expected.digest, name
        assert dataset.class_names == ("low", "mid", "top"), name
        assert dataset.name == "frame"


def test_categories_keep_their_order_and_those_that_are_missing():
    polars = pytest.importorskip("polars")
    order = ["top", "low", "mid"]
    ordered = FRAME.assign(kind=pd.Categorical(FRAME["kind"], order, ordered=True))
    enum = polars.from_pandas(FRAME).with_columns(polars.col("kind").cast(polars.Enum(order)))
    for frame in (ordered, enum):
        dataset = Dataset.from_frame(frame, label="kind")
        assert dataset.class_names == ("top", "low", "mid")
        names = np.array(dataset.class_names)[dataset.test.targets]
        plain = Dataset.from_frame(FRAME, label="kind")
        assert sorted(names) == sorted(np.array(plain.class_names)[plain.test.targets])
    more = FRAME.assign(kind=pd.Categorical(FRAME["kind"], [*order, "none"]))
    with pytest.warns(SweepWarning, match="no split has an example of class none"):
        assert Dataset.from_frame(more, label="kind").outputs == 4
    numbers = FRAME.assign(kind=pd.Categorical(LABELS * 5, [10, 5, 0]))
    assert Dataset.from_frame(numbers, label="kind").class_names == ("10", "5", "0")


@pytest.mark.parametrize(
    ("label", "task", "classes"),
    [
        (LABELS == 1, "multiclass", ("False", "True")),
        (pd.array(LABELS == 1, "boolean"), "multiclass", ("False", "True")),
        (LABELS.astype(np.int8), "multiclass", ("0", "1", "2")),
        (pd.array(LABELS + 4, "Int64"), "multiclass", ("4", "5", "6")),
        (X[:, 0] + X[:, 1], "regression", ()),
        (pd.array(X[:, 0] + X[:, 1], "Float32"), "regression", ()),
    ],
)
def test_what_the_label_is(label, task, classes):
    dataset = Dataset.from_frame(FRAME.assign(kind=label), label="kind")
    assert (dataset.task, dataset.class_names) == (task, classes)


def test_frames_for_each_split():
    train, validation, test = FRAME[:30], FRAME[30:45], FRAME[45:]
    dataset = Dataset.from_frame(train, label="kind", validation=validation, test=test[["kind", "b", "a"]], name="mine")
    expected = Dataset.from_arrays(
        X[:30], LABELS[:30], X[45:], LABELS[45:], x_validation=X[30:45], y_validation=LABELS[30:45]
    )
    assert (dataset.digest, dataset.name) == (expected.digest, "mine")
    carved = Dataset.from_frame(train, label="kind", test=test)
    assert carved.digest == Dataset.from_arrays(X[:30], LABELS[:30], X[45:], LABELS[45:]).digest
    other = Dataset.from_frame(FRAME, label="kind", split_seed=1)
    assert other.digest != Dataset.from_frame(FRAME, label="kind").digest
    refuses("test: lacks column b: expected the columns of train", train, test=test[["a", "kind"]])
    refuses("validation: has no column 'kind'", train, validation=test[["a", "b"]])
    first, second = (each.assign(kind=pd.Categorical(each["kind"])) for each in (train, test))
    second["kind"] = second["kind"].cat.rename_categories({"low": "lower"})
    refuses("column kind has other categories in each split .train: low, mid, top; test: lower", first, test=second)


def test_truth_values_and_small_numbers_are_no_intensities():
    frame = pd.DataFrame({"flag": LABELS == 0, "count": LABELS.astype(np.uint8), "y": ["p", "q"] * 30})
    dataset = Dataset.from_frame(frame, label="y")
    assert dataset.train.features.dtype == np.float32
    assert set(np.unique(dataset.train.features)) == {0, 1, 2}


def test_names_of_any_kind():
    frame = pd.DataFrame(np.column_stack([X, LABELS]))
    assert Dataset.from_frame(frame, label=2).digest == Dataset.from_frame(FRAME, label="kind").digest
    pixels = pd.DataFrame(RNG.integers(0, 256, (60, 64), dtype=np.uint8)).assign(label=LABELS)
    dataset = Dataset.from_frame(pixels, label="label")
    assert (dataset.image_shape, dataset.train.features.dtype) == ((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"b": ["red", "blue"] * 30}, "train: column b: holds text like 'red': expected numbers, .*get_dummies"),
        ({"b": pd.Categorical(["red", "blue"] * 30)}, "column b: holds text .*get_dummies"),
        ({"b": [datetime(2024, 1, 31)] * 60}, "column b: holds datetime64.*: expected numbers, so turn them"),
        ({"b": [datetime(2024, 1, 31, tzinfo=UTC)] * 60}, "column b: holds .*: expected numbers, so turn them"),
        ({"b": [1j] * 60}, "column b: holds complex128"),
        ({"b": [[1, 2]] * 60}, "column b: holds object"),
        ({"b": [1, None] * 30}, r"column b: 30 of 60 values are missing, the first in row 1 \(counted from 0\)"),
        ({"b": pd.array([1, None] * 30, "Int64")}, "column b: 30 of 60 values are missing"),
        ({"b": [np.inf] + [0] * 59}, "column b: holds inf in row 0"),
        ({"b": [0, 10**39] * 30}, "column b: holds 1e.39 in row 1"),
        ({"kind": ["low", None] * 30}, "column kind: 30 of 60 values are missing"),
        ({"kind": pd.Categorical(["low", None] * 30)}, "column kind: 30 of 60 values are missing"),
        ({"kind": [1.5, np.nan] * 30}, "column kind: 30 of 60 values are missing"),
        ({"kind": ["low"] * 60}, "column kind holds 'low' in every row: expected at least two classes"),
        ({"kind": [datetime(2024, 1, 31, tzinfo=UTC)] * 60}, "column kind: holds .* values like"),
    ],
)
def test_a_bad_column_is_refused_by_name(change, message):
    refuses(message, FRAME.assign(**change))


def test_a_bad_frame_is_refused():
    refuses("train: has no column 'z': expected one of a, b, kind", FRAME, label="z")
    refuses("has column kind alone", FRAME[["kind"]])
    refuses("has no rows", FRAME[:0])
    refuses("train has 1 row: too few", FRAME[:1])
    refuses("has two columns called 'a'", pd.concat([FRAME, FRAME[["a"]]], axis=1))
    refuses("expected a data frame, or a mapping", [1, 2], error=InputError)
    refuses("different lengths", {"a": [1.5, 2], "kind": ["p", "q", "p"]})
    refuses(r"column a has shape \(3, 2\): expected one value for each row", {"a": X[:3], "kind": ["p", "q", "p"]})
    refuses("expected numbers, for task regression", FRAME, task="regression")
    refuses("unknown task", FRAME, task="guess", error=InputError)
    masked = np.ma.masked_array(X[:, 0], LABELS == 0)
    refuses("column a: holds masked values", {"a": masked, "kind": FRAME["kind"]})


def test_great_values_are_warned_of_and_standardized():
    great = FRAME.assign(a=1000 * FRAME["a"])
    with pytest.warns(SweepWarning, match=r"as great as a \(root mean square .*standardize=True standardizes them"):
        plain = Dataset.from_frame(great, label="kind")
    dataset = Dataset.from_frame(great, label="kind", standardize=True)
    assert dataset.digest == plain.standardized().digest
    np.testing.assert_allclose(dataset.train.features.std(axis=0), 1, rtol=1e-5)


def test_images_are_standardized_too():
    images = RNG.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    dataset = Dataset.from_arrays(images, LABELS, images, LABELS).standardized()
    assert (dataset.image_shape, dataset.train.features.dtype) == ((8, 8), np.float32)
    np.testing.assert_allclose(dataset.train.features.mean(axis=0), 0, atol=1e-6)


def test_names_of_columns_are_in_messages_about_arrays():
    when = 1_700_000_000 + np.arange(60.0)
    x = np.column_stack([when, X[:, 0]])
    with pytest.warns(SweepWarning, match="cannot tell values apart: column when .60 different|column when .5"):
        Dataset.from_arrays(x, LABELS, x, LABELS, feature_names=["when", "a"])
    with pytest.raises(DataError, match="feature_names has 1 names: expected 2, one a feature"):
        Dataset.from_arrays(X, LABELS, X, LABELS, feature_names=["a"])


def test_a_frame_is_swept():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SweepWarning)
        dataset = Dataset.from_frame(FRAME, label="kind")
        result = sweep(Grid((0, 3), seeds=1), dataset, recipe=Recipe(epochs=1))
    assert np.isfinite(result.final["test_loss"]).all()

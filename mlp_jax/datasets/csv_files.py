"""CSV files, with or without a header: the column to learn and those to learn it from; one file, or one per split.

Read with Python's csv module and NumPy, without pandas, and a few rows at a time. Commas, semicolons, tabs or bars
separate columns; a file may be compressed with gzip. Rows and columns are counted from 1 in messages, as spreadsheets
count them, including a header. A single file is split: a sixth for testing, a sixth for validation.
"""

import contextlib
import csv
import gzip
import io
import itertools
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Num

from mlp_jax.datasets.dataset import Dataset, machine_memory, naming_source
from mlp_jax.datasets.naming import check_known, task_setting, yes_or_no
from mlp_jax.datasets.rounding import GREATEST
from mlp_jax.datasets.tables import LABELS, Table, aligned, compact, from_tables
from mlp_jax.errors import DataError, SweepWarning, first_line, shown

_NAME = re.compile(
    r"(?!\.)(?P<prefix>.*?)(?P<split>train|test|validation|valid|val)(?P<type>\.(csv|tsv))(\.gz)?", re.IGNORECASE
)
_SUFFIX = re.compile(r"\.(csv|tsv)(\.gz)?$", re.IGNORECASE)
_SEPARATORS = ",\t;|"
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?")
_CHUNK = 1000  # rows that are made numbers of at a time; the first of them tell what the columns are
_LONGEST_LINE = 2**24  # characters; a line break may be far off in a file that is no table
_PIXELS = 64  # a square number of columns from here on, beside one, is an image and its label

_Row = list[str]


@dataclass(frozen=True)
class _Settings:
    """How to read a file: the settings after its name.

    Attributes:
        label: the name of the column to learn, or its number from 1 (−1 for the last).
        task: by default what that column suggests.
        standardize: whether to standardize.
        header: whether the first row is a header; None to judge by its looks.
        drop: names of columns to leave out.
    """

    label: str | None
    task: str | None
    standardize: bool
    header: bool | None
    drop: tuple[str, ...]

    @classmethod
    def parse(cls, settings: Mapping[str, str]) -> "_Settings":
        """Check settings; raises InputError."""
        check_known(settings, ("label", "task", "standardize", "header", "drop"))
        drop = settings.get("drop", "")
        return cls(
            settings.get("label"),
            task_setting(settings),
            bool(yes_or_no(settings, "standardize")),
            yes_or_no(settings, "header"),
            tuple(each.strip() for each in drop.split(",") if each.strip()),
        )


@dataclass(frozen=True)
class _Layout:
    """The roles of columns.

    Attributes:
        names: of all columns; their numbers, from 1, where there is no header.
        header: whether the file has one.
        label: the place of the column to learn; None if the file lacks it.
        features: the places of the other columns that are used.
    """

    names: tuple[str, ...]
    header: bool
    label: int | None
    features: tuple[int, ...]


def is_csv_name(path: Path) -> bool:
    """Whether a file has the name of a CSV file."""
    return _SUFFIX.search(path.name) is not None


def find_csv(place: Path) -> dict[str, Path]:
    """The files of one data set by split; empty if a directory holds none. A plain file precedes a compressed copy.

    Args:
        place: a directory with train.csv and optionally test.csv and validation.csv (or val, valid; .tsv; .gz; a common
            prefix), or one file, which is then train.

    Raises:
        DataError: a directory holds several data sets.
    """
    if not place.is_dir():
        return {"train": place}
    files: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        split = match["split"].lower()
        known = files.setdefault("validation" if split.startswith("val") else split, path)
        if path.name not in (known.name, known.name + ".gz"):
            raise DataError(f"{place}: holds both {known.name} and {path.name}: expected one data set, so name a file")
    if files and "train" not in files:
        raise DataError(f"{place}: holds {', '.join(path.name for path in files.values())} and no train.csv")
    prefixes = {match["prefix"] for path in files.values() if (match := _NAME.fullmatch(path.name))}
    if len(prefixes) > 1:
        names = ", ".join(path.name for path in files.values())
        raise DataError(f"{place}: holds files of several data sets ({names}): expected one, so name a file")
    return files


def load_csv(files: Mapping[str, Path], settings: Mapping[str, str], *, place: Path) -> Dataset:
    """Read a data set of CSV files.

    The column to learn is the one that ``label`` names; or the one called label, labels, class, target or y; or the
    only one that holds text; or the last, or, beside a square number of pixels, the first. A column without a name that
    counts the rows, as pandas writes its index, is left out. A test file without the column to learn, as competitions
    publish them, is left out.

    Args:
        files: by split.
        settings: ``label``, a name, or a number from 1 (from the end: −1); ``task``; ``standardize``, yes or no;
            ``header``, yes or no, by default what the first row looks like; ``drop``, names of columns to leave out,
            separated by commas.
        place: the file or directory that was named.

    Raises:
        InputError: a file is missing or damaged, is no table of numbers, or the files do not fit each other; the
            message says in which row and column. Or settings are wrong.
    """
    with naming_source(place):
        chosen = _Settings.parse(settings)
    tables: dict[str, Table] = {}
    layout: _Layout | None = None
    for split in ("train", "validation", "test"):
        if split not in files:
            continue
        with naming_source(files[split]), _rows(files[split]) as rows:
            numbered = enumerate(rows, start=1)
            head = [(row, cells) for row, cells in itertools.islice(numbered, _CHUNK) if cells]
            names, header, body = _names([cells for _, cells in head], chosen.header)
            if layout is None:
                layout = own = _layout(names, header, body, chosen)
            else:
                own = _same_layout(names, header, body, chosen, layout)
            if own.label is None:
                learned = f"column {layout.names[layout.label or 0]}"
                _warn(f"{files[split]} is left out, as it has no {learned}: it cannot tell how well a model does")
                continue
            every = itertools.chain(head, ((row, cells) for row, cells in numbered if cells))
            table = _read(every, own)
            tables[split] = aligned(table, tables.get("train", table))
    with naming_source(place):
        texts = {split: table.targets for split, table in tables.items()}
        numeric = _numeric(texts, tables["train"].label)
        return from_tables(
            {split: _with_targets(table, numeric=numeric) for split, table in tables.items()},
            task=chosen.task,
            name=_SUFFIX.sub("", place.resolve().name),
            standardize=chosen.standardize,
            mend=":standardize=yes after the name standardizes them",
        )


@contextlib.contextmanager
def _rows(path: Path) -> Iterator[Iterator[_Row]]:
    """The rows of a file, each a list of cells, empty for an empty line; raises DataError for a bad file."""
    try:
        with contextlib.ExitStack() as opened:
            raw = opened.enter_context(path.open("rb"))
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream: Any = opened.enter_context(gzip.GzipFile(fileobj=raw)) if compressed else raw
            lines = _lines(opened.enter_context(io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")))
            first = next(lines, "")
            separator = _separator(path, first)
            table = csv.reader(
                itertools.chain([first], lines), delimiter=separator, skipinitialspace=separator != "\t", strict=True
            )
            try:
                yield (cells if len(cells) > 1 or any(map(str.strip, cells)) else [] for cells in table)
            except csv.Error as error:
                raise DataError(f"line {table.line_num} is damaged ({first_line(error)}): expected CSV") from None
    except UnicodeDecodeError:
        raise DataError("is not text in UTF-8: save it as CSV in UTF-8") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"damaged gzip data ({first_line(error)}): fetch the file again") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or first_line(error)}): expected a CSV file") from None


def _lines(text: IO[str]) -> Iterator[str]:
    for number in itertools.count(1):
        line = text.readline(_LONGEST_LINE)
        if not line:
            return
        if len(line) == _LONGEST_LINE:
            raise DataError(f"line {number} is longer than {_LONGEST_LINE:,} characters: expected CSV")
        yield line


def _separator(path: Path, line: str) -> str:
    """The separator of columns: the candidate that splits the first line into most cells; tabs in a .tsv file."""
    if ".tsv" in path.name.lower():
        return "\t"
    return max(_SEPARATORS, key=lambda separator: len(next(csv.reader([line], delimiter=separator), [])))


def _names(rows: Sequence[_Row], header: bool | None) -> tuple[tuple[str, ...], bool, Sequence[_Row]]:
    """Names of the columns, whether the first row is a header, and the rows below it."""
    if not rows:
        raise DataError("is empty: expected a table")
    first = [cell.strip() for cell in rows[0]]
    header = _looks_like_header(first, rows[1:]) if header is None else header
    if not header:
        return tuple(str(column + 1) for column in range(len(first))), False, rows
    twice = next((name for place, name in enumerate(first) if name in first[:place]), None)
    if twice is not None:
        raise DataError(f"has two columns called {shown(twice)}: give each its own name")
    if len(rows) == 1:
        raise DataError("holds a header and no rows: expected examples below it")
    return tuple(first), True, rows[1:]


def _layout(names: tuple[str, ...], header: bool, body: Sequence[_Row], settings: _Settings) -> _Layout:
    """The roles of columns, judged by their names and the first rows."""
    used = _without(names, _without_index(names, body), settings.drop)
    if len(used) < 2:
        raise DataError(f"has {len(used)} column{'s' * (len(used) != 1)}: expected one to learn, and others beside it")
    label = settings.label
    place = _place(names, used, label) if label is not None else _guess(names, header, used, body)
    return _Layout(names, header, place, tuple(column for column in used if column != place))


def _same_layout(
    names: tuple[str, ...], header: bool, body: Sequence[_Row], settings: _Settings, train: _Layout
) -> _Layout:
    """The layout of another file of the data set, given that of its training file; columns may be reordered."""
    if header != train.header:
        having = "has a header, and the training file none" if header else "has no header, and the training file one"
        raise DataError(f"{having}: give both one, or set header=yes or header=no")
    if not header:
        if len(names) == len(train.names):
            return train
        if len(names) == len(train.names) - 1:
            return _Layout(names, header, None, ())
        raise DataError(f"has {len(names)} columns, the training file {len(train.names)}: give both the same")
    used = _without(names, _without_index(names, body), [name for name in settings.drop if name in names])
    learned = train.names[train.label or 0]
    label = next((column for column in used if names[column] == learned), None)
    return _Layout(names, header, label, tuple(column for column in used if column != label))


def _looks_like_header(first: Sequence[str], rest: Sequence[_Row]) -> bool:
    """Whether a row is a header: no cell is a number, or text stands above numbers, or it numbers the columns."""
    numbers = [_is_number(cell) for cell in first]
    if not any(numbers):
        return True
    texts = [(place, cell) for place, cell in enumerate(first) if not numbers[place]]
    if any(_all_numbers(rest, place) for place, _ in texts):
        return True
    counted = [cell for place, cell in enumerate(first) if numbers[place]]
    counts = any(counted == [str(start + place) for place in range(len(counted))] for start in (0, 1))
    new = any(all(cell != cells[place].strip() for cells in rest if place < len(cells)) for place, cell in texts)
    return counts and len(counted) > (1 if new and rest else 3)


def _all_numbers(rows: Sequence[_Row], place: int) -> bool:
    cells = [cells[place] for cells in rows if place < len(cells)]
    return bool(cells) and all(map(_is_number, cells))


def _without_index(names: Sequence[str], body: Sequence[_Row]) -> list[int]:
    """The places of columns, without an unnamed one that numbers the rows, as pandas writes its index."""
    places = list(range(len(names)))
    if names[0] not in ("", "Unnamed: 0"):
        return places
    counted = [cells[0].strip() for cells in body]
    if any(counted == [str(start + row) for row in range(len(counted))] for start in (0, 1)):
        _warn("the first column has no name and counts the rows: it is left out")
        return places[1:]
    return places


def _without(names: Sequence[str], places: Sequence[int], drop: Sequence[str]) -> list[int]:
    for name in drop:
        if name not in names:
            raise DataError(f"has no column {shown(name)} to drop: expected one of {_some(names)}")
    return [place for place in places if names[place] not in drop]


def _place(names: Sequence[str], used: Sequence[int], label: str) -> int:
    """The place of the column that a setting gives by name or number."""
    for same in (lambda name: name == label, lambda name: name.lower() == label.lower()):
        found = [place for place in used if same(names[place])]
        if len(found) == 1:
            return found[0]
    if re.fullmatch(r"-?[1-9]\d{0,8}", label):
        number = int(label)
        place = number - 1 if number > 0 else len(names) + number
        if place in used:
            return place
    raise DataError(f"has no column {shown(label)}: expected one of {_some([names[place] for place in used])}")


def _guess(names: Sequence[str], header: bool, used: Sequence[int], body: Sequence[_Row]) -> int:
    """The place of the column to learn if no setting names it; warns if that is a guess."""
    called = [place for place in used if names[place].lower() in LABELS] if header else []
    if len(called) > 1:
        several = " and ".join(names[place] for place in called)
        raise DataError(f"has columns {several}: expected one to learn, so name it (:label={names[called[0]]})")
    if called:
        return called[0]
    texts = [place for place in used if not all(_is_number_or_missing(row[place]) for row in body if place < len(row))]
    if len(texts) == 1:
        return texts[0]
    features = len(used) - 1
    pixels = features >= _PIXELS and int(features**0.5 + 0.5) ** 2 == features
    place = (
        used[0] if pixels and not (_counts_classes(body, used[-1]) and not _counts_classes(body, used[0])) else used[-1]
    )
    which = f"column {names[place]}" if header else f"the {'first' if place == used[0] else 'last'} column"
    _warn(
        f"no column is called label, target, class or y: {which} is taken as what to learn (:label=NAME says another)"
    )
    return place


def _counts_classes(body: Sequence[_Row], place: int) -> bool:
    """Whether a column holds 0, 1, 2, ... without a gap."""
    found = {row[place].strip() for row in body if place < len(row)}
    return len(found) > 1 and found == {str(label) for label in range(len(found))}


def _read(rows: Iterator[tuple[int, _Row]], layout: _Layout) -> Table:
    """Read all rows; targets as text."""
    assert layout.label is not None
    pick: Callable[[_Row], Sequence[str]] = itemgetter(*layout.features)
    if len(layout.features) == 1:
        (only,) = layout.features
        pick = itemgetter(slice(only, only + 1))
    chunks: list[Num[np.ndarray, "n D"]] = []
    targets: list[str] = []
    used = 0
    rows = itertools.islice(rows, int(layout.header), None)
    while chunk := list(itertools.islice(rows, _CHUNK)):
        for row, cells in chunk:
            if len(cells) != len(layout.names):
                raise DataError(
                    f"row {row} has {len(cells)} columns: expected {len(layout.names)}, as in the first row"
                )
            text = cells[layout.label].strip()
            if text.lower() in _MISSING:
                raise _missing(row, layout, layout.label, text)
            targets.append(text)
        try:
            values = np.array([pick(cells) for _, cells in chunk], np.float64)
        except ValueError:
            raise _first_problem(chunk, layout) from None
        if not (np.abs(values) <= GREATEST).all():
            raise _first_problem(chunk, layout)
        chunks.append(compact(values))
        used += chunks[-1].nbytes
        if used > machine_memory():
            raise DataError(f"holds more than this machine's memory of {machine_memory()} bytes")
    names = tuple(layout.names[column] for column in layout.features)
    return Table(np.concatenate(chunks), names, layout.names[layout.label], np.array(targets, object))


def _first_problem(chunk: Sequence[tuple[int, _Row]], layout: _Layout) -> DataError:
    """The error for the first cell that is not a number."""
    for row, cells in chunk:
        for column in layout.features:
            text = cells[column].strip()
            if text.lower() in _MISSING:
                return _missing(row, layout, column, text)
            name = layout.names[column]
            if not _is_number(text):
                drop = f", or leave the column out (:drop={name})" if layout.header else ""
                return DataError(
                    f"{_cell(row, layout, column)} is {shown(text)}: expected a number, so replace text by numbers, a "
                    f"column of 0 and 1 for each value (pandas.get_dummies){drop}"
                )
            if not abs(float(text)) <= GREATEST:
                return DataError(f"{_cell(row, layout, column)} is {shown(text)}: expected a finite float32 number")
    raise AssertionError("every cell is a number")


def _missing(row: int, layout: _Layout, column: int, text: str) -> DataError:
    what = f"is missing ({text})" if text else "is empty"
    return DataError(f"{_cell(row, layout, column)} {what}: expected a value, so fill it in or leave that row out")


def _cell(row: int, layout: _Layout, column: int) -> str:
    return f"row {row}, column {column + 1}" + (f" ({layout.names[column]})" if layout.header else "")


def _numeric(texts: Mapping[str, np.ndarray], label: str) -> bool:
    """Whether the targets are numbers; warns if numbers and text are mixed."""
    every = {str(each) for column in texts.values() for each in column}
    numbers = {each for each in every if _is_number(each)}
    if numbers and len(numbers) < len(every):
        odd = sorted(every - numbers)[0]
        _warn(f"column {label} holds numbers, and text like {shown(odd)}: all are taken as names of classes")
    return len(numbers) == len(every)


def _with_targets(table: Table, *, numeric: bool) -> Table:
    if not numeric:
        return table
    values = table.targets.astype(np.float64)
    if not np.isfinite(values).all():
        odd = table.targets[~np.isfinite(values)][0]
        raise DataError(f"column {table.label} holds {shown(odd)}: expected finite numbers")
    return Table(table.features, table.columns, table.label, values)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text and text.strip().lower() != "nan"


def _is_number_or_missing(text: str) -> bool:
    return text.strip().lower() in _MISSING or _is_number(text)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + ", ..." * (len(names) > most)


def _warn(message: str) -> None:
    warnings.warn(message, SweepWarning, stacklevel=2)

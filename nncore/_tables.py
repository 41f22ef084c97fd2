"""Tables: the columns of a text file, a Parquet file or a DataFrame, as numbers or as texts.

Text files are parsed by NumPy and the standard library's csv. Parquet files need polars or pandas,
and DataFrames are taken of any library whose columns have `to_numpy`.
"""

import csv
import dataclasses
import io
import math
import re

import numpy as np

from nncore import _columns, _npz

# What stands for a missing value in a column of numbers, in lower case.
MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "-", "<na>"))
TEXT = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
PARQUET = (".parquet", ".pq")
SEPARATORS = (",", ";", "\t")


@dataclasses.dataclass
class Table:
    """The columns (N,) of a table: numbers, with NaN for a missing one, or texts.

    lines: of a text file, the number of each sample's line; `first` are the fields of its first
    line, which is not a heading if `headings` is None.
    """

    path: str
    headings: list[str] | None
    columns: list
    lines: list[int] | None = None
    first: list[str] = dataclasses.field(default_factory=list)
    choice: str = "headings of the table"  # where the headings are, in words
    notes: list[str] = dataclasses.field(default_factory=list)

    def place(self, sample):
        """Return where a sample is, in words."""
        return f"in row {sample + 1}" if self.lines is None else f"in line {self.lines[sample]}"

    def name(self, column):
        """Return a column's number and heading, in words."""
        heading = "" if self.headings is None else f" {self.headings[column][:40]!r}"
        return f"column {column + 1}{heading}"

    def names(self, columns):
        """Return the first few columns in words."""
        shown = [self.name(column) for column in columns[:5]]
        more = [f"{len(columns) - 5} more"] if len(columns) > 5 else []
        return _listed([*shown, *more])


def features(table, chosen, option):
    """Return the columns of features as numbers (N, D); ValueError for texts, missing and infinite
    values, which says what to do. chosen: _columns.Columns; option: as in `_readers.read`.
    """
    columns = chosen.features
    texts = [c for c in columns if table.columns[c].dtype.kind not in "biuf"]
    odd = next((c for c in texts if _stray(table.columns[c])[1]), None)
    if odd is not None:
        sample = _stray(table.columns[odd])[0]
        text = str(table.columns[odd][sample])
        hint = "; write a decimal point, not a comma" if "," in text else ""
        raise ValueError(
            f"{table.path} must hold numbers, got {text[:40]!r} {table.place(sample)}, column "
            f"{odd + 1}{hint}"
        )
    if texts:
        raise ValueError(_about_texts(table, texts, chosen, option))
    gaps = [c for c in columns if _missing(table.columns[c]).any()]
    if gaps:
        masks = [_missing(table.columns[c]) for c in gaps]
        first = min(int(mask.argmax()) for mask in masks)
        count = sum(int(mask.sum()) for mask in masks)
        leave = f"remove these lines, or leave the column out{_dropping(table, gaps, option)}"
        raise ValueError(
            f"{table.path} must have a value in every field, got {count} missing in "
            f"{table.names(gaps)}, the first {table.place(first)}; fill the gaps, with the "
            f"column's mean for example, {'or remove these lines' if chosen.needed else leave}"
        )
    for c in columns:
        at = np.flatnonzero(~np.isfinite(table.columns[c]))
        if at.size:
            raise ValueError(
                f"{table.path} must hold finite numbers, got {table.columns[c][at[0]]} "
                f"{table.place(at[0])}, {table.name(c)}"
            )
    return np.column_stack([table.columns[c].astype(np.float64) for c in columns])


def _about_texts(table, texts, chosen, option):
    """Return the sentence about features that are texts or dates."""
    column, names = table.columns[texts[0]], table.names(texts)
    shown = ", ".join(repr(str(t)[:20]) for t in list(dict.fromkeys(column))[:3])
    kind = "texts" if column.dtype.kind == "U" else "dates"
    if kind == "texts" and all(is_number(t.replace(",", "")) for t in column):
        if all(re.fullmatch(r"-?\d{1,3}(,\d{3})*(\.\d*)?", t) for t in column):
            return (
                f"{table.path} must hold numbers without separators of thousands, got {shown} in "
                f"{names}; remove the commas, as pandas.read_csv(thousands=',') does"
            )
        return (
            f"{table.path} must hold numbers with a decimal point, got {shown} in {names}; replace "
            f"the commas, as pandas.read_csv(decimal=',') does"
        )
    said = f"{table.path} must hold numbers as features, got {kind} such as {shown} in {names}; "
    if chosen.needed:
        return said + "replace them as in the table that the model was trained on"
    if chosen.guessed and len(texts) == 1 and table.columns[chosen.label].dtype.kind == "f":
        said += f"if it holds the labels, name it by {option}, or "
    return (
        f"{said}leave {'it' if len(texts) == 1 else 'them'} out{_dropping(table, texts, option)}, "
        f"or replace each by one column of 0 and 1 per value, as pandas.get_dummies does"
    )


def _dropping(table, columns, option):
    """Return how the columns are left out."""
    names = [str(c + 1) if table.headings is None else table.headings[c] for c in columns]
    if option != "--label-column":
        return f" with drop={names}"
    quoted = ",".join(names)
    return " with --drop " + (f'"{quoted}"' if " " in quoted else quoted)


def _stray(column):
    """Return the first entry of a column of texts that is no number, and whether most others are
    numbers.
    """
    if column.dtype.kind != "U":
        return 0, False
    numbers = np.array([is_number(text) for text in column])
    gaps = np.array([text.lower() in MISSING for text in column])
    stray = ~(numbers | gaps)
    return int(stray.argmax()), numbers.sum() >= stray.sum()


def _is_empty(column):
    return bool(_missing(column).all())


def _missing(column):
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)


# ------------------------------------------------------------------------------------ text files


def parsed(path, text):
    """Return the Table of a text: numbers and texts separated by commas, semicolons or tabs. Fields
    in quotes may hold separators and line breaks.
    """
    lines = list(io.StringIO(text, newline=""))  # as csv ends lines: not at U+2028, unlike str
    line = next((at for at, content in enumerate(lines) if content.strip()), None)
    if line is None:
        raise ValueError(f"{path} must hold lines of numbers, got an empty file")
    found = [(sep, *_first(path, lines, line, sep)) for sep in SEPARATORS]
    separator, first, end = max(found, key=lambda one: len(one[1]))
    headings = first if _is_heading(first) else None
    start = line if headings is None else end
    numbers = [at + 1 for at in range(start, len(lines)) if lines[at].strip()]
    if not numbers:
        raise ValueError(f"{path} must hold lines of numbers, got a header only")
    try:
        columns = list(
            np.loadtxt(
                [lines[number - 1] for number in numbers],
                delimiter=separator,
                ndmin=2,
                comments=None,
                quotechar='"',
            ).T
        )
    except ValueError as error:
        columns, numbers = _by_fields(path, lines, start, separator, error)
    if headings and len(headings) != len(columns):
        raise ValueError(
            f"{path} must have as many columns as headings ({len(headings)}), got {len(columns)}"
        )
    while headings and not headings[-1] and len(columns) > 1 and _is_empty(columns[-1]):
        headings, columns = headings[:-1], columns[:-1]  # what a spreadsheet leaves at the right
    table = Table(path, headings, columns, numbers, first)
    table.choice = "no headings" if headings is None else f"headings in line {line + 1}"
    if headings is None and _columns.is_counting(first):
        table.notes.append(
            f"line {line + 1}, {separator.join(first[:3])}..., is treated as a sample; "
            "headings must not be numbers"
        )
    return table


def _first(path, lines, start, separator):
    """Return (fields of the record that begins at lines[start], the line after it)."""
    _, first, end = next(_records(path, lines, start, separator))
    return [field.strip() for field in first], end


def _records(path, lines, start, separator):
    """Yield (place of its first line, fields, place after its last line) of each record."""
    reader = csv.reader(lines[start:], delimiter=separator)
    at = start
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"{path} must hold lines of numbers, got line {at + 1} that cannot be read "
                f"({error})"
            ) from None
        if fields is None:
            return
        end = start + reader.line_num
        if len(fields) > 1 or "".join(fields).strip():
            yield at, fields, end
        at = end


def _is_heading(first):
    """Return whether the first line holds headings.

    It does if none of its fields is a number, if one is a heading of labels, or if they are those
    that pandas writes above an index and unnamed columns.
    """
    if not any(map(is_number, first)):
        return True
    names = {field.lower() for field in first}
    return not names.isdisjoint(_columns.LABEL_NAMES) or (
        first[0] == "" and _columns.is_counting(first[1:])
    )


def _by_fields(path, lines, start, separator, error):
    """Return (columns of records that are not all numbers, the number of each one's first line);
    ValueError for a ragged one.
    """
    rows, numbers = [], []
    for at, fields, end in _records(path, lines, start, separator):
        if rows and len(fields) != len(rows[0]):
            hint = "" if end == at + 1 else ", in which quotes may not be closed"
            raise ValueError(
                f"{path} must have {len(rows[0])} columns in every line, "
                f"got {len(fields)} in line {at + 1}{hint}"
            )
        rows.append(fields)
        numbers.append(at + 1)
    columns = [_column(texts) for texts in zip(*rows, strict=True)]
    if all(column.dtype.kind == "f" and not _missing(column).any() for column in columns):
        raise ValueError(f"{path} must hold lines of numbers, got {_npz.one_line(error)}")
    return columns, numbers


def _column(texts):
    """Return a column of fields as numbers, with NaN for a missing one, else as texts."""
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        pass
    texts = [text.strip() for text in texts]
    try:
        return np.array([math.nan if t.lower() in MISSING else float(t) for t in texts])
    except ValueError:
        return np.array(texts)


def is_number(field):
    """Return whether a field is a number."""
    try:
        float(field)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------------- Parquet and DataFrames


def is_frame(source):
    """Return whether a source is a DataFrame."""
    return hasattr(source, "columns") and hasattr(source, "to_numpy")


def from_frame(frame, path="the DataFrame"):
    """Return the Table of a DataFrame; path: what messages call it."""
    headings = [str(name) for name in frame.columns]
    columns = [
        _values(frame[name] if len(set(headings)) == len(headings) else frame.iloc[:, i])
        for i, name in enumerate(frame.columns)
    ]
    if not columns or not len(columns[0]):
        raise ValueError(f"{path} must hold at least one row and one column, got none")
    return Table(path, headings, columns)


def from_parquet(path):
    """Return the Table of a Parquet file, read by polars or by pandas."""
    try:
        import polars
    except ImportError:
        frame = _by_pandas(path)
    else:
        try:
            frame = polars.read_parquet(path, use_statistics=False)
        except OSError:
            raise
        except Exception as error:  # polars' own, of several kinds
            raise _unreadable(path, error) from None
    return from_frame(frame, path)


def _by_pandas(path):
    try:
        import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import pyarrow  # type: ignore[import-not-found, unused-ignore] # noqa: F401
    except ImportError:
        raise ValueError(
            f"{path}: Parquet files need polars, or pandas with pyarrow; install it with "
            f"`pip install nncore[parquet]`, or save the table as .csv"
        ) from None
    try:
        return pandas.read_parquet(path)
    except OSError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from None


def _unreadable(path, error):
    return ValueError(f"{path} must be a Parquet file, got one that cannot be read ({error})")


def _values(series):
    """Return a column as numbers, texts or dates (as texts of kind "M")."""
    values = np.asarray(series.to_numpy())
    if values.dtype.kind in "biuf" or values.dtype.kind in "mM":
        return values
    plain = [None if _is_none(x) else x for x in values.tolist()]
    if all(x is None or isinstance(x, (bool, int, float)) for x in plain):
        return np.array([math.nan if x is None else float(x) for x in plain])
    return np.array(["" if x is None else str(x) for x in plain])


def _is_none(x):
    return x is None or x != x or str(x) == "<NA>"


def _listed(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

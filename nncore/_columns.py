"""Choose the columns of a table that hold labels and features."""

import dataclasses

import numpy as np

LABELS = ("auto", "first", "last", "none")
# Headings of a column of labels. A coordinate may be called y, too: that heading counts only if
# none of these is there.
LABEL_NAMES = ("label", "class", "target")
WEAK_NAME = "y"
# The heading that pandas and R give an index or row names, and pandas' name for it when it reads
# such a file.
INDEX_NAMES = ("", "unnamed: 0")


@dataclasses.dataclass
class Columns:
    """`label` (a column or None) and `features` (columns) of a table.

    `choice` describes the choice in words; `notes` are sentences about other possible meanings.
    """

    label: int | None
    features: list[int]
    choice: str
    notes: list[str]


def choose(path, table, headings, label, features, option):
    """Return the Columns of a table (samples, columns); headings are None if there are none.

    label and features are those of `datasets.load_csv`; messages call the former `option`.
    ValueError if several columns could hold the labels, or none has the heading asked for.
    """
    index = headings is not None and len(headings) > 1 and headings[0].lower() in INDEX_NAMES
    columns = list(range(index, table.shape[1]))
    names = ["" if headings is None else f" {heading[:40]!r}" for heading in headings or columns]

    def headed(*wanted):
        return [c for c in columns if headings is not None and headings[c].lower() in wanted]

    def words(cs):
        return " and ".join(f"column {c + 1}{names[c]}" for c in cs)

    if label in LABELS:
        named = (headed(*LABEL_NAMES) or headed(WEAK_NAME)) if label == "auto" else []
    else:
        named = headed(label.lower())
        if not named:
            raise ValueError(
                f"{option} must be {', '.join(LABELS)} or a heading of {path}, got {label!r}"
            )
    notes = []
    column = columns[0] if label == "first" else columns[-1]
    if label == "none" or (label == "auto" and len(columns) == features):
        column = None
        if named:
            notes.append(
                f"{words(named)} is treated as a feature, because the model has {features} of them"
            )
    elif len(named) > 1:
        raise ValueError(
            f"{path} must have one column of labels, got {words(named)}; "
            f"say by {option} which one is meant"
        )
    elif named:
        (column,) = named
        others = [c for c in headed(WEAK_NAME) if c != column]
        if label == "auto" and others:
            notes.append(
                f"{words(others)} is treated as a feature, because {words(named)} holds the labels"
            )
    rest = [c for c in columns if c != column]
    if rest[:1] == [0] and _counts_samples(table[:, 0]):
        notes.append(
            f"{words([0])} counts the samples and is treated as a feature, not as an index"
        )
    choice = [
        "no labels" if column is None else f"labels in {words([column])}",
        f"{len(rest)} {'column' if len(rest) == 1 else 'columns'} of features",
    ]
    if index:
        choice.append(f"{words([0])} left out as an index")
    return Columns(column, rest, ", ".join(choice), notes)


def is_counting(fields):
    """Return whether fields are the texts 0, 1, 2, ..., which pandas writes above
    unnamed columns.
    """
    return len(fields) > 1 and list(fields) == [str(i) for i in range(len(fields))]


def _counts_samples(values):
    return len(values) > 2 and values[0] in (0, 1) and bool(np.all(np.diff(values) == 1))

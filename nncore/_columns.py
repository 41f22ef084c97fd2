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
class Wanted:
    """The columns that a caller asks for.

    label: a column's heading, its number from 1, or one of LABELS; messages call it `option`.
    features: their number, if it is known. names, target: the headings of a model's features and
    of its labels. drop: headings or numbers of columns to leave out.
    """

    label: str = "auto"
    features: int | None = None
    option: str = "label"
    names: list[str] | None = None
    target: str | None = None
    drop: tuple = ()


@dataclasses.dataclass
class Columns:
    """`label` (a column or None) and `features` (columns) of a table.

    `choice` describes the choice in words; `notes` are sentences about other possible meanings.
    needed: whether a model needs the features, so that none can be left out. guessed: whether the
    label is the last column because nothing says where it is.
    """

    label: int | None
    features: list[int]
    choice: str
    notes: list[str]
    needed: bool = False
    guessed: bool = False


def choose(table, wanted):
    """Return the Columns of a Table.

    ValueError if several columns could hold the labels, or none has the heading asked for.
    """
    if wanted.names is not None and table.headings is not None:
        return _match(table, wanted)
    headings, label, option = table.headings, wanted.label, wanted.option
    index = headings is not None and len(headings) > 1 and headings[0].lower() in INDEX_NAMES
    dropped = _dropped(table, wanted)
    columns = [c for c in range(index, len(table.columns)) if c not in dropped]
    if not columns:
        raise ValueError(f"{table.path} must have columns that are not left out, got none")

    def headed(*names):
        return [c for c in columns if headings is not None and headings[c].lower() in names]

    if label in LABELS:
        named = (headed(*LABEL_NAMES) or headed(WEAK_NAME)) if label == "auto" else []
    else:
        named = _asked(table, columns, label, option)
    notes = []
    column = columns[0] if label == "first" else columns[-1]
    if label == "none" or (label == "auto" and len(columns) == wanted.features):
        column = None
        if named:
            notes.append(
                f"{table.names(named)} is treated as a feature, because the model has "
                f"{wanted.features} of them"
            )
    elif len(named) > 1:
        raise ValueError(
            f"{table.path} must have one column of labels, got {table.names(named)}; "
            f"say by {option} which one is meant"
        )
    elif named:
        (column,) = named
        others = [c for c in headed(WEAK_NAME) if c != column]
        if label == "auto" and others:
            notes.append(
                f"{table.names(others)} is treated as a feature, because {table.names(named)} "
                f"holds the labels"
            )
    rest = [c for c in columns if c != column]
    if not rest:
        raise ValueError(
            f"{table.path} must have columns of features beside the labels, got "
            f"{table.name(column)} only"
        )
    if rest[:1] == [0] and _counts_samples(table.columns[0]):
        notes.append(
            f"{table.name(0)} counts the samples and is treated as a feature, not as an index; "
            f"{'--drop' if option == '--label-column' else 'drop='} leaves it out"
        )
    choice = [
        "no labels" if column is None else f"labels in {table.name(column)}",
        f"{len(rest)} {'column' if len(rest) == 1 else 'columns'} of features",
    ]
    if index:
        choice.append(f"{table.name(0)} left out as an index")
    if dropped:
        choice.append(f"{table.names(dropped)} left out")
    guessed = label == "auto" and column is not None and not named
    needed = wanted.features is not None
    return Columns(column, rest, ", ".join(choice), notes, needed, guessed)


def _asked(table, columns, label, option):
    """Return the columns with this heading, or the one with this number."""
    found = (
        []
        if table.headings is None
        else [c for c in columns if table.headings[c].lower() == label.lower()]
    )
    if not found and label.isdecimal() and int(label) - 1 in columns:
        return [int(label) - 1]
    if not found and option == "--drop":
        raise ValueError(
            f"{option} must name columns of {table.path}, by headings or by numbers from 1 to "
            f"{len(table.columns)}, got {label!r}{_closest(table.headings, label)}"
        )
    if not found and len(columns) < len(table.columns) and _has(table, label):
        raise ValueError(
            f"{option} must be a column that is not left out or used otherwise, got {label!r}"
        )
    if not found:
        last = len(table.columns)
        number = f", a number from 1 to {last}" if label.isdecimal() else ""
        raise ValueError(
            f"{option} must be {', '.join(LABELS)}{number} or a heading of {table.path}, got "
            f"{label!r}{_closest(table.headings, label)}"
        )
    return found


def _has(table, label):
    """Return whether a table has a column with this heading, or number."""
    headings = [] if table.headings is None else [heading.lower() for heading in table.headings]
    return label.lower() in headings or (label.isdecimal() and 0 < int(label) <= len(table.columns))


def _closest(headings, name):
    """Return a hint at the heading that is most like a name, or at all if there are few."""
    import difflib

    lower = {heading.lower(): heading for heading in headings or ()}
    near = difflib.get_close_matches(name.lower(), lower, 1, 0.75)
    return f"; did you mean {lower[near[0]]!r}?" if near else ""


def _dropped(table, wanted):
    """Return the columns to leave out."""
    found = []
    for name in wanted.drop:
        found += _asked(table, range(len(table.columns)), name, "--drop")
    return sorted(set(found))


def _match(table, wanted):
    """Return the Columns with the headings of a model's features, in the model's order."""
    headings, lower = table.headings, [heading.lower() for heading in table.headings]
    dropped = _dropped(table, wanted)
    columns = [c for c in range(len(headings)) if c not in dropped]
    features, missing = [], []
    for at, name in enumerate(wanted.names):
        found = [c for c in columns if headings[c] == name]
        found = found or [c for c in columns if lower[c] == name.lower()]
        alike = wanted.names.count(name)
        if len(found) > 1 and len(found) != alike:
            raise ValueError(
                f"{table.path} must have {'one column' if alike == 1 else f'{alike} columns'} "
                f"{name!r}, got {table.names(found)}"
            )
        if len(found) == alike:  # columns of one heading keep their order
            found = [found[wanted.names[:at].count(name)]]
        elif alike > 1:
            found = []
        features += found
        missing += [] if found else [name]
    if missing:
        shown = ", ".join(repr(name[:40]) for name in missing[:5])
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise ValueError(
            f"{table.path} must have the columns that the model was trained on; {shown}{more} "
            f"{'is' if len(missing) == 1 else 'are'} missing"
            + _closest([headings[c] for c in columns if c not in features], missing[0])
        )
    column = _target(table, wanted, [c for c in columns if c not in features])
    notes = []
    if features != sorted(features):
        notes.append("its columns are put in the model's order")
    extra = [c for c in columns if c != column and c not in features]
    extra = [c for c in extra if wanted.target is None or lower[c] != wanted.target.lower()]
    extra = [c for c in extra if c != 0 or lower[0] not in INDEX_NAMES]
    if extra:
        is_ = "is" if len(extra) == 1 else "are"
        notes.append(f"{table.names(extra)} {is_} ignored; the model was trained without")
    choice = "no labels" if column is None else f"labels in {table.name(column)}"
    return Columns(column, features, f"{choice}, features by their headings", notes, True)


def _target(table, wanted, others):
    """Return the column of the labels among those that are no features, or None."""
    if wanted.label == "none" or not others:
        return None
    if wanted.label in ("first", "last"):
        return others[0 if wanted.label == "first" else -1]
    if wanted.label != "auto":
        return _asked(table, others, wanted.label, wanted.option)[0]
    names = (wanted.target.lower(),) if wanted.target is not None else LABEL_NAMES
    found = [c for c in others if table.headings[c].lower() in names]
    if len(found) > 1:
        raise ValueError(
            f"{table.path} must have one column of labels, got {table.names(found)}; "
            f"say by {wanted.option} which one is meant"
        )
    return found[0] if found else None


def is_counting(fields):
    """Return whether fields are the texts 0, 1, 2, ..., which pandas writes above
    unnamed columns.
    """
    return len(fields) > 1 and list(fields) == [str(i) for i in range(len(fields))]


def _counts_samples(values):
    return (
        values.dtype.kind in "iuf"
        and len(values) > 2
        and values[0] in (0, 1)
        and bool(np.all(np.diff(values) == 1))
    )

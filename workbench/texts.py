"""Read labelled Korean text, and refuse a bad file by its name and line before anything is made of it.

Refuses to quote: an error names file, line and label, never the text.
"""

import csv
import hashlib
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, TypeVar

from workbench.emotions import EMOTIONS
from workbench.errors import DataError

HELD_OUT_KOTE = 500
KOTE_LABELS = range(44)
CALIBRATION_EVERY = 8
Item = TypeVar("Item")


class Text(NamedTuple):
    """One labelled text: `labels` are ids within its source, the main one first where order matters."""

    text: str
    labels: tuple[int, ...] = ()
    key: str = ""


def refuse(path: Path, line: int, what: str) -> NoReturn:
    """Raise the one error that a bad data file ends in."""
    raise DataError(f"{path}, line {line}: {what}", "correct or remove that line; nothing was made of the file")


def lines(path: Path) -> Iterator[str]:
    """Yield the UTF-8 lines of a plain or .xz file, line ends kept."""
    if not path.is_file():
        raise DataError(f"{path}: no such file", "name the folder or file that holds it")
    number = 0
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rb") as stream:
            for number, line in enumerate(stream, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        refuse(path, number, f"not UTF-8 at byte {error.start}")
    except (lzma.LZMAError, EOFError) as error:
        refuse(path, number + 1, f"damaged xz file ({error})")


def rows(path: Path, columns: int, delimiter: str = "\t", *, quoted: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of a delimited file that must have exactly `columns` columns."""
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    reader = csv.reader(lines(path), delimiter=delimiter, quoting=quoting, strict=quoted)
    try:
        for row in reader:
            if len(row) != columns:
                refuse(path, reader.line_num, f"{len(row)} columns instead of {columns}")
            yield reader.line_num, row
    except csv.Error as error:
        refuse(path, reader.line_num, f"broken quoting ({error})")
    if reader.line_num == 0:
        refuse(path, 1, "no rows")


def text_of(path: Path, line: int, text: str) -> str:
    """Return the text, stripped, or refuse an empty one."""
    return text.strip() or refuse(path, line, "empty text")


def ids_of(path: Path, line: int, field: str, allowed: range) -> tuple[int, ...]:
    """Return the comma-separated label ids of a field, each of which must be in `allowed`."""
    parts = field.split(",")
    wrong = [part for part in parts if not (part.strip().isdecimal() and int(part) in allowed)]
    if wrong:
        refuse(path, line, f"label {wrong[0]!r} is not a number from {allowed.start} to {allowed.stop - 1}")
    return tuple(dict.fromkeys(int(part) for part in parts))


def emotions_of(path: Path, line: int, names: list[str]) -> tuple[int, ...]:
    """Return the ids of named emotions, in the order of the names."""
    wrong = [name for name in names if name not in EMOTIONS]
    if wrong:
        refuse(path, line, f"emotion {wrong[0]!r} is not one of {', '.join(EMOTIONS)}")
    return tuple(EMOTIONS.index(name) for name in names)


def read_kote(path: Path) -> list[Text]:
    """Read `id<TAB>text<TAB>ids` with csv quoting; ids are of KOTE's 44 emotions."""
    return [
        Text(text_of(path, n, text), ids_of(path, n, ids, KOTE_LABELS), key)
        for n, (key, text, ids) in rows(path, 3, quoted=True)
    ]


def read_entries(path: Path) -> list[Text]:
    """Read the project's diary entries: `id<TAB>main<TAB>further<TAB>text` below a header, emotions by name."""
    (_, header), *body = rows(path, 4)
    if header != ["id", "main", "further", "text"]:
        refuse(path, 1, f"the header is {', '.join(header)} instead of id, main, further, text")
    return [
        Text(text_of(path, n, text), emotions_of(path, n, [main, *further.split(",")] if further else [main]), key)
        for n, (key, main, further, text) in body
    ]


def rank(text: str) -> str:
    """Return the sha256 that decides every split: the same on every machine, whatever the file's order."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_kote(texts: list[Text]) -> tuple[list[Text], list[Text]]:
    """Split KOTE into (training, held out): held out are the 500 whose id has the smallest sha256."""
    ranked = sorted(texts, key=lambda text: rank(text.key))
    return ranked[HELD_OUT_KOTE:], ranked[:HELD_OUT_KOTE]


def split_entries(texts: list[Text]) -> tuple[list[Text], list[Text]]:
    """Split diary entries into (calibration, evaluation): calibration are those whose sha256 is 0 modulo 8."""
    chosen = {text: int(rank(text.text), 16) % CALIBRATION_EVERY == 0 for text in texts}
    return [text for text in texts if chosen[text]], [text for text in texts if not chosen[text]]


def spread(items: list[Item], count: int) -> list[Item]:
    """Return `count` of the items, evenly spread over the list so that its mix is kept."""
    return [items[index * len(items) // count] for index in range(count)]

"""The memory-mapped tokenizer reads its documented format, refuses anything else in one sentence and imports next to nothing."""

import struct
import subprocess
from pathlib import Path

import pytest

from lambda_image.app.manifest import InitError
from lambda_image.app.wordpiece import WordPiece
from workbench import paths

TOKENS = ("[UNK]", "[CLS]", "[SEP]", "오늘", "##은", ".")
SLOTS = 13


def content(version: int = 1, most: int = 8) -> bytes:
    """A file of six tokens, written by hand as the format says: NUL dropped, a space splits, a full stop stands alone."""
    texts = [token.encode() for token in (*TOKENS, "##")]
    slots, starts = [0] * SLOTS, [sum(map(len, texts[:number])) for number in range(len(texts) + 1)]
    for number, text in enumerate(texts[:-1]):
        slot = int.from_bytes(text, "little") % SLOTS
        while slots[slot]:
            slot = (slot + 1) % SLOTS
        slots[slot] = number + 1
    ascii_block = bytes({"\0": 1, " ": 2, ".": 3}.get(chr(code), 0) for code in range(256))
    sections = [
        struct.pack(f"<{SLOTS + len(starts) + 1}I", *slots, *starts, 2),
        bytes([1]) + bytes(0x110000 // 256 - 1),
        bytes(256) + ascii_block,
        *texts,
    ]
    size = 8 + 4 * 12 + sum(map(len, sections))
    header = struct.pack("<12I", version, size, len(TOKENS), SLOTS, 1, 2, 0, 1, 2, 5, 5, most)
    return b"".join([b"WORDPIEC", header, *sections])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The intact file."""
    (tmp_path / "tokenizer.bin").write_bytes(content())
    return tmp_path / "tokenizer.bin"


@pytest.mark.parametrize(
    ("text", "ids", "truncated"),
    [
        ("", [1, 2], False),
        (" \0 ", [1, 2], False),
        ("오늘", [1, 3, 2], False),
        ("오\0늘은.", [1, 3, 4, 5, 2], False),
        ("은 오늘은은", [1, 0, 3, 4, 4, 2], False),
        ("오늘오늘", [1, 0, 2], False),
        ("오늘은은은은", [1, 0, 2], False),
        ("오늘[SEP]은", [1, 3, 2, 0, 2], False),
        ("[sep].", [1, 0, 5, 2], False),
        ("......", [1, 5, 5, 5, 5, 5, 5, 2], False),
        (".......", [1, 5, 5, 5, 5, 5, 5, 2], True),
        (".....오늘은", [1, 5, 5, 5, 5, 5, 3, 2], True),
    ],
)
def test_a_file_written_as_documented_is_read(path, text, ids, truncated) -> None:
    """Longest tokens first, unknown and over-long words, special tokens, and the cut to eight tokens come out as told."""
    assert WordPiece(str(path)).encode(text) == (ids, truncated)


@pytest.mark.parametrize(
    ("damaged", "sentence"),
    [
        (None, "is missing or empty"),
        (b"", "is missing or empty"),
        (b"WORD", "is no tokenizer.bin"),
        (content()[:50], "is no tokenizer.bin"),
        (b'{"version": "1.0"}' * 100, "is no tokenizer.bin"),
        (content(version=2), "has format 2, not 1"),
        (content()[:-1], "bytes, not"),
        (content() + b"\0", "bytes, not"),
    ],
)
def test_a_damaged_file_is_refused_in_one_sentence(path, damaged, sentence) -> None:
    """A missing, empty, truncated, foreign, newer or overlong file is an `InitError` of one line that names it."""
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    with pytest.raises(InitError) as caught:
        WordPiece(str(path))
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def pulled(module: str) -> set[str]:
    """What importing `module` adds, in the shipped environment, to what awslambdaric and the manifest have imported."""
    code = (
        "import sys, awslambdaric.bootstrap, lambda_image.app.manifest; before = set(sys.modules); "
        f"import {module}; print(*sorted(set(sys.modules) - before))"
    )
    command = [paths.environment_python("runtime"), "-c", code]
    return set(subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_the_reader_imports_nothing_of_its_own() -> None:
    """On top of the runtime client and the manifest the reader imports itself alone; the plain path brings a library."""
    assert pulled("lambda_image.app.wordpiece") == {"lambda_image.app.wordpiece"}
    assert "tokenizers" in pulled("lambda_image.app.tokenizer_library")

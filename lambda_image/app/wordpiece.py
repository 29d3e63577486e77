"""BERT's WordPiece read from a memory-mapped `tokenizer.bin`: the ids that `tokenizers` gives, without parsing anything.

The format is told in `optimize/wordpiece.py`, which writes it. Refuses a missing, truncated or foreign file in one
sentence. Imports nothing that the Lambda runtime client has not imported before, but for `mmap`.
"""

import mmap
import re

from .manifest import InitError

MAGIC = b"WORDPIEC"
VERSION = 1
HEADER_SIZE = len(MAGIC) + 12 * 4
PAGES = 0x110000 // 256


class WordPiece:
    """An opened `tokenizer.bin`."""

    def __init__(self, path):
        """Map the file at `path`; raises `InitError`."""
        self._mapping, numbers = _map(path)
        _, _, tokens, slots, specials, blocks, *ids_and_limits = numbers
        self._unknown, self._first, self._last, self._longest_word, self._longest_token, self._most = ids_and_limits
        sizes = (4 * slots, 4 * (tokens + 2), 4 * specials, PAGES, 256 * blocks)
        self._slots, self._starts, special, self._pages, self._blocks = _sections(self._mapping, sizes)
        self._text = HEADER_SIZE + sum(sizes)
        self._prefix = self._token(tokens).decode()
        self._specials = {self._token(number).decode(): number for number in special}

    def encode(self, text):
        """Return (ids, whether the text was cut to fit).

        A lone surrogate, which `problems.py` refuses before, raises `UnicodeEncodeError` where a word holds it;
        `tokenizers` raises `TypeError`.
        """
        ids, most = [self._first], self._most - 1
        for pieces in self._words(text):
            ids += pieces
            if len(ids) > most:
                return [*ids[:most], self._last], True
        return [*ids, self._last], False

    def _words(self, text):
        """Yield each word's ids; special tokens are found in the raw text, before anything else."""
        for place, part in enumerate(self._split(text)):
            if place % 2:
                yield [self._specials[part]]
            else:
                forms = {code: self._form(code) for code in map(ord, set(part))}
                yield from map(self._pieces, filter(None, part.translate(forms).split(" ")))

    def _split(self, text):
        """The text's parts; every second one is a special token."""
        if any(token in text for token in self._specials):
            return re.split(f"({'|'.join(map(re.escape, self._specials))})", text)
        return [text]

    def _form(self, code):
        """What a character becomes: itself, nothing, a space, or a word of its own."""
        kind = self._blocks[self._pages[code >> 8] << 8 | code & 255]
        return (code, None, " ", f" {chr(code)} ")[kind]

    def _pieces(self, word):
        """The ids of the longest tokens that make up `word` from its start, or the unknown one."""
        ids, start, prefix = [], 0, ""
        if len(word) > self._longest_word:
            return [self._unknown]
        while start < len(word):
            for end in range(min(len(word), start + self._longest_token), start, -1):
                number = self._find(f"{prefix}{word[start:end]}".encode())
                if number is not None:
                    break
            else:
                return [self._unknown]
            ids.append(number)
            start, prefix = end, self._prefix
        return ids

    def _find(self, token):
        """The id of a token's UTF-8, or None."""
        slot = int.from_bytes(token, "little") % len(self._slots)
        while held := self._slots[slot]:
            if self._token(held - 1) == token:
                return held - 1
            slot = (slot + 1) % len(self._slots)
        return None

    def _token(self, number):
        return self._mapping[self._text + self._starts[number] : self._text + self._starts[number + 1]]


def _sections(mapping, sizes):
    """The sections behind the header: three of 32-bit numbers, then two of bytes."""
    view, start = memoryview(mapping)[HEADER_SIZE:], 0
    for kind, size in zip("IIIBB", sizes, strict=True):
        yield view[start : start + size].cast(kind)
        start += size


def _map(path):
    """The mapping of an intact file and its header's numbers."""
    try:
        with open(path, "rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InitError(f"The tokenizer {path} is missing or empty ({error}).") from None
    if mapping[: len(MAGIC)] != MAGIC or len(mapping) < HEADER_SIZE:
        raise InitError(f"The tokenizer {path} is no tokenizer.bin: build the variant again.")
    numbers = memoryview(mapping)[len(MAGIC) : HEADER_SIZE].cast("I").tolist()
    if numbers[0] != VERSION:
        raise InitError(f"The tokenizer {path} has format {numbers[0]}, not {VERSION}: build the variant again.")
    if numbers[1] != len(mapping):
        raise InitError(f"The tokenizer {path} has {len(mapping)} bytes, not {numbers[1]}: build the variant again.")
    return mapping, numbers

"""A WordPiece `tokenizer.json` as one file to be memory-mapped, so that a cold start parses no vocabulary.

Refuses, by False, every tokenizer that the lean reader (`lambda_image/app/wordpiece.py`) would not give the same ids
as: only BERT's own normalizer without lowercasing or accent stripping, its pre-tokenizer, [CLS] A [SEP], and plain
special tokens that stand in the vocabulary.

Format 1, numbers little-endian, unsigned and of 32 bits unless said, sections one after the other:

| section | holds |
|---|---|
| magic | the 8 bytes `WORDPIEC` |
| header | the 12 numbers named in `Header`, in that order |
| slots | open-addressing hash: id + 1 of a token, 0 where empty |
| starts | where each token's UTF-8 begins in `text`; then where the prefix begins and ends |
| specials | ids of the special tokens that are found in raw text, the longest first |
| pages | a byte for each 256 code points: which block describes them |
| blocks | 256 bytes each, one a code point: 0 ordinary, 1 dropped, 2 whitespace, 3 a word of its own |
| text | the tokens' UTF-8 in the order of their ids, then the continuing prefix |

A token's first slot is its UTF-8, read as a little-endian number, modulo the number of slots, a prime; further ones
follow one by one, around the end.
"""

import json
from collections.abc import Iterable
from functools import cache
from itertools import accumulate, count
from math import isqrt
from pathlib import Path
from typing import Any, NamedTuple

from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

MAGIC = b"WORDPIEC"
VERSION = 1
CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)
BLOCK = 256
SLOTS_PER_TOKEN = 2
ORDINARY = 0
PLAIN_SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


class Header(NamedTuple):
    """Counts, ids and limits; `size` is the file's, in bytes, and the two `longest` are in characters."""

    version: int
    size: int
    tokens: int
    slots: int
    specials: int
    blocks: int
    unknown: int
    first: int
    last: int
    longest_word: int
    longest_token: int
    max_tokens: int


def build(tokenizer_json: Path, target: Path, max_tokens: int) -> bool:
    """Write `target` for texts cut to `max_tokens`; False, and nothing written, for a tokenizer of another kind."""
    settings = json.loads(tokenizer_json.read_text(encoding="utf-8"))
    frame = Tokenizer.from_file(str(tokenizer_json)).encode("").ids
    if max_tokens < 3 or len(frame) != 2 or not _is_plain(settings):
        return False
    target.write_bytes(_pack(settings, frame, max_tokens))
    return True


def _is_plain(settings: dict[str, Any]) -> bool:
    """Whether the settings are of the one kind that the reader knows."""
    model, normalizer = settings["model"], settings["normalizer"] or {}
    return (
        model["type"] == "WordPiece"
        and normalizer.get("type") == "BertNormalizer"
        and not normalizer["lowercase"]
        and not normalizer["strip_accents"]
        and settings["pre_tokenizer"] == {"type": "BertPreTokenizer"}
        and _frames_once(settings["post_processor"] or {})
        and settings["truncation"] is settings["padding"] is None
        and sorted(model["vocab"].values()) == list(range(len(model["vocab"])))
        and model["unk_token"] in model["vocab"]
        and all(_is_plain_special(token, model["vocab"]) for token in settings["added_tokens"])
    )


def _frames_once(processor: dict[str, Any]) -> bool:
    """Whether one text becomes one special token, the text and one special token, all of type 0."""
    if processor.get("type") == "TemplateProcessing":
        pieces = [(kind, piece["type_id"]) for part in processor["single"] for kind, piece in part.items()]
        return pieces == [("SpecialToken", 0), ("Sequence", 0), ("SpecialToken", 0)]
    return processor.get("type") == "BertProcessing"


def _is_plain_special(token: dict[str, Any], vocabulary: dict[str, int]) -> bool:
    content, number = token["content"], token["id"]
    return content != "" and vocabulary.get(content) == number and PLAIN_SPECIAL.items() <= token.items()


@cache
def _classes(clean_text: bool, handle_chinese_chars: bool) -> bytes:
    """The class of every code point, told by what `tokenizers` makes of it between two letters.

    Surrogates, which no text holds, are ordinary.
    """
    keep = {"strip_accents": False, "lowercase": False}
    normalizer = BertNormalizer(clean_text=clean_text, handle_chinese_chars=handle_chinese_chars, **keep)
    splitter = BertPreTokenizer()

    def ask(character: str) -> int:
        framed = f"a{character}b"
        words = [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(framed))]
        return ([framed], ["ab"], ["a", "b"], ["a", character, "b"]).index(words)

    return bytes(ORDINARY if code in SURROGATES else ask(chr(code)) for code in range(CODE_POINTS))


def _pack(settings: dict[str, Any], frame: list[int], max_tokens: int) -> bytes:
    """The whole file; `frame` is the ids of the empty text."""
    model, normalizer = settings["model"], settings["normalizer"]
    vocabulary = model["vocab"]
    texts = [token.encode() for token in sorted(vocabulary, key=vocabulary.__getitem__)]
    strings = [*texts, model["continuing_subword_prefix"].encode()]
    specials = sorted(settings["added_tokens"], key=lambda token: len(token["content"]), reverse=True)
    slots = _slots(texts)
    pages, blocks = _pages(_classes(normalizer["clean_text"], normalizer["handle_chinese_chars"]))
    sections = [
        _numbers(slots),
        _numbers([0, *accumulate(map(len, strings))]),
        _numbers(token["id"] for token in specials),
        pages,
        blocks,
        b"".join(strings),
    ]
    header = Header(
        version=VERSION,
        size=len(MAGIC) + 4 * len(Header._fields) + sum(map(len, sections)),
        tokens=len(texts),
        slots=len(slots),
        specials=len(specials),
        blocks=len(blocks) // BLOCK,
        unknown=vocabulary[model["unk_token"]],
        first=frame[0],
        last=frame[1],
        longest_word=model["max_input_chars_per_word"],
        longest_token=max(map(len, vocabulary)),
        max_tokens=max_tokens,
    )
    return b"".join([MAGIC, _numbers(header), *sections])


def _numbers(values: Iterable[int]) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def _slots(texts: list[bytes]) -> list[int]:
    """The hash of the tokens, at most half full: fuller would be slower, emptier a larger file."""
    slots = [0] * _next_prime(SLOTS_PER_TOKEN * len(texts))
    for number, text in enumerate(texts):
        slot = int.from_bytes(text, "little") % len(slots)
        while slots[slot]:
            slot = (slot + 1) % len(slots)
        slots[slot] = number + 1
    return slots


def _next_prime(least: int) -> int:
    return next(n for n in count(least) if all(n % divisor for divisor in range(2, isqrt(n) + 1)))


def _pages(classes: bytes) -> tuple[bytes, bytes]:
    """Each page's block number, and the distinct blocks one after the other."""
    blocks = [classes[start : start + BLOCK] for start in range(0, CODE_POINTS, BLOCK)]
    distinct = list(dict.fromkeys(blocks))
    return bytes(map(distinct.index, blocks)), b"".join(distinct)

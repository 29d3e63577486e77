"""Drop the tokens that Korean text does not use, from the tokenizer and from the embedding table alike.

The rule: a token stays if each of its characters is ASCII, Hangul, or no letter (digits, punctuation, symbols, emoji);
`[unused1]` and its like go, special tokens stay. A text of such characters alone keeps its tokens, since every piece
of a kept token is kept; other scripts become unknown or fall to bytes. Refuses tokenizers other than WordPiece and BPE.
"""

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optimize import graphs
from workbench.errors import VariantError
from workbench.store import write_text

HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff\uffa0-\uffdc]")
EMOJI_JOINERS = "\u20e3\ufe0f"
UNUSED = re.compile(r"\[unused\d+\]")
LETTERS_AND_MARKS = "LM"


def prune(model: Path, tokenizer: Path, pad_id: int) -> None:
    """Shorten the ONNX file's word embeddings and the `tokenizer.json` in place; ids are numbered anew.

    Ids up to `pad_id` stay as they are: graphs compare ids with it.
    """
    settings = json.loads(tokenizer.read_text(encoding="utf-8"))
    if settings["model"]["type"] not in READ:
        raise VariantError(
            f"the tokenizer is a {settings['model']['type']}, which cannot be pruned", "leave `prune` out"
        )
    ids = settings["model"]["vocab"] | {token["content"]: token["id"] for token in settings["added_tokens"]}
    special = {token["content"] for token in settings["added_tokens"]} | {settings["model"]["unk_token"]}
    read = READ[settings["model"]["type"]]
    kept = sorted(ids[token] for token in ids if ids[token] <= pad_id or token in special or is_used(read(token)))
    _renumber(settings, {old: new for new, old in enumerate(kept)})
    write_text(tokenizer, json.dumps(settings, ensure_ascii=False))
    graphs.keep_rows(model, kept)


def is_used(token: str) -> bool:
    """Whether Korean text uses the characters of `token`."""
    return not UNUSED.fullmatch(token) and all(map(_is_used_character, token))


def _is_used_character(character: str) -> bool:
    return (
        character.isascii()
        or HANGUL.match(character) is not None
        or unicodedata.category(character)[0] not in LETTERS_AND_MARKS
        or character in EMOJI_JOINERS
    )


def _plain(token: str) -> str:
    return token


def _characters(token: str) -> str:
    """The whole characters in a byte-level token; parts of a character are left out."""
    return bytes(BYTES[sign] for sign in token if sign in BYTES).decode(errors="ignore")


def _byte_signs() -> dict[str, int]:
    """The sign that byte-level BPE writes for each byte: the printable ones for themselves, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


BYTES = _byte_signs()
READ: dict[str, Callable[[str], str]] = {"WordPiece": _plain, "BPE": _characters}


def _renumber(settings: dict[str, Any], number: dict[int, int]) -> None:
    """Leave only the tokens whose id `number` has, under their new ids, and merges of such tokens."""
    model = settings["model"]
    model["vocab"] = {token: number[old] for token, old in model["vocab"].items() if old in number}
    for token in settings["added_tokens"]:
        token["id"] = number[token["id"]]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if _is_possible(merge, model["vocab"])]
    _renumber_frame(settings["post_processor"] or {}, number)


def _is_possible(merge: str | list[str], vocabulary: dict[str, int]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return {left, right, left + right} <= vocabulary.keys()


def _renumber_frame(processor: dict[str, Any], number: dict[int, int]) -> None:
    """The special tokens around a text, in each of the forms that post-processors write them."""
    for part in processor.get("processors", ()):
        _renumber_frame(part, number)
    for special in processor.get("special_tokens", {}).values():
        special["ids"] = [number[old] for old in special["ids"]]
    for end in ("cls", "sep"):
        if end in processor:
            processor[end][1] = number[processor[end][1]]

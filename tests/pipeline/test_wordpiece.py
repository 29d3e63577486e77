"""The memory-mapped tokenizer gives the ids of `tokenizers`, cut where it cuts, for every text."""

import json
import os
import random
import struct
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import BertTokenizerFast

from lambda_image.app.wordpiece import WordPiece
from optimize.builtin import PACKED, VOCABULARY_SIZE
from optimize.train import data, pack
from optimize.wordpiece import BLOCK, CODE_POINTS, MAGIC, Header, build
from tests.pipeline import tiny
from workbench import texts
from workbench.paths import ROOT

MOST = 512
REAL = 100_000
FUZZED = 20_000
BATCH = 10_000


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """A folder with the built-in model's `tokenizer.json`, grown to 54,343 tokens, and its `tokenizer.bin`."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokens = pack.grown_vocabulary((PACKED / "vocab.txt").read_text("utf-8").splitlines(), VOCABULARY_SIZE)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False).save_pretrained(folder)
    assert build(folder / "tokenizer.json", folder / "tokenizer.bin", MOST)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """A `tokenizer.json` of 4,000 tokens, to be changed by a test."""
    return tiny.make("bert", tmp_path_factory.mktemp("small") / "model") / "tokenizer.json"


def differences(tokenizer_json: Path, artifact: Path, given: list[str], most: int = MOST) -> int:
    """How many of the texts have other ids than `tokenizers` gives, or are said to be cut when they are not."""
    reader, reference = WordPiece(str(artifact)), Tokenizer.from_file(str(tokenizer_json))
    reference.enable_truncation(most)
    batches = [given[start : start + BATCH] for start in range(0, len(given), BATCH)]
    return sum(
        reader.encode(text) != (encoding.ids, bool(encoding.overflowing))
        for batch in batches
        for text, encoding in zip(batch, reference.encode_batch(batch), strict=True)
    )


def diaries() -> list[str]:
    """Every diary text that the repository holds."""
    own = [text for path in (data.DIARY_LINES, data.EXPRESSIONS) for text in data.read_diaries(path)]
    return [text.text for text in [*texts.read_entries(ROOT / "bench" / "diaries.tsv"), *own]]


def recombined(count: int) -> list[str]:
    """The diaries, and texts of 1 to 20 of their words up to `count`, every hundredth of them longer than 512 tokens."""
    chance, own = random.Random(1), diaries()
    words = [word for text in own for word in text.split()]
    lengths = (600 if number % 100 == 0 else chance.randint(1, 20) for number in range(count - len(own)))
    return own + [" ".join(chance.choices(words, k=length)) for length in lengths]


def test_real_reviews_have_the_same_ids(shipped) -> None:
    """The first 100,000 reviews of NSMC have the ids that `tokenizers` gives."""
    if "WORKBENCH_DATA" not in os.environ:
        pytest.skip(f"WORKBENCH_DATA names no folder: {REAL} recombined diaries are compared, no real reviews")
    path = Path(os.environ["WORKBENCH_DATA"]) / "nsmc" / "nsmc.tsv.xz"
    reviews = [review for _, (_, review) in islice(texts.rows(path, 2), REAL)]
    assert len(set(reviews)) == REAL
    assert differences(shipped / "tokenizer.json", shipped / "tokenizer.bin", reviews) == 0


def test_diaries_have_the_same_ids(shipped) -> None:
    """Every diary in the repository, and their words recombined up to 100,000 texts, have the same ids, long ones cut."""
    given = recombined(REAL)
    assert len(given) == REAL
    assert differences(shipped / "tokenizer.json", shipped / "tokenizer.bin", given) == 0


SPECIALS = (
    "[SEP]",
    "[CLS]",
    "[PAD]",
    "[UNK]",
    "[MASK]",
    "[sep]",
    "[Sep]",
    "[ SEP]",
    "[[SEP]]",
    "[SEP",
    "##",
    "[SEP]##",
)
EMOJI = ("👩‍👩‍👧", "❤️‍🔥", "🏳️‍🌈", "👍🏽", "🇰🇷", "😀", "\u200d", "\ufe0f")
SPACES = (*" \t\n\r\x0b\x0c\x1c\x1f\x85\xa0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u200b")
ODD = ("\0", "\ufeff", "\ufffd", "\ufffe", "\U0010ffff", "\U000e0001", "\U000f0000", "İ", "ß", "ﬁ", "ΐ", "が", "ㅤ", "ﾡ")
RANGES = {
    "any": (0, CODE_POINTS),
    "basic": (0, 0xD800),
    "latin": (0, 0x250),
    "controls": (0, 0xA1),
    "marks": (0x300, 0x370),
    "jamo": (0x1100, 0x1200),
    "punctuation": (0x2000, 0x2070),
    "symbols": (0x3000, 0x3400),
    "cjk": (0x4E00, 0xA000),
    "hangul": (0xAC00, 0xD7A4),
    "wide": (0xF900, 0x10000),
    "emoji": (0x1F300, 0x1FB00),
    "more cjk": (0x20000, 0x32000),
}


def fuzzed(count: int, seed: int, tokens: list[str]) -> Iterator[str]:
    """Texts of up to 40 odd pieces: characters of every kind, tokens, special ones, endless words, in NFC, NFD or neither."""
    chance, own = random.Random(seed), [word for text in diaries() for word in text.split()]
    lists = (SPECIALS, EMOJI, SPACES, ODD, tokens, own, [" "])
    forms = (str, str, lambda text: unicodedata.normalize("NFC", text), lambda text: unicodedata.normalize("NFD", text))

    def piece() -> str:
        if chance.random() < 0.02:
            return chance.choice([*own, "가", "a", "\u0301", "😀"])[:1] * chance.choice([99, 100, 101, 300])
        if chance.random() < 0.5:
            return chance.choice(chance.choice(lists))
        code = chance.randrange(*chance.choice(tuple(RANGES.values())))
        return "" if 0xD800 <= code < 0xE000 else chr(code)

    for _ in range(count):
        yield chance.choice(forms)("".join(piece() for _ in range(chance.randint(0, 40))))


def vocabulary(tokenizer_json: Path) -> list[str]:
    return [*json.loads(tokenizer_json.read_text("utf-8"))["model"]["vocab"]]


def test_odd_texts_have_the_same_ids(shipped) -> None:
    """20,000 fuzzed texts have the same ids: all planes, marks, joined emoji, jamo, controls, special tokens, long words."""
    given = list(fuzzed(FUZZED, 2, vocabulary(shipped / "tokenizer.json")))
    assert differences(shipped / "tokenizer.json", shipped / "tokenizer.bin", given) == 0


def test_every_character_has_the_same_ids(shipped) -> None:
    """Each of the 1,112,064 characters, between a letter and a syllable, gives the same ids; a hundred to a text."""
    words = [f"a{chr(code)}가" for code in range(CODE_POINTS) if not 0xD800 <= code < 0xE000]
    given = [" ".join(words[start : start + 100]) for start in range(0, len(words), 100)]
    assert differences(shipped / "tokenizer.json", shipped / "tokenizer.bin", given) == 0


EXTREMES = {
    "nothing": "",
    "blank": " \n\t ",
    "NUL": "\0",
    "NUL within": "오\0늘",
    "a special token": "[SEP]",
    "a long word": "가" * 100_000,
    "long": "오늘 " * 33_334,
    "many special tokens": "[SEP]" * 20_000,
    "punctuation": "." * 100_000,
    "exactly 512": "." * 510,
    "one too many": "." * 511,
    "cut at a word": "." * 509 + "행복했었더라면",
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_texts_have_the_same_ids(shipped, name) -> None:
    """Nothing, NUL, 100,000 characters and the lengths around the cut have the same ids."""
    assert differences(shipped / "tokenizer.json", shipped / "tokenizer.bin", [EXTREMES[name]]) == 0


def test_half_a_surrogate_pair_has_no_ids(shipped) -> None:
    """Both tokenizers raise where a word holds half of a surrogate pair."""
    with pytest.raises(UnicodeEncodeError):
        WordPiece(str(shipped / "tokenizer.bin")).encode("오늘 \ud83d")
    with pytest.raises(TypeError):
        Tokenizer.from_file(str(shipped / "tokenizer.json")).encode("오늘 \ud83d")


def _lose_a_token(content: bytearray, header: Header, number: int) -> None:
    """Empty the slot of one token."""
    slots = list(struct.unpack_from(f"<{header.slots}I", content, _header_size()))
    struct.pack_into("<I", content, _header_size() + 4 * slots.index(number + 1), 0)


def _confuse_a_token(content: bytearray, header: Header, number: int) -> None:
    """Let the slot of one token name the next one."""
    slots = list(struct.unpack_from(f"<{header.slots}I", content, _header_size()))
    struct.pack_into("<I", content, _header_size() + 4 * slots.index(number + 1), number + 2)


def _misjudge_a_character(content: bytearray, header: Header, _: int) -> None:
    """Let the full stop be a letter; it is in the first block."""
    pages = _header_size() + 4 * (header.slots + header.tokens + 2 + header.specials)
    content[pages + CODE_POINTS // BLOCK + ord(".")] = 0


def _header_size() -> int:
    return len(MAGIC) + 4 * len(Header._fields)


@pytest.mark.parametrize("plant", [_lose_a_token, _confuse_a_token, _misjudge_a_character])
def test_a_planted_fault_is_found(shipped, tmp_path, plant) -> None:
    """One altered slot or class gives differences on the diaries, so the comparison can fail."""
    content = bytearray((shipped / "tokenizer.bin").read_bytes())
    header = Header(*struct.unpack_from(f"<{len(Header._fields)}I", content, len(MAGIC)))
    plant(content, header, vocabulary(shipped / "tokenizer.json").index("오늘"))
    (tmp_path / "tokenizer.bin").write_bytes(content)
    assert differences(shipped / "tokenizer.json", tmp_path / "tokenizer.bin", diaries()) > 0


def _overlap(settings: dict[str, Any]) -> None:
    """Make two tokens special that overlap [SEP], one of them longer."""
    known = settings["model"]["vocab"]
    for content, old in (("[SEP]]", "♬"), ("P]", "♪")):
        known[content] = known.pop(old)
        settings["added_tokens"].append(settings["added_tokens"][0] | {"content": content, "id": known[content]})


KNOWN: dict[str, Callable[[dict[str, Any]], None]] = {
    "as it is": lambda settings: None,
    "controls kept": lambda settings: settings["normalizer"].update(clean_text=False),
    "CJK within words": lambda settings: settings["normalizer"].update(handle_chinese_chars=False),
    "an older post-processor": lambda settings: settings.update(
        post_processor={"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}
    ),
    "short words": lambda settings: settings["model"].update(max_input_chars_per_word=3),
    "no prefix": lambda settings: settings["model"].update(continuing_subword_prefix=""),
    "no special tokens in texts": lambda settings: settings.update(added_tokens=[]),
    "overlapping special tokens": _overlap,
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("most", [3, 20])
def test_known_settings_give_the_same_ids(small, tmp_path, name, most) -> None:
    """Settings that the reader knows give the same ids on 2,000 fuzzed texts, cut to `most` tokens."""
    path = _changed(small, tmp_path, KNOWN[name])
    assert build(path, tmp_path / "tokenizer.bin", most)
    given = [*fuzzed(2_000, 3, [*vocabulary(path), "[SEP]]", "P]"]), *diaries()]
    assert differences(path, tmp_path / "tokenizer.bin", given, most) == 0


def _template(settings: dict[str, Any]) -> list[dict[str, Any]]:
    return settings["post_processor"]["single"]


UNKNOWN: dict[str, Callable[[dict[str, Any]], object]] = {
    "lowercased": lambda settings: settings["normalizer"].update(lowercase=True),
    "accents stripped": lambda settings: settings["normalizer"].update(strip_accents=True),
    "no normalizer": lambda settings: settings.update(normalizer=None),
    "another normalizer": lambda settings: settings.update(normalizer={"type": "NFC"}),
    "another pre-tokenizer": lambda settings: settings.update(pre_tokenizer={"type": "Whitespace"}),
    "no post-processor": lambda settings: settings.update(post_processor=None),
    "nothing at the end": lambda settings: _template(settings).pop(),
    "another type": lambda settings: _template(settings)[1]["Sequence"].update(type_id=1),
    "padded": lambda settings: settings.update(
        padding={
            "strategy": {"Fixed": 9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
    ),
    "a hole in the ids": lambda settings: settings["model"]["vocab"].pop("♬"),
    "no unknown token": lambda settings: settings["model"].update(unk_token="[NONE]"),
    "a token outside the vocabulary": lambda settings: settings["added_tokens"].append(
        settings["added_tokens"][0] | {"content": "[NEW]", "id": 4000}
    ),
    **{
        f"a special token that is {key}": lambda settings, key=key: settings["added_tokens"][4].update({key: True})
        for key in ("single_word", "lstrip", "rstrip", "normalized")
    },
    "a token that is not special": lambda settings: settings["added_tokens"][4].update(special=False),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_other_settings_are_refused(small, tmp_path, name) -> None:
    """A WordPiece with a setting that the reader does not know is refused, and nothing is written."""
    path = _changed(small, tmp_path, UNKNOWN[name])
    assert build(path, tmp_path / "tokenizer.bin", MOST) is False
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]


def test_other_tokenizers_are_refused(small, tmp_path) -> None:
    """Byte-level BPE is refused, and so is room for fewer than one token."""
    path = tiny.make("roberta", tmp_path / "model") / "tokenizer.json"
    assert build(path, tmp_path / "tokenizer.bin", MOST) is False
    assert build(small, tmp_path / "tokenizer.bin", 2) is False
    assert not (tmp_path / "tokenizer.bin").exists()


def test_an_artifact_is_built_alike(small, tmp_path) -> None:
    """The same tokenizer gives the same bytes twice."""
    build(small, tmp_path / "one", MOST)
    build(small, tmp_path / "two", MOST)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def _changed(tokenizer_json: Path, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    settings = json.loads(tokenizer_json.read_text("utf-8"))
    change(settings)
    (folder / "tokenizer.json").write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
    return folder / "tokenizer.json"

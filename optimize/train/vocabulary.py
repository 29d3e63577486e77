"""Train a WordPiece vocabulary that splits as KcELECTRA v2022 does: cased, accents kept, Hangul whole."""

from collections import Counter
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import ElectraTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZE = 16_000
ALPHABET = 2_200
EMOJI = (
    "😀😁😂🤣😃😄😅😆😊😋😎😍😘🥰🙂🤗🤔😐😑😶🙄😏😣😥😮😯😪😫😴😌😛😜😒"
    "😓😔😕😲😖😞😟😤😢😭😦😧😨😩🤯😬😰😱🥵🥶😳😵😡😠🤬😷🤒🤕🤢🤮🥱🥲🥹"
    "🥳🥺🙏💪👍👏🙌🔥💔💕💖🧡💛💚💙💜🤍🖤✨🎉🎂🌸☀🌧☕🍀❤♥♡★☆…"
)


def train(texts: list[str], size: int = SIZE) -> list[str]:
    """Return at most `size` tokens, special ones first, learnt from the texts; common emoji are always among them."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(clean_text=True, strip_accents=False, lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = alphabet(texts)
    # The trainer numbers unknown letters in an order that changes from run to run, and ties follow the numbers.
    fixed = SPECIAL + letters + [f"##{letter}" for letter in letters]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        initial_alphabet=letters,
        limit_alphabet=len(letters),
        special_tokens=fixed,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]


def alphabet(texts: list[str]) -> list[str]:
    """Return the common emoji and the texts' most frequent other characters, in their code's order."""
    counts = Counter(chain.from_iterable(texts))
    letters = [letter for letter in counts if letter.isprintable() and not letter.isspace()]
    found = sorted(letters, key=lambda letter: (-counts[letter], letter))
    return sorted({*EMOJI, *found[:ALPHABET]})


def write(tokens: list[str], path: Path) -> None:
    """Write one token a line, its line number being its id."""
    path.write_text("".join(f"{token}\n" for token in tokens), "utf-8")


def tokenizer_of(path: Path, max_tokens: int = 512) -> ElectraTokenizerFast:
    """Return the tokenizer of a vocabulary file, splitting as KcELECTRA v2022 does."""
    return ElectraTokenizerFast(
        vocab_file=str(path),
        do_lower_case=False,
        strip_accents=False,
        tokenize_chinese_chars=True,
        model_max_length=max_tokens,
    )

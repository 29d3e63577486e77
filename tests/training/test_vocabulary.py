"""The vocabulary is repeatable and splits as KcELECTRA's does."""

import pytest

from optimize.train import vocabulary

LINES = ["오늘 정말 행복하다", "너무 화가 난다", "하루 종일 지친다 lol", "내일이 걱정된다😭"] * 5


def test_the_same_text_gives_the_same_vocabulary():
    """Training twice learns the same tokens in the same order, special ones first."""
    tokens = vocabulary.train(LINES, 400)
    assert tokens == vocabulary.train(LINES, 400)
    assert tokens[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert len(set(tokens)) == len(tokens)


def test_words_split_as_kcelectra_splits_them(tokenizer):
    """Hangul syllables stay whole, capitals stay capitals, and text is wrapped in [CLS] and [SEP]."""
    assert tokenizer.convert_ids_to_tokens(tokenizer("오늘 정말")["input_ids"]) == ["[CLS]", "오늘", "정말", "[SEP]"]
    assert tokenizer.tokenize("LOL") == ["[UNK]"]


@pytest.mark.parametrize("text", ["😊", "행복하다😊", "❤"])
def test_common_emoji_are_known_alone_and_after_a_word(tokenizer, text):
    """An emoji is a token of its own wherever it stands."""
    assert tokenizer.tokenize(text)[-1] in {text[-1], f"##{text[-1]}"}

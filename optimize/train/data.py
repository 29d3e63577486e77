"""The texts that the small model learns from, every file checked to its last line before any training starts."""

from functools import cache
from pathlib import Path

import numpy as np

from workbench.labels import label_map
from workbench.texts import Text, emotions_of, ids_of, rank, read_kote, rows, split_kote, text_of

RATINGS = range(1, 11)
PARTS = ("train.tsv", "dev.tsv", "test.tsv")
DIARY_LINES = Path(__file__).parent / "diary_lines.tsv"
EXPRESSIONS = Path(__file__).parent / "expressions.tsv"


def read_goemotions(path: Path) -> list[Text]:
    """Read `text<TAB>ids`; ids are of GoEmotions' 28 emotions."""
    return [Text(text_of(path, n, text), ids_of(path, n, ids, range(28))) for n, (text, ids) in rows(path, 2)]


def read_ratings(path: Path) -> list[Text]:
    """Read `rating<TAB>text`; a rating of 1-10 becomes the label 0-9."""
    return [
        Text(text_of(path, n, text), (ids_of(path, n, rating, RATINGS)[0] - 1,)) for n, (rating, text) in rows(path, 2)
    ]


def read_chatbot(path: Path) -> list[Text]:
    """Read the questions and answers of `Q,A,label` below its header as unlabelled lines."""
    _, *body = rows(path, 3, ",", quoted=True)
    return [Text(text_of(path, n, text)) for n, (question, answer, _) in body for text in (question, answer)]


def read_diaries(path: Path) -> list[Text]:
    """Read `emotions<TAB>text`: names of the eight emotions, the main one first, separated by commas."""
    return [Text(text_of(path, n, text), emotions_of(path, n, names.split(","))) for n, (names, text) in rows(path, 2)]


def split_tenth(texts: list[Text]) -> tuple[list[Text], list[Text]]:
    """Split into (training, held out): held out are the texts whose SHA-256, as a number, ends in 0 modulo 10."""
    tenth = {text: int(rank(text.text), 16) % 10 == 0 for text in texts}
    return [t for t in texts if not tenth[t]], [t for t in texts if tenth[t]]


def without(texts: list[Text], held_out: list[Text]) -> list[Text]:
    """Return the texts of which no held-out text is a copy, blanks aside."""
    barred = {"".join(text.text.split()) for text in held_out}
    return [text for text in texts if "".join(text.text.split()) not in barred]


# The nine questions on a rating are "above 1?" to "above 9?".
QUESTIONS = {"emotion": 8, "rating": 9, "kote": 44, "goemotions": 28}


@cache
def answers(kind: str, labels: tuple[int, ...]) -> np.ndarray:
    """Return one text's 89 targets, 0 or 1, or NaN where its source does not say, in the order of `QUESTIONS`."""
    out = {name: np.full(count, np.nan, np.float32) for name, count in QUESTIONS.items()}
    if kind == "rating":
        out["rating"] = (np.arange(1, 10) <= labels[0]).astype(np.float32)
    elif kind == "emotion":
        out["emotion"] = np.isin(np.arange(8), labels).astype(np.float32)
    elif kind in ("kote", "goemotions"):
        mapped = np.array(list(label_map(kind).values()))
        out[kind] = np.isin(np.arange(QUESTIONS[kind]), labels).astype(np.float32)
        out["emotion"] = np.isin(np.arange(8), mapped[list(labels)]).astype(np.float32)
    return np.concatenate(list(out.values()))


def everything(folder: Path, own: Path) -> tuple[dict, dict, dict]:
    """Read all text; return what to learn from (kind: texts), choose by and judge by (name: (kind, texts)); no copies."""
    kote, held_out = split_kote(read_kote(folder / "kote/val.tsv"))
    kote, kote_tenth = split_tenth(kote)
    diaries, diary_tenth = split_tenth(read_diaries(own))
    found = {
        "kote": kote,
        "rating": read_ratings(folder / "nsmc/nsmc.tsv.xz"),
        "goemotions": [t for part in PARTS for t in read_goemotions(folder / "goemotions_ko" / part)],
        "none": read_chatbot(folder / "chatbot/ChatbotData.csv"),
        "emotion": diaries + read_diaries(EXPRESSIONS),
    }
    barred = held_out + kote_tenth + diary_tenth
    choice = {"kote_tenth": ("kote", kote_tenth), "diary_tenth": ("emotion", diary_tenth)}
    lessons = {kind: without(texts, barred) for kind, texts in found.items()}
    return lessons, choice, {"kote_held_out_500": ("kote", held_out)}


def vocabulary_text(texts: dict[str, list[Text]]) -> list[str]:
    """Return the text that the vocabulary is learnt from: the open text, everyday lines (KOTE, chatbot) ten times."""
    once = [text.text for kind in ("kote", "rating", "goemotions", "none") for text in texts[kind]]
    return once + [text.text for kind in ("kote", "none") for text in texts[kind]] * 9

"""Labelled text is read strictly, split by fixed rules, and kept apart from what judges."""

import lzma
import os
from collections import Counter
from pathlib import Path

import pytest

from lambda_image.app.emotions import EMOTIONS as NAMES
from optimize.train import data
from tests.unit.conftest import FACTS
from workbench import labels, texts
from workbench.emotions import EMOTIONS
from workbench.errors import DataError, SourceError
from workbench.paths import ROOT
from workbench.records import ModelSource
from workbench.texts import Text

ENTRIES = texts.read_entries(ROOT / "bench" / "diaries.tsv")


def written(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("1\t좋다\t3\n2\t나쁘다\n", 2, "2 columns instead of 3"),
        ("1\t좋다\t44\n", 1, "label '44'"),
        ("1\t좋다\t\n", 1, "label ''"),
        ("1\t좋다\t-1\n", 1, "label '-1'"),
        ("1\t좋다\t3\n2\t \t3\n", 2, "empty text"),
        ("1\t좋다\t3\n".encode() + b"2\t\xb0\xa1\t3\n", 2, "not UTF-8"),
        ('1\t"좋다\t3\n2\t나쁘다\t3\n', 2, "broken quoting"),
    ],
)
def test_a_bad_kote_file_is_refused_with_its_name_and_line(tmp_path, content, line, what) -> None:
    """Wrong columns, labels out of range, empty text and another encoding name the file and the line."""
    path = written(tmp_path, "kote.tsv", content)
    with pytest.raises(DataError, match=rf"kote\.tsv, line {line}: {what}"):
        texts.read_kote(path)


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (data.read_ratings, "11\t좋다\n"),
        (data.read_ratings, "0\t좋다\n"),
        (data.read_goemotions, "좋다\t28\n"),
        (data.read_diaries, "기쁨\t좋다\n"),
        (data.read_diaries, "joy\t\n"),
        (data.read_chatbot, "Q,A,label\n안녕,반가워\n"),
        (texts.read_entries, "id\tmain\tfurther\ttext\nd1\tjoyful\t\t좋다\n"),
        (texts.read_entries, "id\tmain\tmore\ttext\nd1\tjoy\t\t좋다\n"),
    ],
)
def test_every_reader_refuses_what_its_format_does_not_allow(tmp_path, read, content) -> None:
    """Ratings, GoEmotions, diary and chatbot files have the same strictness."""
    with pytest.raises(DataError, match=r"bad\.tsv, line \d"):
        read(written(tmp_path, "bad.tsv", content))


def test_a_missing_or_empty_file_is_named(tmp_path) -> None:
    """A file that is not there, or has no rows, is refused."""
    with pytest.raises(DataError, match="no such file"):
        texts.read_kote(tmp_path / "val.tsv")
    with pytest.raises(DataError, match="no rows"):
        texts.read_kote(written(tmp_path, "kote.tsv", ""))


def test_a_damaged_archive_is_named(tmp_path) -> None:
    """A ratings file that is cut off is refused like any other bad file."""
    packed = lzma.compress("9\t좋다\n".encode() * 99)
    with pytest.raises(DataError, match=r"cut\.xz, line \d+: damaged"):
        data.read_ratings(written(tmp_path, "cut.xz", packed[:-30]))


def test_quoted_kote_text_keeps_its_quotes_and_tabs(tmp_path) -> None:
    """KOTE's csv quoting is undone."""
    path = written(tmp_path, "kote.tsv", '7\t"그 ""말"" 정말"\t0,3,3\n')
    assert texts.read_kote(path) == [Text('그 "말" 정말', (0, 3), "7")]


def test_kote_held_out_rows_do_not_depend_on_the_order_of_the_file() -> None:
    """The 500 are chosen by the hash of the id, so a shuffled file has the same ones."""
    rows = [Text(f"글 {n}", (0,), str(n)) for n in range(600)]
    train, held_out = texts.split_kote(rows)
    assert (len(held_out), len(train)) == (500, 100)
    assert {one.key for one in held_out} == {one.key for one in texts.split_kote(rows[::-1])[1]}


def test_no_copy_of_a_held_out_text_is_trained_on() -> None:
    """A copy that differs in blanks only is left out."""
    assert data.without([Text("오늘 좋다"), Text("싫다")], [Text("오늘  좋다")]) == [Text("싫다")]


def test_answers_are_unknown_where_the_source_does_not_say() -> None:
    """A rating answers nine questions and a KOTE row the eight emotions and the 44; everything else is NaN."""
    rating, kote = data.answers("rating", (9,)), data.answers("kote", (42,))
    assert (rating[8:17] == 1).all()
    assert int((rating == rating).sum()) == 9
    assert int((kote == kote).sum()) == 52


def test_the_evaluation_diaries_cover_the_eight_emotions() -> None:
    """There are at least 400, at least 40 of every emotion to judge by, and no calibration entry judges."""
    calibration, evaluation = texts.split_entries(ENTRIES)
    assert len(ENTRIES) >= 400
    assert min(sum(one.labels[0] == place for one in evaluation) for place in range(8)) >= 40
    assert len(calibration) >= 40
    assert not {one.text for one in calibration} & {one.text for one in evaluation}


def test_no_evaluation_diary_is_a_near_copy_of_training_text() -> None:
    """No text the model learnt from holds more than half of an entry's runs of four characters.

    The open text is compared too where WORKBENCH_DATA names its folder.
    """
    folder = os.environ.get("WORKBENCH_DATA")
    learnt = data.everything(Path(folder), data.DIARY_LINES)[0] if folder else {"own": _own_lines()}
    entries = [_grams(one.text) for one in ENTRIES]
    holders: dict[str, list[int]] = {}
    for number, grams in enumerate(entries):
        for gram in grams:
            holders.setdefault(gram, []).append(number)
    assert [text for texts_ in learnt.values() for text in texts_ if _has_near_copy(text.text, entries, holders)] == []


def _own_lines() -> list[Text]:
    return [text for path in (data.DIARY_LINES, data.EXPRESSIONS) for text in data.read_diaries(path)]


def _has_near_copy(text: str, entries: list[set[str]], holders: dict[str, list[int]]) -> bool:
    """Whether more than half of an entry's runs stand in the text."""
    shared = Counter(number for gram in _grams(text) for number in holders.get(gram, ()))
    return any(count > 0.5 * len(entries[number]) for number, count in shared.items())


def _grams(text: str) -> set[str]:
    packed = "".join(text.split())
    return {packed[start : start + 4] for start in range(max(1, len(packed) - 3))}


@pytest.mark.parametrize(("name", "count"), [("kote", 44), ("goemotions", 28), ("aihub", 6), ("nlp04", 11)])
def test_every_label_of_every_map_leads_to_one_of_the_eight(name, count) -> None:
    """The map of a known source is complete and in the source's order."""
    assert len(labels.label_map(name)) == count
    known = tuple(labels.label_maps()[name])
    assert set(labels.emotions_of(ModelSource(where="."), known)) <= set(EMOTIONS)


def test_labels_that_say_nothing_ask_for_a_map() -> None:
    """`LABEL_n` is refused until a map of as many labels is named; then it is taken by place."""
    unnamed = tuple(f"LABEL_{number}" for number in range(6))
    with pytest.raises(SourceError, match=r"set model.label_map to one of kote"):
        labels.emotions_of(ModelSource(where="."), unnamed)
    with pytest.raises(SourceError, match="has 11 labels, the checkpoint 6"):
        labels.emotions_of(ModelSource(where=".", label_map="nlp04"), unnamed)
    with pytest.raises(SourceError, match="there is no label map 'kotee'"):
        labels.emotions_of(ModelSource(where=".", label_map="kotee"), unnamed)
    assert len(labels.emotions_of(ModelSource(where=".", label_map="aihub"), unnamed)) == 6


def test_the_eight_emotions_are_their_own_labels() -> None:
    """A checkpoint of the eight needs no map, and the app's names are in the same order."""
    assert labels.emotions_of(FACTS.source, EMOTIONS) == EMOTIONS
    assert tuple(NAMES) == EMOTIONS

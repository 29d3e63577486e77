"""The shipped code refuses bad events by documented codes and damaged variants in one sentence."""

import json

import pytest

from lambda_image.app import manifest as manifests
from lambda_image.app.manifest import InitError
from lambda_image.app.problems import MAX_CHARACTERS, PROBLEMS, find_problem, problem
from workbench.store import file_sha256

BAD_EVENTS = [
    (None, "event_not_an_object"),
    ([1], "event_not_an_object"),
    ({}, "text_missing"),
    ({"text": None}, "text_not_a_string"),
    ({"text": 1}, "text_not_a_string"),
    ({"text": ["오늘"]}, "text_not_a_string"),
    ({"text": ""}, "text_empty"),
    ({"text": " \n\t　"}, "text_empty"),
    ({"text": "가" * (MAX_CHARACTERS + 1)}, "text_too_long"),
    ({"text": "오늘 \ud83d"}, "text_undecodable"),
]


@pytest.mark.parametrize(("event", "code"), BAD_EVENTS)
def test_a_bad_event_has_a_documented_code(event, code) -> None:
    """Every bad event is told by its code, with a client error's status and no text of the event."""
    assert find_problem(event) == code
    answer = problem(code)
    assert answer["code"] == code
    assert 400 <= answer["status"] < 500
    assert "오늘" not in json.dumps(answer, ensure_ascii=False)


@pytest.mark.parametrize("text", ["오늘", "a" * MAX_CHARACTERS, "😀", "\0", "​"])
def test_a_good_event_has_no_problem(text) -> None:
    """Any other text passes, at the greatest length and with unusual characters too."""
    assert find_problem({"text": text}) is None


def test_every_problem_code_can_be_reached() -> None:
    """No code is documented that no event leads to, but for the internal one."""
    assert {code for _, code in BAD_EVENTS} | {"internal"} == set(PROBLEMS)


@pytest.fixture
def folder(tmp_path):
    """A variant folder with two files and their manifest."""
    (tmp_path / "model.onnx").write_bytes(b"model" * 1000)
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    files = {path.name: file_sha256(path) for path in tmp_path.iterdir()}
    (tmp_path / "variant.json").write_text(json.dumps({"files": files}))
    return tmp_path


def verify(folder) -> None:
    for future in manifests.verify_in_background(str(folder), manifests.read(str(folder))).values():
        future.result()


def test_an_intact_variant_passes(folder) -> None:
    """Files that are what the manifest says pass the check."""
    verify(folder)


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("model.onnx", lambda content: content[:-1], "model.onnx is damaged: its sha256 is"),
        ("model.onnx", lambda content: b"M" + content[1:], "model.onnx is damaged: its sha256 is"),
        ("model.onnx", lambda content: b"", "model.onnx is missing or empty"),
        ("model.onnx", None, "model.onnx is missing or empty"),
        ("tokenizer.json", None, "tokenizer.json is missing or empty"),
        ("variant.json", None, "variant.json cannot be read"),
        ("variant.json", lambda content: content[:-1], "variant.json is not JSON"),
    ],
)
def test_a_damaged_variant_is_refused_in_one_sentence(folder, name, damage, sentence) -> None:
    """A corrupt, truncated, empty or missing file is an `InitError` of one line that names it."""
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(content))
    with pytest.raises(InitError) as caught:
        verify(folder)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)

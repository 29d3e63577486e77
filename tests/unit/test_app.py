"""The shipped code refuses bad events by documented codes and damaged variants in one sentence."""

import json
from decimal import Decimal

import pytest

from lambda_image.app import manifest as manifests
from lambda_image.app.classifier import ACTIVATIONS
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
    runtime = {"engine": "onnxruntime", "tokenizer": "tokenizers"}
    manifest = {"files": files, "recipe": {"runtime": runtime}, "self_checked": [], "cpu_flags": []}
    (tmp_path / "variant.json").write_text(json.dumps(manifest))
    return tmp_path


def change(folder, **fields) -> None:
    """Replace fields of the manifest; those set to None are removed."""
    path = folder / "variant.json"
    changed = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({name: value for name, value in changed.items() if value is not None}))


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


def test_a_file_that_the_engine_checks_itself_is_left_to_it(folder) -> None:
    """Damage to a self-checked file passes here; the same damage without that mark does not."""
    (folder / "model.onnx").write_bytes(b"other")
    change(folder, self_checked=["model.onnx"])
    verify(folder)
    change(folder, self_checked=[])
    with pytest.raises(InitError, match=r"model\.onnx is damaged"):
        verify(folder)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cpu_flags": ["avx1024"]}, "laid out for a CPU with avx1024"),
        ({"cpu_flags": None}, "lacks or misnames 'cpu_flags'"),
        ({"files": None}, "lacks or misnames 'files'"),
        ({"recipe": {}}, "lacks or misnames 'runtime'"),
        ({"recipe": {"runtime": {"engine": "steam", "tokenizer": "mapped"}}}, "lacks or misnames 'steam'"),
        ({"recipe": {"runtime": {"engine": "native", "tokenizer": "mapped"}}}, "does not list encoder.bin"),
        ({"recipe": {"runtime": {"engine": "onnxruntime-c", "tokenizer": "mapped"}}}, "does not list tokenizer.bin"),
    ],
)
def test_a_manifest_for_something_else_is_refused_in_one_sentence(folder, fields, sentence) -> None:
    """Another CPU, a missing key, an unknown engine, a file that the engine needs and nobody lists: one line each."""
    change(folder, **fields)
    with pytest.raises(InitError) as caught:
        manifests.read(str(folder))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("logits", [[0.0], [3.5, -2.0, 0.1], [800.0, -800.0, 0.0], [-1e4, -1e4]])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_scores_are_those_of_their_definition(activation, logits) -> None:
    """Softmax and sigmoid agree with exact arithmetic and stay within 0 to 1 for logits of any size."""
    powers = [Decimal(logit - max(logits)).exp() for logit in logits]
    expected = {
        "softmax": [power / sum(powers) for power in powers],
        "sigmoid": [1 / (1 + Decimal(-logit).exp()) for logit in logits],
    }
    scores = ACTIVATIONS[activation][0](logits)
    assert scores == pytest.approx(list(map(float, expected[activation])), abs=1e-12)
    assert all(0 <= score <= 1 for score in scores)

"""The native engine answers as its arithmetic says on every CPU level, and refuses what is damaged or not its own."""

import ctypes
import dataclasses
import platform
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import BertConfig, ElectraConfig

from lambda_image.app import native as engine
from lambda_image.app.manifest import InitError
from optimize import native
from optimize.sources import load_checkpoint, load_model
from tests.pipeline import tiny
from workbench.errors import VariantError
from workbench.records import ModelFacts, ModelSource

LEVELS = tuple(native.LEVELS[platform.machine()])
LENGTHS = (*range(1, 41), 63, 64, 65, 97, 127, 128)
HEADER = struct.Struct("<8sQQQ8IfI")
FIELDS = (
    *("magic", "checksum", "checked_bytes", "file_bytes", "layers", "hidden", "heads", "intermediate"),
    *("positions", "vocabulary", "labels", "pooling", "epsilon", "reserved"),
)
SUMMED_FROM, PAGE = 16, 4096
FACTOR, WIDE_FACTOR = 0x9E3779B1, 0x9E3779B97F4A7C15
LEAK_KB = 1024

Run = Callable[[list[int]], list[float]]


@dataclasses.dataclass(frozen=True)
class Built:
    """A tiny model and the folder of its native files."""

    facts: ModelFacts
    checkpoint: Path
    folder: Path


@pytest.fixture(scope="module", params=["electra", "bert", "roberta"])
def built(request, tmp_path_factory) -> Built:
    """A tiny model of each family, packed and compiled for every level of this architecture."""
    return make(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def electra(tmp_path_factory) -> Built:
    """One tiny model, for what does not depend on the family."""
    return make("electra", tmp_path_factory.mktemp("one"))


@pytest.fixture
def copy(electra, tmp_path) -> Path:
    """A folder with the files of `electra`, to be damaged."""
    return Path(shutil.copytree(electra.folder, tmp_path / "copy"))


def make(family: str, folder: Path) -> Built:
    facts = load_checkpoint(ModelSource(where=str(tiny.make(family, folder / "model"))), folder / "checkpoint")
    (folder / "native").mkdir()
    assert native.build(folder / "checkpoint", facts, folder / "native") == ("encoder.bin",)
    return Built(facts, folder / "checkpoint", folder / "native")


def load(folder: Path, levels: tuple[str, ...] = LEVELS) -> Run:
    """The shipped engine over the files in `folder`, with the libraries of these levels alone."""
    return engine.load(str(folder), {"files": dict.fromkeys(map("encoder-{}.so".format, levels), "")}, 1)


def library(folder: Path, level: str = "generic") -> ctypes.CDLL:
    found = ctypes.CDLL(str(folder / f"encoder-{level}.so"))
    found.encoder_checksum.restype = found.encoder_file_checksum.restype = ctypes.c_uint64
    return found


def ids_of(count: int, vocabulary: int) -> list[int]:
    """The same random ids for the same length, the first and the last row of the table among them."""
    ids = random.Random(count).choices(range(vocabulary), k=count)
    return [vocabulary - 1, *ids[1:-1], 0][:count]


def answers(run: Run, built: Built, lengths: tuple[int, ...] = LENGTHS) -> np.ndarray:
    """Logits (lengths x labels)."""
    return np.array([run(ids_of(count, built.facts.vocabulary_size)) for count in lengths])


def off(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The largest difference of each text's logits, as a share of the spread of the label that moves least."""
    return np.abs(found - expected).max(1) / np.ptp(expected, axis=0).min()


def agree(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether logits are equal but for fp32's rounding, which takes a rare text to the next of the 255 steps."""
    differences = off(found, expected)
    return bool(np.mean(differences < 1e-5) >= 0.8 and differences.max() < 0.1)


# ---- the reference: the same arithmetic in numpy ----


def rows_of_8_bits(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scales = np.abs(matrix).max(1, keepdims=True) / np.float32(127)
    return np.rint(matrix / np.where(scales > 0, scales, 1)).astype(np.int64), scales


def linear(x: np.ndarray, weights: dict[str, np.ndarray], name: str) -> np.ndarray:
    """Rows times a matrix, both as 8-bit rows."""
    (inputs, input_scales), (rows, scales) = rows_of_8_bits(x), rows_of_8_bits(weights[f"{name}.weight"])
    return (inputs @ rows.T).astype(np.float32) * (scales.T * input_scales) + weights[f"{name}.bias"]


def norm(x: np.ndarray, weights: dict[str, np.ndarray], name: str, epsilon: float) -> np.ndarray:
    centred = x - x.mean(1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(1, keepdims=True) + np.float32(epsilon))
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: np.ndarray) -> np.ndarray:
    return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray, heads: int) -> np.ndarray:
    query, key, value = (x.reshape(len(x), heads, -1).transpose(1, 0, 2) for x in (query, key, value))
    scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[2]))
    shares = np.exp(scores - scores.max(2, keepdims=True))
    return (shares / shares.sum(2, keepdims=True) @ value).transpose(1, 0, 2).reshape(query.shape[1], -1)


def reference(built: Built, ids: list[int]) -> np.ndarray:
    """The logits of one text, every row of every layer computed."""
    model, family = load_model(built.checkpoint), built.facts.family
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    table, epsilon, start = f"{family}.embeddings", model.config.layer_norm_eps, 2 if family == "roberta" else 0
    values, scales = rows_of_8_bits(weights[f"{table}.word_embeddings.weight"])
    x = values[ids].astype(np.float32) * scales[ids] + weights[f"{table}.token_type_embeddings.weight"][0]
    x = x + weights[f"{table}.position_embeddings.weight"][start : start + len(ids)]
    x = norm(x, weights, f"{table}.LayerNorm", epsilon)
    for index in range(built.facts.layers):
        layer = f"{family}.encoder.layer.{index}"
        parts = [linear(x, weights, f"{layer}.attention.self.{name}") for name in ("query", "key", "value")]
        heads = attention(*parts, model.config.num_attention_heads)
        x = x + linear(heads, weights, f"{layer}.attention.output.dense")
        x = norm(x, weights, f"{layer}.attention.output.LayerNorm", epsilon)
        x = x + linear(gelu(linear(x, weights, f"{layer}.intermediate.dense")), weights, f"{layer}.output.dense")
        x = norm(x, weights, f"{layer}.output.LayerNorm", epsilon)
    pooler, classifier = native.HEADS[family]
    pooled = (gelu if family == "electra" else np.tanh)(linear(x[:1], weights, pooler))
    return (pooled @ weights[f"{classifier}.weight"].T + weights[f"{classifier}.bias"])[0]


# ---- answers ----


def runs_here(built: Built, level: str) -> Run:
    """The engine of one level; skips, by name, a level that this CPU lacks."""
    if not library(built.folder, level).encoder_supported():
        pytest.skip(f"this CPU does not run the level {level}")
    return load(built.folder, (level,))


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_answers_as_the_arithmetic_says(built, level) -> None:
    """Logits are numpy's by the same 8-bit rows, from one token to as many as the model takes."""
    run = runs_here(built, level)
    lengths = (1, 2, 7, 16, 17, 31, 40, 64, 127, 128)
    expected = np.array([reference(built, ids_of(count, built.facts.vocabulary_size)) for count in lengths])
    assert agree(answers(run, built, lengths), expected)


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_answers_the_same(built, level) -> None:
    """At every length the logits are those of the plainest level, to the last bit."""
    run = runs_here(built, level)
    np.testing.assert_array_equal(answers(run, built), answers(load(built.folder, ("generic",)), built))


def test_the_answers_are_near_torch(built) -> None:
    """8-bit rows move no logit by half of its label's spread, and half of the texts by less than a tenth."""
    model = load_model(built.checkpoint)
    ids = [torch.tensor([ids_of(count, built.facts.vocabulary_size)]) for count in LENGTHS]
    with torch.inference_mode():
        expected = np.array([model(row, torch.ones_like(row)).logits[0].numpy() for row in ids])
    differences = off(answers(load(built.folder), built), expected)
    assert differences.max() < 0.5
    assert np.median(differences) < 0.1


def test_one_other_weight_is_another_answer(electra, copy) -> None:
    """The comparison of these tests sees a single 8-bit weight changed by half of its range."""
    content = bytearray((copy / native.WEIGHTS).read_bytes())
    content[128 + electra.facts.max_tokens * 64 * 4 + 2 * 64 * 4] ^= 0x80
    write(copy, summed(content))
    assert not agree(answers(load(copy), electra), answers(load(electra.folder), electra))


@pytest.mark.parametrize("positions", [1, 37, 100])
def test_any_number_of_positions_works(electra, tmp_path, positions) -> None:
    """A model that takes few tokens, no multiple of a block, answers like the one that takes more."""
    native.build(electra.checkpoint, dataclasses.replace(electra.facts, max_tokens=positions), tmp_path)
    lengths = tuple(range(1, positions + 1))
    for level in filter(lambda level: library(electra.folder, level).encoder_supported(), LEVELS):
        found, expected = (answers(load(folder, (level,)), electra, lengths) for folder in (tmp_path, electra.folder))
        np.testing.assert_array_equal(found, expected)


def test_ids_that_are_not_there_are_refused(electra) -> None:
    """No id, one id too many, a negative id and one behind the table raise; the next text is answered as before."""
    run, vocabulary = load(electra.folder), electra.facts.vocabulary_size
    expected = run([2, 7, 3])
    for ids in ([], [2] * (electra.facts.max_tokens + 1), [2, -1, 3], [2, vocabulary, 3], [2, 2**31 - 1, 3]):
        with pytest.raises(RuntimeError, match="has no row for a token, or the text has too many tokens"):
            run(ids)
        assert run([2, 7, 3]) == expected


# ---- damage ----


def write(folder: Path, content: bytes) -> None:
    """Put a file in place of the weights, which may be mapped: the old one stays as it is for whoever reads it."""
    (folder / "new").write_bytes(content)
    (folder / "new").rename(folder / native.WEIGHTS)


def summed(content: bytearray) -> bytes:
    """The file with the sum that its checked part now has."""
    checked_bytes = HEADER.unpack_from(content)[2]
    struct.pack_into("<Q", content, 8, file_checksum(bytes(content[SUMMED_FROM:checked_bytes])))
    return bytes(content)


def checksum(data: bytes) -> int:
    """`encoder_checksum` in plain Python: 64 lanes of 32 bits over the data, zeros behind it, folded into 64 bits."""
    lanes, padded = list(range(1, 65)), data + bytes(256 - len(data) % 256)
    for at in range(0, len(padded), 256):
        for lane, word in enumerate(struct.unpack_from("<64I", padded, at)):
            mixed = (lanes[lane] ^ word) * FACTOR % 2**32
            lanes[lane] = (mixed << 15 | mixed >> 17) % 2**32
    return folded(len(data), lanes)


def file_checksum(data: bytes) -> int:
    """`encoder_file_checksum`: the first half, in whole pages, and the rest."""
    half = len(data) // 2 // PAGE * PAGE
    return folded(0, [checksum(data[:half]), checksum(data[half:])])


def folded(total: int, values: list[int]) -> int:
    for value in values:
        total = (total ^ value) * WIDE_FACTOR % 2**64
    return total


@pytest.mark.parametrize("level", LEVELS)
def test_the_checksum_is_as_written_down(electra, level) -> None:
    """Every level's two sums are those of plain Python, for every size around a line, a page and several of them."""
    encoder, numbers = library(electra.folder, level), random.Random(11)
    runs_here(electra, level)
    for size in (*range(0, 12), 72, 255, 256, 257, 511, 512, 772, 4095, 4096, 8191, 8192, 8193, 20_001):
        data = numbers.randbytes(size)
        assert encoder.encoder_checksum(data, ctypes.c_size_t(size)) == checksum(data)
        assert encoder.encoder_file_checksum(data, ctypes.c_size_t(size)) == file_checksum(data)


def refusal(folder: Path, levels: tuple[str, ...] = LEVELS) -> str:
    """The one sentence with which the engine refuses to start."""
    with pytest.raises(InitError) as refused:
        load(folder, levels)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_changed_byte_is_refused_at_init(electra, copy) -> None:
    """One flipped bit at any of 200 places of the checked part is damage; put back, the file is taken."""
    numbers, content = random.Random(5), (copy / native.WEIGHTS).read_bytes()
    checked_bytes = native.part_bytes(copy)["encoder"]
    for place in (*range(0, 80, 8), *numbers.sample(range(checked_bytes), 190)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << numbers.randrange(8)
        write(copy, damaged)
        assert refusal(copy).endswith(("is damaged: its checksum or size is not what was written.", "of this version."))
    write(copy, content)
    assert load(copy)([2, 7, 3]) == load(electra.folder)([2, 7, 3])


def test_damage_in_several_places_is_refused(copy) -> None:
    """The same bit flipped in two words that are summed in one lane, a page of zeros and two pages swapped are damage."""
    content = (copy / native.WEIGHTS).read_bytes()
    pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
    twice = bytearray(content)
    for place in (SUMMED_FROM + 40 * 256 + 3, SUMMED_FROM + 41 * 256 + 3):
        twice[place] ^= 0x80
    for damaged in (
        twice,
        b"".join([*pages[:3], bytes(PAGE), *pages[4:]]),
        b"".join([*pages[:3], pages[4], pages[3], *pages[5:]]),
    ):
        write(copy, damaged)
        assert "is damaged" in refusal(copy)


def test_a_file_of_another_kind_is_refused(copy) -> None:
    """A missing, empty, cut or grown file, a folder, another file and a header of impossible numbers: each a sentence."""
    content = (copy / native.WEIGHTS).read_bytes()
    foreign = native.MAGIC + struct.pack("<QQQ", 0, 2**63, PAGE) + b"\xff" * (PAGE - 32)
    cases = {
        "is missing or empty.": (b"",),
        "is no encoder of this version.": (content[:60], b"ONNX" * 999, content[:7] + b"\2" + content[8:]),
        "is not what was written.": (
            content[:-1],
            content[: len(content) // 2],
            content + b"\0",
            content[:80],
            foreign,
        ),
    }
    for sentence, files in cases.items():
        for content in files:
            write(copy, content)
            assert refusal(copy).endswith(sentence)
    (copy / native.WEIGHTS).unlink()
    assert refusal(copy).endswith("is missing or empty.")
    (copy / native.WEIGHTS).mkdir()
    assert refusal(copy).endswith("is missing or empty.")


@pytest.mark.parametrize("field", ["layers", "hidden", "intermediate", "positions", "vocabulary", "labels"])
def test_a_header_that_its_file_does_not_fill_is_refused(copy, field) -> None:
    """A right sum over a wrong number of layers, widths, positions, tokens or labels is damage, nothing read."""
    content = bytearray((copy / native.WEIGHTS).read_bytes())
    values = list(HEADER.unpack_from(content))
    values[FIELDS.index(field)] += 64
    HEADER.pack_into(content, 0, *values)
    write(copy, summed(content))
    assert "is damaged" in refusal(copy)


def test_a_damaged_row_is_refused_when_its_token_comes(electra, copy) -> None:
    """A flipped bit in a token's embedding row stops the texts that have the token, and no other."""
    content, parts = bytearray((copy / native.WEIGHTS).read_bytes()), native.part_bytes(copy)
    width = parts["embeddings"] // electra.facts.vocabulary_size
    for token, place in ((7, 0), (8, 5), (9, width - 1)):
        content[parts["encoder"] + token * width + place] ^= 0x10
    write(copy, content)
    run = load(copy)
    for token in (7, 8, 9):
        with pytest.raises(RuntimeError, match="is damaged: the row of a token"):
            run([2, token, 3])
    assert run([2, 6, 10, 3]) == load(electra.folder)([2, 6, 10, 3])


def test_a_library_that_cannot_be_loaded_is_refused(copy) -> None:
    """A missing library, one of other bytes and none at all for this CPU are each a sentence."""
    assert "lists no encoder that this CPU can run" in refusal(copy, ())
    for damage in (lambda path: path.write_bytes(b"no library"), lambda path: path.unlink()):
        damage(copy / f"encoder-{LEVELS[0]}.so")
        assert refusal(copy).startswith(f"The encoder encoder-{LEVELS[0]}.so cannot be loaded on this machine")


# ---- memory ----


def growth_kb(call: Callable[[], object], times: int) -> int:
    """By how much this process grows while something is called so many times, after a tenth as many."""
    before = 0
    for number in range(times + times // 10):
        if number == times // 10:
            before = resident_kb()
        call()
    return resident_kb() - before


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE // 1024


def test_calls_leave_memory_as_it_is(electra, copy) -> None:
    """5,000 answers, 500 refused texts and 200 refused files leak nothing; a leak of 4 KB a call is seen."""
    run, kept = load(electra.folder), []
    ids = ids_of(24, electra.facts.vocabulary_size)
    write(copy, (copy / native.WEIGHTS).read_bytes()[:-1] + b"?" * 2)

    def refused() -> None:
        with pytest.raises(RuntimeError):
            run([-1])

    assert growth_kb(lambda: run(ids), 5000) < LEAK_KB
    assert growth_kb(refused, 500) < LEAK_KB
    assert growth_kb(lambda: refusal(copy), 200) < LEAK_KB
    assert growth_kb(lambda: kept.append(bytearray(4096)) or run(ids), 5000) > LEAK_KB


# ---- packing ----


def test_packing_twice_gives_the_same_bytes(electra, tmp_path) -> None:
    """The weights and every library are a function of the checkpoint and the source."""
    native.build(electra.checkpoint, electra.facts, tmp_path)
    names = sorted(path.name for path in electra.folder.iterdir())
    assert names == sorted(["encoder.bin", *(f"encoder-{level}.so" for level in LEVELS)])
    for name in names:
        assert (tmp_path / name).read_bytes() == (electra.folder / name).read_bytes()


def test_a_weight_is_off_by_half_a_step_at_most() -> None:
    """8-bit rows times their scales are the matrix to half a scale; a row of zeros stays one."""
    matrix = np.random.default_rng(3).normal(size=(9, 64)).astype(np.float32)
    matrix[4] = 0
    values, scales = native._rows_of_8_bits(matrix)
    assert values.dtype == np.int8
    assert (np.abs(values * scales[:, None] - matrix).max(1) <= scales * 0.5001).all()


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        (BertConfig(hidden_size=96, num_attention_heads=2), "a hidden size of no multiple of 64"),
        (BertConfig(intermediate_size=3000), "an intermediate size of no multiple of 64"),
        (BertConfig(hidden_size=128, num_attention_heads=16), "heads of no multiple of 16"),
        (ElectraConfig(hidden_size=256, embedding_size=128), "embeddings narrower than its layers"),
        (BertConfig(hidden_act="gelu_new"), "an activation other than gelu"),
        (BertConfig(position_embedding_type="relative_key"), "relative positions"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_model_of_another_shape_is_refused(electra, tmp_path, monkeypatch, config, fault) -> None:
    """What the encoder cannot compute is refused by name before anything is written."""
    monkeypatch.setattr(native, "load_model", lambda _: SimpleNamespace(config=config))
    with pytest.raises(VariantError, match=fault):
        native.build(electra.checkpoint, electra.facts, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_machine_without_a_compiler_is_told_so(electra, tmp_path, monkeypatch) -> None:
    """Without `cc`, or with one that refuses, the build stops and says what to install."""
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-fno-such-flag"))
    with pytest.raises(VariantError, match=r"`cc` cannot compile encoder\.c"):
        native.compile_levels(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(VariantError, match="there is no C compiler"):
        native.compile_levels(tmp_path)


def test_the_source_compiles_without_a_warning(tmp_path, monkeypatch) -> None:
    """Every level passes -Wall and -Wextra as errors."""
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, "-Wall", "-Wextra", "-Werror"))
    assert [path.stat().st_size > 0 for path in native.compile_levels(tmp_path)] == [True] * len(LEVELS)


def test_the_build_does_not_take_a_wrong_answer(electra) -> None:
    """`answer`, which parity is measured with, gives the engine's logits and raises where the encoder refuses."""
    answer = native.answer(electra.folder)
    assert answer([2, 7, 3]) == load(electra.folder)([2, 7, 3])
    with pytest.raises(VariantError, match="fails with code 5"):
        answer([-1])

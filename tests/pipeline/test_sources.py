"""One loader takes every source it should and refuses the rest with what to do."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from optimize.builtin import PACKED, VOCABULARY_SIZE, make
from optimize.sources import inspect, load_checkpoint, load_model, load_tokenizer
from optimize.train import pack
from tests.pipeline import tiny
from workbench.emotions import EMOTIONS
from workbench.errors import SourceError
from workbench.records import ModelSource


def load(folder, tmp_path, **settings):
    return load_checkpoint(ModelSource(where=str(folder), **settings), tmp_path / "loaded")


@pytest.mark.parametrize("family", tiny.MODELS)
@pytest.mark.parametrize("multi_label", [False, True])
def test_a_folder_is_loaded_as_what_it_is(tmp_path, family, multi_label) -> None:
    """Family, labels, activation and the usable length come from the checkpoint, for every family and kind of head."""
    facts = load(tiny.make(family, tmp_path / "model", multi_label=multi_label), tmp_path)
    assert (facts.family, facts.labels, facts.trained) == (family, tiny.LABELS, True)
    assert facts.activation == ("sigmoid" if multi_label else "softmax")
    assert facts.max_tokens == 128


def test_a_changed_source_is_loaded_again(tmp_path) -> None:
    """The same folder is brought over once; when its weights change, so does what is loaded."""
    folder = tiny.make("electra", tmp_path / "model")
    first = load(folder, tmp_path)
    loaded = (tmp_path / "loaded" / "model.safetensors").stat().st_mtime_ns
    assert load(folder, tmp_path) == first
    assert (tmp_path / "loaded" / "model.safetensors").stat().st_mtime_ns == loaded
    weights = load_file(folder / "model.safetensors")
    weights["classifier.out_proj.bias"] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert load(folder, tmp_path).sha256 != first.sha256


def test_the_plan_may_name_labels_and_activation(tmp_path) -> None:
    """What the plan says of labels and activation replaces the checkpoint's own words."""
    facts = load(tiny.make("bert", tmp_path / "model"), tmp_path, labels=("calm", "anger", "joy"), activation="sigmoid")
    assert (facts.labels, facts.activation) == (("calm", "anger", "joy"), "sigmoid")


def change_config(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def drop_head(folder) -> None:
    weights = {
        name: tensor for name, tensor in load_file(folder / "model.safetensors").items() if "classifier" not in name
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickle_weights(folder) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def truncate(folder) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def drop_tokenizer(folder) -> None:
    for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("damage", "happened", "remedy"),
    [
        (drop_head, "has no trained classification head", "speed_only = true"),
        (pickle_weights, "only pickled weights", "convert them to safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), "has no weights", "safetensors"),
        (lambda folder: change_config(folder, auto_map={"AutoModel": "code.Model"}), "remote code", "a family"),
        (lambda folder: change_config(folder, model_type="gpt2"), "of the family 'gpt2'", "electra, bert, roberta"),
        (lambda folder: (folder / "config.json").unlink(), "is no checkpoint folder", "model.where"),
        (truncate, "is damaged", "fetch the checkpoint again"),
        (drop_tokenizer, "has no tokenizer", "tokenizer.json or vocab.txt"),
    ],
)
def test_an_unsafe_or_incomplete_checkpoint_is_refused(tmp_path, damage, happened, remedy) -> None:
    """Each fault is a `SourceError` that names it and the way out."""
    folder = tiny.make("electra", tmp_path / "model")
    damage(folder)
    with pytest.raises(SourceError) as caught:
        load(folder, tmp_path)
    assert happened in caught.value.happened
    assert remedy in caught.value.remedy


def test_a_headless_checkpoint_may_be_timed(tmp_path) -> None:
    """With `speed_only` a base checkpoint loads, whatever its labels, and is marked as untrained."""
    folder = tiny.make("electra", tmp_path / "model")
    drop_head(folder)
    change_config(folder, id2label={"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"})
    facts = load(folder, tmp_path, speed_only=True)
    assert not facts.trained
    assert set(facts.emotions) == {"neutral"}


def test_too_few_labels_are_refused(tmp_path) -> None:
    """A list of labels must name every output."""
    with pytest.raises(SourceError, match="2 names for 3 outputs"):
        load(tiny.make("bert", tmp_path / "model"), tmp_path, labels=("가", "나"))


def test_a_hub_that_does_not_answer_is_said(tmp_path, monkeypatch) -> None:
    """A download that fails ends in one error with the id and what to check, and leaves nothing half-made."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    source = ModelSource(where="beomi/KcELECTRA-base", revision="0" * 40)
    with pytest.raises(SourceError, match="could not be downloaded"):
        load_checkpoint(source, tmp_path / "loaded")
    assert not (tmp_path / "loaded").exists()


def test_an_unpinned_hub_id_is_refused(tmp_path) -> None:
    """A hub id without a revision is refused before anything is fetched."""
    with pytest.raises(SourceError, match="is not pinned"):
        load_checkpoint(ModelSource(where="beomi/KcELECTRA-base"), tmp_path / "loaded")


def test_the_builtin_model_has_the_real_shape(tmp_path) -> None:
    """The built-in checkpoint is KcELECTRA-base v2022's shape with a vocabulary that reads Korean, twice the same."""
    make(tmp_path / "one")
    make(tmp_path / "two")
    facts, again = (inspect(ModelSource(where="builtin"), tmp_path / name) for name in ("one", "two"))
    assert (facts.vocabulary_size, facts.max_tokens, facts.emotions) == (VOCABULARY_SIZE, 512, EMOTIONS)
    assert facts.trained
    assert facts.parameters > 127_000_000
    assert facts.sha256 == again.sha256
    tokenizer = load_tokenizer(tmp_path / "one")
    assert len(tokenizer) == VOCABULARY_SIZE
    ids = [token for text in tiny.TEXTS for token in tokenizer(text)["input_ids"]]
    assert ids.count(tokenizer.unk_token_id) < 0.01 * len(ids)


def test_growing_changes_no_answer(tmp_path) -> None:
    """On diary texts the grown 12 x 768 model's logits are the shipped small model's within 1e-4."""
    make(tmp_path)
    tokenizer, grown, small = load_tokenizer(tmp_path), load_model(tmp_path), pack.load(PACKED)
    for text in tiny.TEXTS:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            torch.testing.assert_close(grown(**inputs).logits, small(**inputs).logits, atol=1e-4, rtol=0)


PLAIN = {
    "오늘 승진해서 정말 행복하다": "joy",
    "친구와 크게 싸워서 너무 화가 난다": "anger",
    "내일 면접이라 떨리고 걱정된다": "anxiety",
    "하루 종일 일해서 지친다": "weariness",
}


def test_plain_feelings_come_out_right(tmp_path) -> None:
    """Four sentences that name a feeling get that feeling from the shipped weights."""
    make(tmp_path)
    tokenizer, small = load_tokenizer(tmp_path), pack.load(PACKED)
    for text, emotion in PLAIN.items():
        with torch.inference_mode():
            logits = small(**tokenizer(text, return_tensors="pt")).logits[0]
        assert small.config.id2label[int(logits.argmax())] == emotion


def test_the_shipped_weights_are_small() -> None:
    """The packed weights are at most 16 MB."""
    assert (PACKED / "model.safetensors").stat().st_size <= 16_000_000

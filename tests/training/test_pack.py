"""Packing loses almost nothing, and growing changes no answer."""

import torch

from optimize.train import model, pack


def logits(net, ids):
    with torch.no_grad():
        return net.eval()(ids, attention_mask=torch.ones_like(ids)).logits


def bare(net):
    del net.guess, net.aside
    return net


def test_the_grown_model_gives_the_same_logits(small):
    """Three times as wide and with padded rows, every logit is within 1e-4."""
    ids = torch.randint(5, 400, (8, 40))
    grown = pack.grow(bare(small), rows=1000)
    assert grown.config.hidden_size == 768
    assert grown.config.num_attention_heads == 12
    assert grown.electra.embeddings.word_embeddings.weight.shape == (1000, 768)
    torch.testing.assert_close(logits(grown, ids), logits(small, ids), atol=1e-4, rtol=0)


def test_the_deepened_model_gives_the_same_logits(small):
    """Twice as deep, every logit is within 1e-4."""
    ids = torch.randint(5, 400, (8, 40))
    before = logits(small, ids)
    deep = model.deepen(small)
    assert len(deep.electra.encoder.layer) == deep.config.num_hidden_layers == 6
    torch.testing.assert_close(logits(deep, ids), before, atol=1e-4, rtol=0)


def test_a_silent_layer_learns(small):
    """The silenced copy's outputs get a gradient, so it does not stay silent."""
    deep = model.deepen(small)
    deep(torch.randint(5, 400, (2, 10))).logits.sum().backward()
    assert deep.electra.encoder.layer[1].output.dense.weight.grad.abs().sum() > 0


def test_packed_weights_come_back_within_half_a_step_of_each_row(small, tmp_path):
    """Rounding moves no weight by more than half of its row's scale (and the scale's own rounding)."""
    pack.pack(small, tmp_path / "w.safetensors")
    back = pack.unpack(tmp_path / "w.safetensors")
    assert not any(name.startswith(("guess", "aside")) for name in back)
    for name, weight in bare(small).state_dict().items():
        step = weight.abs().amax(-1, keepdim=True) / 127 if weight.ndim == 2 else torch.zeros(1)
        assert ((back[name] - weight).abs() <= step * 0.6 + 1e-7).all(), name


def test_a_packed_folder_loads_as_the_small_model(small, tmp_path):
    """What `pack` and `write_config` wrote answers almost as the model they were given."""
    pack.pack(small, tmp_path / "model.safetensors")
    pack.write_config(small, tmp_path / "config.json")
    ids = torch.randint(5, 400, (4, 20))
    loaded = pack.load(tmp_path)
    assert loaded.config.id2label[0] == "joy"
    assert set(loaded.config.thresholds.values()) == {0.5}
    assert (logits(loaded, ids) - logits(small, ids)).abs().max() < 0.2


def test_the_grown_vocabulary_has_one_token_a_row():
    """Padding tokens are distinct and follow the real ones."""
    tokens = pack.grown_vocabulary(["[PAD]", "가"], 10)
    assert tokens[:2] == ["[PAD]", "가"]
    assert len(set(tokens)) == 10

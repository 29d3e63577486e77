"""A small model and a tokenizer of a few lines, for the training stages."""

import pytest
import torch

from optimize.train import model, vocabulary


@pytest.fixture
def small():
    """A 3-layer small model with weights large enough that its logits differ between texts."""
    torch.manual_seed(0)
    net = model.build(400, 3).eval()
    for weight in net.parameters():
        weight.data += torch.randn_like(weight) * 0.05
    return net


@pytest.fixture
def tokenizer(tmp_path):
    """A tokenizer of a vocabulary learnt from a few lines."""
    texts = ["오늘 정말 행복하다", "너무 화가 난다", "하루 종일 지친다", "내일이 걱정된다", "좋아😭"] * 5
    vocabulary.write(vocabulary.train(texts, 400), tmp_path / "vocab.txt")
    return vocabulary.tokenizer_of(tmp_path / "vocab.txt")

"""Compare a variant's answers with torch's, text by text, through the tokenizer file that ships.

Refuses to judge accuracy: parity says whether two forms of one model agree, not whether either is right.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from workbench.records import ModelFacts, Parity

Answer = Callable[[list[int]], Sequence[float]]


def parity_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The workload plus longer texts made of it, up to more than 512 tokens, so that every length is compared."""
    return (*texts, *(" ".join(texts[:count]) for count in (2, 4, 8, len(texts))))


def measure(answer: Answer, tokenizer: Path, reference: Path, texts: tuple[str, ...], facts: ModelFacts) -> Parity:
    """Give the ids of `texts` to `answer` and compare its logits with those stored in `reference`."""
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.enable_truncation(facts.max_tokens)
    rows = [encoding.ids for encoding in encoder.encode_batch(list(texts))]
    logits = np.array([answer(ids) for ids in rows], dtype=np.float32)
    expected = np.array(json.loads(reference.read_text())["logits"], dtype=np.float32)
    return Parity(
        texts=len(texts),
        longest_tokens=max(map(len, rows)),
        max_logit_difference=float(np.abs(logits - expected).max()),
        label_agreement=float((logits.argmax(1) == expected.argmax(1)).mean()),
    )


def onnx_answer(model: Path) -> Answer:
    """What the ONNX file answers to one text's ids, whichever inputs it has."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def answer(ids: list[int]) -> Sequence[float]:
        rows = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
        return session.run(None, {name: np.array([rows[name]], dtype=np.int64) for name in names})[0][0]

    return answer

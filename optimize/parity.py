"""Compare a variant's answers with torch's, text by text, through the tokenizer file that ships.

Refuses to judge accuracy: parity says whether two forms of one model agree, not whether either is right.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from workbench.records import ModelFacts, Parity


def parity_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The workload plus longer texts made of it, up to more than 512 tokens, so that every length is compared."""
    return (*texts, *(" ".join(texts[:count]) for count in (2, 4, 8, len(texts))))


def measure(model: Path, tokenizer: Path, reference: Path, texts: tuple[str, ...], facts: ModelFacts) -> Parity:
    """Run the ONNX file over `texts` and compare its logits with those stored in `reference`."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.enable_truncation(facts.max_tokens)
    encodings = encoder.encode_batch(list(texts))
    logits = np.stack([_logits(session, encoding) for encoding in encodings])
    expected = np.array(json.loads(reference.read_text())["logits"], dtype=np.float32)
    return Parity(
        texts=len(texts),
        longest_tokens=max(len(encoding.ids) for encoding in encodings),
        max_logit_difference=float(np.abs(logits - expected).max()),
        label_agreement=float((logits.argmax(1) == expected.argmax(1)).mean()),
    )


def _logits(session: onnxruntime.InferenceSession, encoding) -> np.ndarray:
    arrays = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    names = [given.name for given in session.get_inputs()]
    return session.run(None, {name: np.array([arrays[name]], dtype=np.int64) for name in names})[0][0]

"""The built-in model: a small emotion model trained for this project, grown to KcELECTRA-base v2022's exact shape.

Its speed and size are a KcELECTRA-base's; its answers are the small model's own (MODEL_CARD.md), not KcELECTRA's.
"""

from pathlib import Path

from transformers import BertTokenizerFast

from optimize.train import pack
from workbench.store import write_text

PACKED = Path(__file__).parent
VOCABULARY_SIZE = 54_343


def make(folder: Path) -> None:
    """Write the grown checkpoint (config, safetensors, tokenizer; about 511 MB) into `folder`."""
    tokens = (PACKED / "vocab.txt").read_text(encoding="utf-8").splitlines()
    write_text(folder / "vocab.txt", "\n".join(pack.grown_vocabulary(tokens, VOCABULARY_SIZE)) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt"), do_lower_case=False, model_max_length=512).save_pretrained(folder)
    pack.grow(pack.load(PACKED), rows=VOCABULARY_SIZE).save_pretrained(folder)

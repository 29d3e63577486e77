"""`prepare.py int8 EXPORT DIARIES FOLDER`: optimum's dynamic int8 of the export, per channel, as it advises for this CPU."""

import sys
from pathlib import Path

from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer
from transformers import AutoTokenizer

from workbench import machine

CONFIGURATIONS = {
    "avx512_vnni": AutoQuantizationConfig.avx512_vnni,
    "avx2": AutoQuantizationConfig.avx2,
    "asimddp": AutoQuantizationConfig.arm64,
}


def int8(export, folder):
    """Write the int8 graph, the configuration and the tokenizer into `folder`."""
    flags = machine.describe("none").flags
    configure = next(configure for flag, configure in CONFIGURATIONS.items() if flag in flags)
    quantizer = ORTQuantizer.from_pretrained(export, file_name="model.onnx")
    quantizer.quantize(configure(is_static=False, per_channel=True), save_dir=folder, file_suffix="")
    AutoTokenizer.from_pretrained(export).save_pretrained(folder)


FORMS = {"int8": int8}

if __name__ == "__main__":
    form, export, _, folder = sys.argv[1:]
    FORMS[form](Path(export), Path(folder))

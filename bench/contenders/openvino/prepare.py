"""`prepare.py weights|ptq EXPORT DIARIES FOLDER`: openvino's 8-bit forms of the export, compiled for this CPU.

Calibrates on the diaries that never judge, and on no others.
"""

import shutil
import sys
from pathlib import Path

import nncf
import openvino
from model import compile_model, feeds, load_tokenizer

from workbench.texts import read_entries, split_entries

TOKENIZER_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")


def prepare(form, export, diaries, folder):
    """Write the quantized graph, its compiled form and the tokenizer into `folder`.

    The graph's own weights are removed at the end: the compiled form has them, and where openvino does not accept
    that (another path, time or processor) the function must fail its init, and not compile anew at every start.
    """
    model, tokenizer = openvino.Core().read_model(export / "model.onnx"), load_tokenizer(export)
    entries, _ = split_entries(read_entries(diaries))
    quantized = FORMS[form](model, [feeds(tokenizer.encode(entry.text), model) for entry in entries])
    openvino.save_model(quantized, folder / "model.xml", compress_to_fp16=False)
    for name in TOKENIZER_FILES:
        shutil.copyfile(export / name, folder / name)
    compile_model(str(folder))
    (folder / "model.bin").unlink()


def weights(model, _):
    """The model with 8-bit weights, a scale a channel; its activations stay float."""
    return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)


def ptq(model, calibration):
    """The model in int8, the range of every activation taken from `calibration`."""
    dataset = nncf.Dataset(calibration)
    return nncf.quantize(model, dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))


FORMS = {"weights": weights, "ptq": ptq}

if __name__ == "__main__":
    prepare(sys.argv[1], *map(Path, sys.argv[2:]))

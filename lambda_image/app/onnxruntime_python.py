"""The plain path: onnxruntime's Python package and numpy. Every other engine is compared with it and falls back to it."""

import os

import numpy
import onnxruntime


def load(folder, manifest, threads):
    """The function from one text's token ids to its logits, both lists; raises what onnxruntime raises."""
    path = os.path.join(folder, "model.onnx")
    session = onnxruntime.InferenceSession(path, _options(manifest, threads), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(ids):
        rows = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": [0] * len(ids)}
        feeds = {name: numpy.array([rows[name]], dtype=numpy.int64) for name in names}
        return session.run(None, feeds)[0][0].tolist()

    return run


def _options(manifest, threads):
    runtime, options = manifest["recipe"]["runtime"], onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    optimize = manifest["optimize_at_load"]
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = runtime["arena"]
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(runtime["spinning"])))
    options.add_session_config_entry("session.disable_prepacking", str(int(not runtime["prepacking"])))
    return options

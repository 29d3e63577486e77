"""What the handler and its preparation share: the tokenizer, the model's inputs, and the model compiled or from its cache."""

import json
import os

import numpy
import openvino
from tokenizers import Tokenizer


def settings(folder, name):
    """A JSON file of the model's folder."""
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return json.load(file)


def load_tokenizer(folder):
    """The tokenizer, cutting what is longer than the model reads."""
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    most = settings(folder, "config.json")["max_position_embeddings"]
    tokenizer.enable_truncation(min(most, settings(folder, "tokenizer_config.json")["model_max_length"]))
    return tokenizer


def feeds(encoding, model):
    """One encoded text as int64 arrays (1 x tokens), by the names of the model's inputs."""
    arrays = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    return {given.any_name: numpy.array([arrays[given.any_name]], dtype=numpy.int64) for given in model.inputs}


def compile_model(folder, threads=0):
    """Compile `model.xml` for one request at a time, or read it from the cache; `threads` 0 is openvino's default."""
    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "CACHE_DIR": os.path.join(folder, "cache"),
        "CACHE_MODE": "OPTIMIZE_SPEED",
    }
    if threads:
        properties["INFERENCE_NUM_THREADS"] = threads
    return openvino.Core().compile_model(os.path.join(folder, "model.xml"), "CPU", properties)

"""The engine of our own: `encoder.c`, compiled for several CPU levels, over memory-mapped weights.

Takes the most capable level that this CPU runs, so a variant is bound to no CPU. Imports ctypes alone. Refuses weights
whose bytes are not those that were written: the mapped part at init, an embedding row when a text first uses it.
"""

import ctypes
import os

from .manifest import InitError

WEIGHTS = "encoder.bin"
LEVELS = ("amx", "avx512", "avx2", "generic")
# The codes of `encoder_open` and `encoder_run` other than 0.
PROBLEMS = {
    1: "is missing or empty",
    2: "is no encoder of this version",
    3: "is damaged: its checksum or size is not what was written",
    4: "does not fit into memory",
    5: "has no row for a token, or the text has too many tokens",
    6: "is damaged: the row of a token has another checksum",
}


def load(folder, manifest, threads):
    """The function from token ids to logits; `threads` is not used, since one entry is one thread's work."""
    library = _library(folder, manifest)
    path = os.path.join(folder, WEIGHTS)
    encoder = ctypes.c_void_p()
    code = library.encoder_open(os.fsencode(path), ctypes.byref(encoder))
    if code:
        raise InitError(f"The weights {path}: the file {PROBLEMS[code]}.")
    row = ctypes.c_float * library.encoder_labels(encoder)

    def run(ids):
        logits = row()
        code = library.encoder_run(encoder, (ctypes.c_int32 * len(ids))(*ids), len(ids), logits)
        if code:
            raise RuntimeError(f"{WEIGHTS} {PROBLEMS[code]}")
        return list(logits)

    return run


def _library(folder, manifest):
    """The compiled encoder of the first level that this CPU supports."""
    names = [name for name in map("encoder-{}.so".format, LEVELS) if name in manifest["files"]]
    for name in names:
        try:
            library = ctypes.CDLL(os.path.join(folder, name))
        except OSError as error:
            raise InitError(f"The encoder {name} cannot be loaded on this machine ({error}).") from None
        if library.encoder_supported():
            return library
    raise InitError(f"The variant in {folder} lists no encoder that this CPU can run: build the variant again.")

"""The step `native`: the weights as `lambda_image/encoder.c` maps them, and that source compiled for every CPU level.

Every matrix has signed 8-bit rows with one scale each, embeddings too; layer norms, biases, positions and the last
layer stay fp32. Refuses encoders of another shape: ELECTRA's narrow embeddings, other activations, odd widths.
"""

import ctypes
import platform
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from optimize.sources import load_model
from workbench.errors import VariantError
from workbench.paths import ROOT
from workbench.records import ModelFacts

SOURCE = ROOT / "lambda_image" / "encoder.c"
WEIGHTS = "encoder.bin"
MAGIC = b"AIDENC\0\1"  # the last byte is the format's version; 1: the first
HEADER = struct.Struct("<8sQQQ8IfI")
UNCHECKED = 16  # the magic and the sum itself
ALIGNMENT, WIDTH, GROUP, TILE = 64, 16, 4, 64
OFFSET, LARGEST = 128, 127
POOLING = {"electra": 0, "bert": 1, "roberta": 1}  # 0: GELU, 1: tanh
HEADS = {
    "electra": ("classifier.dense", "classifier.out_proj"),
    "bert": ("bert.pooler.dense", "classifier"),
    "roberta": ("classifier.dense", "classifier.out_proj"),
}
# Without contraction every level rounds alike, and so every CPU gives the same bits; it costs a few per cent.
FLAGS = (
    *("-std=gnu11", "-O3", "-shared", "-fPIC", "-pthread", "-ffp-contract=off", "-Wno-psabi"),
    *("-fno-math-errno", "-ffinite-math-only", "-fno-signed-zeros", "-fno-trapping-math"),
)
AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mprefer-vector-width=512")
LEVELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"amx": (*AVX512, "-mamx-tile", "-mamx-int8"), "avx512": AVX512, "avx2": AVX2, "generic": ()},
    "aarch64": {"generic": ()},
}

Weights = dict[str, np.ndarray]


def build(checkpoint: Path, facts: ModelFacts, folder: Path) -> tuple[str, ...]:
    """Write `encoder.bin` and one `encoder-LEVEL.so` a CPU level into `folder`; the files that check their own bytes."""
    model = load_model(checkpoint)
    _refuse_other_shapes(model.config)
    libraries = compile_levels(folder)
    weights = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    _write(folder / WEIGHTS, weights, model.config, facts, ctypes.CDLL(str(libraries[-1])))
    return (WEIGHTS,)


def answer(folder: Path) -> Callable[[list[int]], list[float]]:
    """The logits that the encoder built in `folder` gives to token ids, on the most capable level of this CPU."""
    libraries = [ctypes.CDLL(str(folder / f"encoder-{level}.so")) for level in LEVELS[platform.machine()]]
    library = next(library for library in libraries if library.encoder_supported())
    encoder = ctypes.c_void_p()
    _refuse(library.encoder_open(bytes(folder / WEIGHTS), ctypes.byref(encoder)))
    logits = (ctypes.c_float * library.encoder_labels(encoder))()

    def run(ids: list[int]) -> list[float]:
        _refuse(library.encoder_run(encoder, (ctypes.c_int32 * len(ids))(*ids), len(ids), logits))
        return list(logits)

    return run


def _refuse(code: int) -> None:
    if code:
        raise VariantError(f"the encoder that was just built fails with code {code}", "see the codes in app/native.py")


def part_bytes(folder: Path) -> dict[str, int]:
    """The bytes of the embedding rows, and of all else in the file: a text reads the rows of its tokens alone."""
    with (folder / WEIGHTS).open("rb") as file:
        _, _, checked, whole, *_ = HEADER.unpack(file.read(HEADER.size))
    return {"embeddings": whole - checked, "encoder": checked}


def compile_levels(folder: Path) -> list[Path]:
    """Compile the encoder once for each CPU level of this architecture, the most capable first."""
    if shutil.which("cc") is None:
        raise VariantError(
            "there is no C compiler for the native engine (`cc`)", "install gcc or clang, or drop its recipes"
        )
    levels = LEVELS[platform.machine()]
    return [_compile(folder / f"encoder-{level}.so", flags) for level, flags in levels.items()]


def _compile(library: Path, flags: tuple[str, ...]) -> Path:
    done = subprocess.run(
        ["cc", *FLAGS, *flags, str(SOURCE), "-o", str(library), "-lm"], capture_output=True, text=True
    )
    if done.returncode:
        raise VariantError(f"`cc` cannot compile {SOURCE.name}: {done.stderr.strip()}", "use gcc 11 or newer")
    return library


def _refuse_other_shapes(config) -> None:
    head = config.hidden_size // config.num_attention_heads
    faults = {
        "a hidden size of no multiple of 64": config.hidden_size % TILE,
        "an intermediate size of no multiple of 64": config.intermediate_size % TILE,
        "heads of no multiple of 16": head % WIDTH,
        "embeddings narrower than its layers": getattr(config, "embedding_size", config.hidden_size)
        != config.hidden_size,
        "an activation other than gelu": config.hidden_act != "gelu",
        "relative positions": getattr(config, "position_embedding_type", "absolute") != "absolute",
    }
    for fault, found in faults.items():
        if found:
            raise VariantError(f"the native engine cannot run a model with {fault}", "drop the recipe's step `native`")


def _write(path: Path, weights: Weights, config, facts: ModelFacts, library: ctypes.CDLL) -> None:
    """The header, the checked part, then one row a token: its sum, its scale and its 8-bit numbers."""
    checked = b"".join(_aligned(array) for array in _checked_part(weights, config, facts))
    rows = _embedding_rows(weights[f"{facts.family}.embeddings.word_embeddings.weight"], library)
    checked_bytes = ALIGNMENT * -(-HEADER.size // ALIGNMENT) + len(checked)
    shape = (
        *(facts.layers, facts.hidden_size, config.num_attention_heads, facts.intermediate_size),
        *(facts.max_tokens, len(rows), len(facts.labels), POOLING[facts.family], config.layer_norm_eps, 0),
    )

    def content(total: int) -> bytes:
        header = HEADER.pack(MAGIC, total, checked_bytes, checked_bytes + rows.nbytes, *shape)
        return _aligned(np.frombuffer(header, np.uint8)) + checked

    path.write_bytes(content(checksum(content(0)[UNCHECKED:], library)) + rows.tobytes())


def checksum(data: bytes, library: ctypes.CDLL) -> int:
    """The sum over the checked part, by the encoder's own function."""
    library.encoder_file_checksum.restype = ctypes.c_uint64
    return library.encoder_file_checksum(data, ctypes.c_size_t(len(data)))


def _checked_part(weights: Weights, config, facts: ModelFacts) -> Iterator[np.ndarray]:
    """Every array but the embedding rows, in the order in which `lay_out` of the encoder takes them."""
    family = facts.family
    embeddings = f"{family}.embeddings"
    start = config.pad_token_id + 1 if family == "roberta" else 0
    positions = weights[f"{embeddings}.position_embeddings.weight"][start : start + facts.max_tokens]
    yield positions + weights[f"{embeddings}.token_type_embeddings.weight"][0]
    yield from _norm(weights, f"{embeddings}.LayerNorm")
    for index in range(facts.layers):
        layer = f"{family}.encoder.layer.{index}"
        yield from _matrix(weights, *(f"{layer}.attention.self.{name}" for name in ("query", "key", "value")))
        yield from _matrix(weights, f"{layer}.attention.output.dense")
        yield from _norm(weights, f"{layer}.attention.output.LayerNorm")
        yield from _matrix(weights, f"{layer}.intermediate.dense")
        yield from _matrix(weights, f"{layer}.output.dense")
        yield from _norm(weights, f"{layer}.output.LayerNorm")
    pooler, classifier = HEADS[family]
    yield from _matrix(weights, pooler)
    yield weights[f"{classifier}.weight"]
    yield weights[f"{classifier}.bias"]


def _norm(weights: Weights, name: str) -> tuple[np.ndarray, np.ndarray]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def _matrix(weights: Weights, *names: str) -> Iterator[np.ndarray]:
    """One matrix (outputs x inputs) of several below each other: panels, scales, biases."""
    values, scales = _rows_of_8_bits(np.concatenate([weights[f"{name}.weight"] for name in names]))
    yield _panels(values)
    yield scales
    yield np.concatenate([weights[f"{name}.bias"] for name in names])


def _rows_of_8_bits(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A matrix as signed 8-bit rows and each row's scale: matrix is about row times scale."""
    scales = (np.abs(matrix).max(1) / LARGEST).astype(np.float32)
    return np.rint(matrix / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8), scales


def _panels(values: np.ndarray) -> np.ndarray:
    """Signed rows (outputs x inputs) as unsigned panels: 16 outputs, and of each 4 inputs at a time."""
    outputs, inputs = values.shape
    unsigned = (values.astype(np.int16) + OFFSET).astype(np.uint8)
    return unsigned.reshape(outputs // WIDTH, WIDTH, inputs // GROUP, GROUP).transpose(0, 2, 1, 3)


def _embedding_rows(matrix: np.ndarray, library: ctypes.CDLL) -> np.ndarray:
    """Each token's row of bytes (tokens x (8 + width)): the sum of the rest, the scale, the signed numbers."""
    library.encoder_checksum.restype = ctypes.c_uint64
    values, scales = _rows_of_8_bits(matrix)
    rest = np.concatenate([scales[:, None].view(np.uint8), values.view(np.uint8)], axis=1)
    size = ctypes.c_size_t(rest.shape[1])
    sums = [library.encoder_checksum(row.tobytes(), size) & 0xFFFFFFFF for row in rest]
    return np.concatenate([np.array(sums, np.uint32)[:, None].view(np.uint8), rest], axis=1)


def _aligned(array: np.ndarray) -> bytes:
    content = np.ascontiguousarray(array).tobytes()
    return content + bytes(-len(content) % ALIGNMENT)

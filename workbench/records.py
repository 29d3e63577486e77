"""What the stages hand to each other: frozen records, every unit in a name.

Refuses to derive: raw values are kept here, statistics are computed where they are used.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal

from workbench.schema import to_plain

Outcome = Literal["ok", "handler_error", "init_error", "timeout", "oom", "crashed"]
Regime = Literal["burst", "throttled"]
Activation = Literal["softmax", "sigmoid"]
Kind = Literal["cold", "disk", "warm"]
Engine = Literal["onnxruntime", "onnxruntime-c", "native"]
Reader = Literal["tokenizers", "mapped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSource:
    """Where a model comes from: `builtin`, a folder (starts with `.` or `/`) or a hub id with its 40-hex revision.

    `labels` and `activation` replace what the checkpoint says of itself, `label_map` names the map to the eight
    emotions where the labels do not tell; `speed_only` allows an untrained head.
    """

    where: str
    revision: str | None = None
    labels: tuple[str, ...] = ()
    activation: Activation | None = None
    label_map: str | None = None
    speed_only: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """What was found in a loaded checkpoint; `sha256` covers its weights, configuration and tokenizer.

    `emotions` is each label's emotion, `thresholds` the score from which an emotion counts as present.
    """

    source: ModelSource
    family: str
    labels: tuple[str, ...]
    emotions: tuple[str, ...]
    thresholds: dict[str, float]
    activation: Activation
    max_tokens: int
    vocabulary_size: int
    layers: int
    hidden_size: int
    intermediate_size: int
    parameters: int
    trained: bool
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """How the shipped code loads and runs a variant: settings of the process, not of the files.

    `engine` onnxruntime is the plain path (numpy and the Python package), onnxruntime-c its C API, native the encoder of
    our own; `tokenizer` mapped reads `tokenizer.bin`. `threads` None takes the sweep's.
    """

    engine: Engine = "onnxruntime"
    tokenizer: Reader = "tokenizers"
    prepacking: bool = True
    arena: bool = True
    spinning: bool = False
    threads: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A name, the ordered steps that turn the exported graph into a variant, and how the variant is run.

    `memory_mb` are the sizes in MB it is measured at, none meaning all of the sweep.
    """

    name: str
    steps: tuple[str, ...] = ()
    runtime: Runtime = Runtime()
    memory_mb: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far a variant's answers are from the torch model's on the same texts."""

    texts: int
    longest_tokens: int
    max_logit_difference: float
    label_agreement: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FloatNode:
    """A node kept in float: what it costs in bytes and the label agreement reached with it (and those before it)."""

    name: str
    added_bytes: int
    label_agreement: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One optimized form of the model: a folder whose `variant.json` is this record.

    `optimize_at_load` is False where the graph was saved as onnxruntime would optimize it; `float_nodes` are those
    that the step `keep-sensitive` left out of int8, the worst first. `self_checked` are the files whose bytes the engine
    itself checks, `cpu_flags` the CPU features (as named by /proc/cpuinfo) that the files are bound to.
    """

    recipe: Recipe
    model: ModelFacts
    files: dict[str, str]
    sha256: str
    size_bytes: int
    part_bytes: dict[str, int]
    graph_nodes: int
    optimize_at_load: bool
    float_nodes: tuple[FloatNode, ...]
    versions: dict[str, str]
    parity: Parity
    built_from: str
    self_checked: tuple[str, ...] = ()
    cpu_flags: tuple[str, ...] = ()

    @property
    def answers(self) -> str:
        """What decides its answers: variants that differ in how they are run alone give the same ones."""
        return fingerprint([self.files, self.recipe.runtime.engine, self.recipe.runtime.tokenizer])


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One place in the sweep: a function's bytes under one memory size, thread count and CPU regime.

    `threads` 0 means the library's own default; `limits` says what enforced memory and CPU (`none`: nothing did).
    """

    function: str
    sha256: str
    memory_mb: int
    threads: int
    regime: Regime
    place: str
    limits: str
    architecture: str

    @property
    def id(self) -> str:
        """A readable name, never parsed back."""
        return f"{self.function}-{self.memory_mb}mb-{self.threads}t-{self.regime}-{self.place}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """Raw samples of one fresh process: `values` maps a metric with its unit (`cold_ms`, `peak_mb`) to its samples.

    `kind` disk is a cold start after the page cache was dropped.
    """

    cell: Cell
    kind: Kind
    round: int
    outcome: Outcome
    detail: str
    values: dict[str, tuple[float, ...]]
    workload_sha256: str
    machine_sha256: str
    taken_at: str

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes a sample unique in its run."""
        return (self.kind, self.cell.id, self.round)


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """A variant's answers to a labelled data set, through the shipped function: scores (entries x eight emotions).

    `gold` has each entry's emotions by place among the eight, the main one first where the data set names one; `cpu`
    is `native`, or the feature level that the processor was reduced to.
    """

    function: str
    sha256: str
    dataset: str
    cpu: str
    gold: tuple[tuple[int, ...], ...]
    scores: tuple[tuple[float, ...], ...]
    dataset_sha256: str
    machine_sha256: str
    taken_at: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes it unique in its run."""
        return (self.function, self.dataset, self.cpu)


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """The most multiply-adds of one instruction set: `gmac_per_s` is 10**9 a second on one core, and on two together."""

    numbers: Literal["int8", "fp32"]
    instructions: str
    gmac_per_s: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What the machine can do at its best, and how long it takes for a file of `size_bytes`.

    The file is in the page cache: mapped with every page touched, or read into fresh memory. `disk_touch_ms` is the
    first after the page cache was dropped by `page_cache`; both are None where that is not permitted.
    `memory_gb_per_s` is how fast as many bytes of memory are read, in 10**9 a second, by one core and by two together.
    """

    peaks: tuple[Peak, ...]
    size_bytes: int
    touch_ms: float
    read_ms: float
    disk_touch_ms: float | None
    page_cache: str | None
    memory_gb_per_s: tuple[float, ...]
    machine_sha256: str
    taken_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A figure with its 95 % interval and the number of samples behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """A variant that did not win, and why, in one sentence."""

    function: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Which variant should answer, against whom, by how much, and what that rests on.

    `margin` is the runner-up's score over the winner's (above 1: the winner is better), None without a runner-up.
    """

    winner: str
    winner_sha256: str
    runner_up: str | None
    objective: str
    memory_mb: int
    score_ms: float
    margin: Interval | None
    tie: bool
    losers: tuple[Rejection, ...]
    evidence_sha256: str


def fingerprint(value: Any) -> str:
    """The sha256 of a record or plain value in canonical JSON."""
    text = json.dumps(to_plain(value), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

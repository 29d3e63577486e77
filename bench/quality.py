"""Accuracy through the shipped function: every variant answers the labelled diaries, and KOTE where it is at hand.

Refuses to judge from text that shaped a variant: calibration entries are left out.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.progress import track

from bench import cold, cpu_mask, runs
from bench.functions import Function
from bench.local_lambda import LocalLambda, Settings
from workbench.emotions import EMOTIONS
from workbench.errors import BenchError
from workbench.labels import label_map
from workbench.paths import BUILD, ROOT, environment_python
from workbench.plan import Workload, texts_sha256
from workbench.records import Quality, fingerprint
from workbench.texts import Text, read_entries, read_kote, split_entries, split_kote, spread

DIARIES, KOTE = "diaries", "kote"
NATIVE, AVX2 = "native", "avx2"
OTHER_CPU_ENTRIES = 120
MEMORY_MB = 3008


def datasets(workload: Workload, data: Path | None) -> dict[str, list[Text]]:
    """The evaluation diaries and, from the folder `data`, KOTE's 500 held-out rows; labels are among the eight."""
    found = {DIARIES: split_entries(read_entries(ROOT / workload.file))[1]}
    if data:
        found[KOTE] = [_mapped(text) for text in split_kote(read_kote(data / "kote" / "val.tsv"))[1]]
    return found


def measure(
    folder: Path, functions: Iterable[Function], texts: dict[str, list[Text]], reduced: dict[str, str] | None
) -> None:
    """Record the answers the run still lacks; `reduced` is the environment in which the CPU looks like AVX2 alone."""
    done = {quality.key for quality in runs.qualities(folder)}
    jobs = [(function, name, NATIVE, found) for function in functions for name, found in texts.items()]
    if reduced is not None:
        few = spread(texts[DIARIES], min(OTHER_CPU_ENTRIES, len(texts[DIARIES])))
        slow = [replace(function, environment=reduced) for function in functions]
        jobs += [(function, DIARIES, AVX2, few) for function in slow]
    missing = [job for job in jobs if (job[0].name, job[1], job[2]) not in done]
    for function, name, cpu, found in track(missing, description="answers to labelled text"):
        runs.record_quality(folder, _answers(runs.load_run(folder), function, name, cpu, found))


def smaller_cpu() -> dict[str, str] | None:
    """The environment in which a process is told of AVX2 and nothing wider; None where that cannot be had."""
    try:
        library = cpu_mask.build(BUILD / "cpu_mask")
    except BenchError as error:
        print(f"answers of an AVX2 CPU are left out: {error}")
        return None
    return cpu_mask.environment(library) if cpu_mask.supported(library, environment_python("runtime")) else None


def _answers(run: runs.Run, function: Function, name: str, cpu: str, texts: list[Text]) -> Quality:
    settings = Settings(
        memory_mb=MEMORY_MB,
        threads=os.cpu_count() or 1,
        regime="burst",
        limits="none",
        timeout_s=run.plan.bench.timeout_s,
    )
    with LocalLambda(function, settings) as local:
        scores = tuple(_scores(local, function.name, text.text) for text in texts)
    return Quality(
        function=function.name,
        sha256=function.sha256,
        dataset=name,
        cpu=cpu,
        gold=tuple(text.labels for text in texts),
        scores=scores,
        dataset_sha256=texts_sha256(tuple(text.text for text in texts)),
        machine_sha256=fingerprint(run.machine),
        taken_at=runs.now(),
    )


def _scores(local: LocalLambda, name: str, text: str) -> tuple[float, ...]:
    invocation = local.invoke(cold.request(text))
    if invocation.outcome != "ok":
        raise BenchError(f"{name} could not answer: {invocation.outcome} {invocation.detail}", "see `nox -s serve`")
    scores = json.loads(invocation.body)["scores"]
    return tuple(round(scores[emotion], 5) for emotion in EMOTIONS)


def _mapped(text: Text) -> Text:
    places = list(label_map(KOTE).values())
    return text._replace(labels=tuple(dict.fromkeys(places[label] for label in text.labels)))

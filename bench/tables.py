"""The report's tables in GitHub Markdown: one function a table, every figure with its interval or sample count."""

from bench import accuracy
from bench.evidence import Evidence
from bench.quality import AVX2, DIARIES
from bench.statistics import median
from bench.summary import accuracy_figures, ours
from workbench.emotions import EMOTIONS
from workbench.records import Interval, Verdict

PHASES = ("interpreter_ms", "imports_ms", "verify_ms", "tokenizer_ms", "session_ms", "first_answer_ms")


def variants_table(evidence: Evidence, verdict: Verdict) -> str:
    """Every form at the verdict's memory size: size, times with intervals, peak memory (the most seen), outcomes."""
    rows = [_variant_row(evidence, contest.name, verdict.memory_mb) for contest in evidence.run.contests]
    head = ("form", "size MB", "cold start ms", "init ms", "warm ms", "peak MB", "labels as torch's", "outcome")
    return _table(head, rows)


def _variant_row(evidence: Evidence, name: str, memory_mb: int) -> tuple[str, ...]:
    contest = next(contest for contest in evidence.run.contests if contest.name == name)
    agreement = f"{contest.variant.parity.label_agreement:.1%}" if contest.variant else "is torch"
    outcomes = evidence.outcomes(name, memory_mb)
    size, outcome = f"{contest.size_bytes / 1e6:.0f}", f"{outcomes.count('ok')} of {len(outcomes)} ok"
    if not evidence.has_answers(name, memory_mb):
        return (f"`{name}`", size, "-", "-", "-", "-", agreement, outcome)
    return (
        f"`{name}`",
        size,
        _interval(median(evidence.cold(name, memory_mb))),
        _interval(median(evidence.cold(name, memory_mb, "init_ms"))),
        _interval(median(evidence.warm(name, memory_mb))),
        f"{max(evidence.cold(name, memory_mb, 'peak_mb')):.0f}",
        agreement,
        outcome,
    )


def accuracy_section(evidence: Evidence) -> list[str]:
    """How every variant answers the labelled text, where it was asked."""
    names = [name for name in ours(evidence) if evidence.has_quality(name, DIARIES)]
    if not names:
        return []
    count = len(evidence.quality(names[0], DIARIES).gold)
    text = (
        f"Main emotion of {count} labelled diary entries, through the shipped function; held to `{evidence.reference()}`. "
        f"As AVX2: the share of {_other_cpu_entries(evidence, names)} of them that get the same main emotion when this "
        "processor is told that it has AVX2 and nothing wider, so that int8 takes its kernels without VNNI. KOTE: its "
        "held-out rows mapped to the eight, every emotion present or not."
    )
    head = (
        "form",
        "macro-F1",
        "main emotion as fp32's",
        "macro-F1 drop, points",
        "same as AVX2",
        "KOTE macro-F1",
        *EMOTIONS,
    )
    rows = [_accuracy_row(evidence, name) for name in names]
    return [f"## Accuracy and recall by emotion\n\n{text}\n\n{_table(head, rows)}"]


def _other_cpu_entries(evidence: Evidence, names: list[str]) -> int:
    asked = [evidence.quality(name, DIARIES, AVX2) for name in names if evidence.has_quality(name, DIARIES, AVX2)]
    return max((len(quality.gold) for quality in asked), default=0)


def _accuracy_row(evidence: Evidence, name: str) -> tuple[str, ...]:
    reference, quality = evidence.quality(evidence.reference(), DIARIES), evidence.quality(name, DIARIES)
    score, drop = accuracy.macro_f1_interval(quality), accuracy.macro_f1_drop(reference, quality)
    figures = accuracy_figures(evidence, name)
    other, kote = figures.get("agreement_other_cpu"), figures.get("macro_f1_kote")
    return (
        f"`{name}`",
        f"{score.value:.3f} ({score.low:.3f}-{score.high:.3f})",
        f"{figures['agreement_with_fp32'].value:.1%}",
        f"{_points(drop.value)} ({_points(drop.low)} to {_points(drop.high)})",
        f"{other.value:.1%}" if other else "-",
        f"{kote.value:.3f}" if kote else "-",
        *(f"{recall:.2f}" for recall in accuracy.recalls(quality).values()),
    )


def phases_table(evidence: Evidence, memory_mb: int) -> str:
    """The median of every phase of a cold start in ms, by form."""
    rows = []
    for contest in evidence.run.contests:
        found = [evidence.by_round(contest.name, memory_mb, phase).values() for phase in PHASES]
        rows.append(
            (f"`{contest.name}`", *(f"{median(list(values)).value:.0f}" if values else "-" for values in found))
        )
    return _table(("form", *(phase.removesuffix("_ms").replace("_", " ") for phase in PHASES)), rows)


def sweep_table(evidence: Evidence) -> str:
    """The median cold start in ms by form and memory size, with its interval and any failure."""
    sizes = evidence.run.plan.bench.memory_mb
    rows = [
        (f"`{contest.name}`", *(_cold_cell(evidence, contest.name, size) for size in sizes))
        for contest in evidence.run.contests
    ]
    return _table(("form", *(f"{size} MB" for size in sizes)), rows)


def _cold_cell(evidence: Evidence, name: str, memory_mb: int) -> str:
    values = list(evidence.by_round(name, memory_mb, "cold_ms").values())
    failures = {outcome for outcome in evidence.outcomes(name, memory_mb) if outcome != "ok"}
    answered = [_interval(median(values))] if values else []
    return ", ".join([*answered, *sorted(failures)]) or "-"


def losers(verdict: Verdict) -> str:
    """One line for every form that did not win, with its reason."""
    return "\n".join(f"- `{loser.function}`: {loser.reason}." for loser in verdict.losers) or "There were no others."


def _points(share: float) -> str:
    """A share as percentage points, without a negative zero."""
    return f"{round(share * 100, 1) + 0:.1f}"


def _interval(one: Interval) -> str:
    digits = 0 if one.value >= 100 else 1
    return f"{one.value:.{digits}f} ({one.low:.{digits}f}-{one.high:.{digits}f})"


def ratio(one: Interval) -> str:
    """A ratio with its interval, two digits."""
    return f"{one.value:.2f} ({one.low:.2f}-{one.high:.2f})"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows))

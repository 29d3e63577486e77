"""The report's tables in GitHub Markdown: one function a table, every figure with its interval or sample count."""

from bench import accuracy
from bench.evidence import ONE_VCPU_MB, Evidence
from bench.quality import AVX2, DIARIES
from bench.statistics import median, paired_ratio, ratio_of_medians
from bench.summary import FIXED, accuracy_figures, figures
from bench.targets import TARGETS
from workbench.emotions import EMOTIONS
from workbench.plan import Axis
from workbench.records import Interval, Limit, Verdict

PHASES = ("interpreter_ms", "imports_ms", "verify_ms", "tokenizer_ms", "session_ms", "first_answer_ms")


def targets_table(evidence: Evidence, verdict: Verdict) -> str:
    """Every target with its figure, met or missed; one that the run has no figure for says so."""
    known = figures(evidence, verdict)
    rows: list[tuple[str, ...]] = [
        (
            target.says,
            f"{'at least' if target.at_least else 'at most'} {target.bound:g}",
            ratio(known[target.figure]) if target.figure in known else "-",
            ("met" if target.is_met(known[target.figure]) else "**missed**") if target.figure in known else "no figure",
        )
        for target in TARGETS
    ]
    return _table(("target", "bound", "found", ""), rows)


def variants_table(evidence: Evidence, verdict: Verdict) -> str:
    """Every form at the verdict's memory size: size, times with intervals, peak memory (the most seen), outcomes."""
    rows = [_variant_row(evidence, contest.name, verdict.memory_mb) for contest in evidence.run.contests]
    head = ("form", "size MB", "cold start ms", "init ms", "warm ms", "peak MB", "labels as torch's", "outcome")
    return _table(head, rows)


def _variant_row(evidence: Evidence, name: str, memory_mb: int) -> tuple[str, ...]:
    contest = evidence.contest(name)
    agreement = f"{contest.variant.parity.label_agreement:.1%}" if contest.variant else "-"
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


def axes_table(evidence: Evidence) -> str:
    """What each axis of the plan changed: the recipe after it beside the recipe before, at the objective's size."""
    head = ("axis", "from", "to", "cold start", "warm", "MB", "peak MB", "main emotion as fp32's")
    axes = [axis for axis in evidence.run.plan.axes if {axis.before, axis.after} <= set(evidence.ours())]
    return _table(head, [_axis_row(evidence, axis) for axis in axes])


def _axis_row(evidence: Evidence, axis: Axis) -> tuple[str, ...]:
    memory_mb, names = evidence.run.plan.objective.memory_mb, (axis.before, axis.after)
    ends = (axis.name, *(f"`{name}`" for name in names))
    if not all(evidence.has_answers(name, memory_mb) for name in names):
        return (*ends, *["no answer"] * 5)
    cold = paired_ratio(*evidence.paired(axis.after, axis.before, memory_mb, "cold_ms"))
    warm = ratio_of_medians(*(evidence.warm(name, memory_mb) for name in reversed(names)))
    sizes = (f"{evidence.contest(name).size_bytes / 1e6:.0f}" for name in names)
    peaks = (f"{median(evidence.cold(name, memory_mb, 'peak_mb')).value:.0f}" for name in names)
    agreements = (
        f"{accuracy_figures(evidence, name)['agreement_with_fp32'].value:.1%}"
        for name in names
        if evidence.has_quality(name, DIARIES)
    )
    return (*ends, _times(cold), _times(warm), *(" → ".join(pair) for pair in (sizes, peaks, agreements)))


def _times(one: Interval) -> str:
    """A ratio of times; bold where its whole interval is on one side of 1."""
    text = f"x {ratio(one)}"
    return f"**{text}**" if one.low > 1 or one.high < 1 else text


def fixed_length_table(evidence: Evidence) -> str:
    """Warm answers to a text of 64 tokens with one vCPU (median ms), at every thread count that was measured."""
    rows: dict[str, dict[int, list[float]]] = {}
    for one in (*evidence.samples, *evidence.other_threads):
        if one.cell.memory_mb == ONE_VCPU_MB and FIXED in one.values:
            rows.setdefault(one.cell.function, {}).setdefault(one.cell.threads, []).extend(one.values[FIXED])
    counts = sorted({threads for found in rows.values() for threads in found})
    cells = [
        (f"`{name}`", *(_interval(median(found[count])) if count in found else "-" for count in counts))
        for name, found in rows.items()
    ]
    return _table(("form", *("default" if count == 0 else f"threads: {count}" for count in counts)), cells)


def disk_table(evidence: Evidence) -> str:
    """Starts with the page cache dropped: the time, what came from the disk, and what a start touches anyway."""
    memory_mb = evidence.run.plan.objective.memory_mb
    metrics = ("cold_ms", "read_mb")
    rows = [
        (
            f"`{contest.name}`",
            *(_interval(median(evidence.cold(contest.name, memory_mb, metric, "disk"))) for metric in metrics),
            *(
                _interval(median(evidence.cold(contest.name, memory_mb, metric)))
                for metric in ("copied_mb", "mapped_mb")
            ),
        )
        for contest in evidence.run.contests
        if all(evidence.by_round(contest.name, memory_mb, metric, "disk") for metric in metrics)
    ]
    return _table(("form", "cold start ms", "read from disk MB", "copied by reads MB", "mapped MB"), rows)


def accuracy_section(evidence: Evidence) -> list[str]:
    """How every variant answers the labelled text, where it was asked."""
    names = [name for name in evidence.ours() if evidence.has_quality(name, DIARIES)]
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
    known = accuracy_figures(evidence, name)
    other, kote = known.get("agreement_other_cpu"), known.get("macro_f1_kote")
    return (
        f"`{name}`",
        f"{score.value:.3f} ({score.low:.3f}-{score.high:.3f})",
        f"{known['agreement_with_fp32'].value:.1%}",
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


def limit_table(limit: Limit) -> str:
    """What the machine can do: multiply-adds of every instruction set it has, and bytes."""
    rows = [
        (f"{peak.numbers}, {peak.instructions}, G multiply-adds/s", *(f"{rate:.0f}" for rate in peak.gmac_per_s))
        for peak in limit.peaks
    ]
    size = f"{limit.size_bytes / 1e6:.0f} MB"
    rows.append(("memory read, GB/s", *(f"{rate:.1f}" for rate in limit.memory_gb_per_s)))
    rows.append((f"{size} touched in the page cache, ms", f"{limit.touch_ms:.1f}", "-"))
    rows.append((f"{size} read into fresh memory, ms", f"{limit.read_ms:.1f}", "-"))
    if limit.disk_touch_ms is not None:
        rows.append((f"{size} touched on the disk, ms", f"{limit.disk_touch_ms:.1f}", "-"))
    return _table(("limit", "one core", "two cores"), rows)


def sweep_table(evidence: Evidence) -> str:
    """The median cold start in ms of the forms measured at several memory sizes, with its interval and any failure."""
    sizes = evidence.run.plan.bench.memory_mb
    rows = [
        (f"`{contest.name}`", *(_cold_cell(evidence, contest.name, size) for size in sizes))
        for contest in evidence.run.contests
        if len(evidence.sizes(contest.name)) > 1
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
    """A ratio with its interval, two digits, or three where it is small; without an interval alone."""
    digits = 2 if one.value >= 0.5 else 3
    interval = f" ({one.low:.{digits}f}-{one.high:.{digits}f})" if one.low < one.high else ""
    return f"{one.value:.{digits}f}{interval}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """The table, or nothing where it has no rows."""
    rule = ("---", *("---:" for _ in head[1:]))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) if rows else ""

"""The token rules in place of the latency rule: time to the first token, time per further token.

LoadGen judges them where ``use_token_latencies`` is set (specification 3.4, 3.6). That every answer
must have tokens to measure is ours: LoadGen logs errors then, and may say VALID beside them.
"""

from __future__ import annotations

from loadgen_service.core.figures.loadgen import EarlyStopping
from loadgen_service.core.figures.tokens import TokenFigures
from loadgen_service.core.scenarios import SCENARIOS
from loadgen_service.core.settings import Settings
from loadgen_service.core.units import NS_PER_MS
from loadgen_service.core.verdict.findings.finding import Finding, say_count, say_ns, say_percentile

_LOWER = "lower --target-qps, or raise --{}-latency-ms if the limit is yours to choose"


def token_limits(settings: Settings, tokens: TokenFigures) -> list[Finding]:
    """``ttft`` and ``tpot``: the target percentile of each against its limit."""
    return [
        _limit(settings, "ttft", tokens.ttft_target_ns, settings.ttft_latency_ms, tokens.ttft_met),
        _limit(settings, "tpot", tokens.tpot_target_ns, settings.tpot_latency_ms, tokens.tpot_met),
    ]


def _limit(
    settings: Settings, name: str, measured_ns: int | None, limit_ms: int, met: bool
) -> Finding:
    place = say_percentile(settings.percentile)
    rule = " to the end of the answer (LoadGen's rule)" if name == "tpot" else ""
    seen = "infinite: samples without a good answer, or none with such a time"
    return Finding(
        name=name,
        met=met,
        measured=f"{place} {seen if measured_ns is None else say_ns(measured_ns)}{rule}",
        required=f"{place} <= {say_ns(limit_ms * NS_PER_MS)}",
        advice="" if met else _LOWER.format(name),
        source="loadgen",
    )


def token_stopping(settings: Settings, tokens: TokenFigures) -> list[Finding]:
    """``early_stopping`` over both times: first per token, then to the first; none in offline."""
    if tokens.tpot_stopping is None:
        return []
    met = tokens.early_stopping_met
    passes = [("per token", tokens.tpot_stopping), ("to the first token", tokens.ttft_stopping)]
    said = [f"time {name}: {_say(one)}" for name, one in passes if one is not None]
    failed = next((one for _, one in reversed(passes) if one is not None), None)
    required = failed.required_count if failed else 0
    unit = failed.unit if failed else "samples"
    return [
        Finding(
            name="early_stopping",
            met=met,
            measured="; ".join(said),
            required=f">= {required} {unit} for {say_percentile(settings.percentile)} "
            "at 99 % confidence, of both times",
            advice="" if met else "raise --min-duration-ms or --min-query-count",
            source="loadgen",
        )
    ]


def _say(stopping: EarlyStopping) -> str:
    late = "over the limit" if stopping.unit != "queries" else "without a good answer"
    seen = f"{stopping.count} {stopping.unit}, {stopping.overlatency_count} {late}"
    if stopping.estimate_ns is not None:
        seen += f", estimate {say_ns(stopping.estimate_ns)}"
    return seen


def token_answers(settings: Settings, tokens: TokenFigures) -> Finding:
    """Whether every completed answer has what the token rules measure."""
    faults = [
        f"{say_count(count, 'answer')} {what}"
        for count, what in (
            (tokens.unstarted_count, "without a first token"),
            (tokens.uncounted_count, "without a count of tokens"),
            (tokens.short_count, "of one token, which has no time per token"),
        )
        if count
    ]
    streams = "" if SCENARIOS[settings.scenario].pulled else "; see that the answers are streamed"
    return Finding(
        name="token_answers",
        met=not faults,
        measured="; ".join(faults) or f"{tokens.token_count} tokens, all counted",
        required="every answer has a first token and two or more in all",
        advice="" if not faults else f"LoadGen logs an error for each{streams}: how-to/llm.md",
    )

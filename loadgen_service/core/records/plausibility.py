"""Records that no honest worker writes: other instants than the plan's, answers before questions.

Counts them, a reason each; the verdict names them. Corrects and drops nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.core.records.columns import NEVER, Status
from loadgen_service.core.records.request_table import (
    BoolArray,
    RequestTable,
    has_planned_instants,
)
from loadgen_service.core.stats.percentiles import pieces_of

NOT_THE_PLANS: Final = "recorded with a due instant that is not the plan's"
OUT_OF_ORDER: Final = "recorded with instants in an order that cannot be"
OTHER_SUT: Final = "recorded of a SUT that the run does not have"
CONTRADICTORY: Final = "recorded as completed with the code of a failure"
NEGATIVE_TOKENS: Final = "recorded with fewer than no tokens"


def implausible_rows(plan: SeriesPlan, table: RequestTable, sut_count: int) -> dict[str, int]:
    """How many recorded requests are wrong, by reason; reasons without one are left out.

    ``sut_count``: SUTs of the run; 0: not known.
    """
    counts: dict[str, int] = {}
    for piece in pieces_of(len(table)):
        for reason, wrong in _wrong_in(plan, table, sut_count, piece).items():
            found = int(np.count_nonzero(wrong))
            if found:
                counts[reason] = counts.get(reason, 0) + found
    return counts


def _wrong_in(
    plan: SeriesPlan, table: RequestTable, sut_count: int, piece: slice
) -> dict[str, BoolArray]:
    status = table.status[piece]
    done = status == Status.COMPLETED
    recorded = done | (status == Status.FAILED) | (status == Status.TIMED_OUT)
    suts = table.sut_index[piece]
    wrong = {
        OUT_OF_ORDER: _is_out_of_order(table, piece, done, recorded),
        CONTRADICTORY: done & (table.code[piece] != 0),
        NEGATIVE_TOKENS: recorded & (table.token_count[piece] < 0),
    }
    if sut_count:
        wrong[OTHER_SUT] = recorded & ((suts < 0) | (suts >= sut_count))
    if has_planned_instants(plan) and len(plan.scheduled_ns):
        queries = table.row[piece] // plan.requests_per_query
        due = plan.scheduled_ns[queries % len(plan.scheduled_ns)]
        wrong[NOT_THE_PLANS] = recorded & (table.scheduled_ns[piece] != due)
    return wrong


def _is_out_of_order(
    table: RequestTable, piece: slice, done: BoolArray, recorded: BoolArray
) -> BoolArray:
    """An answer before its issue, a latency below zero, a completed request without an instant."""
    issued, completed = table.issued_ns[piece], table.completed_ns[piece]
    first = table.first_response_ns[piece]
    answered = recorded & (completed != NEVER)
    wrong: BoolArray = answered & ((completed < issued) | (completed < table.scheduled_ns[piece]))
    wrong |= answered & (first != NEVER) & ((first < issued) | (first > completed))
    wrong |= recorded & (issued != NEVER) & (issued < table.released_ns[piece])
    wrong |= done & ((completed < 0) | (issued < 0))
    return wrong

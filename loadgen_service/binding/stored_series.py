"""A series' records and answers as the durable batches that results are made from. Blocking."""

from __future__ import annotations

from typing import Final

import numpy as np
from isal.isal_zlib import crc32
from loadgen_proto import loadgen_pb2 as pb
from tritonclient.grpc import service_pb2

from loadgen_service.binding.paced_series import PacedSeries
from loadgen_service.core.plan.plan import SeriesPlan
from loadgen_service.service.storage.run_directory import RunDirectory
from loadgen_service.service.storage.segments import Segment

ROWS_A_BATCH: Final = 1 << 16
RESPONSES_A_BATCH: Final = 1 << 12
OUTPUT_NAME: Final = "data"


def store_series(directory: RunDirectory, plan: SeriesPlan, series: PacedSeries) -> None:
    """Write one segment, as the collector would have. Raises OSError."""
    segment = Segment(directory.segment(plan.spec.index, 0))
    try:
        for batch in (*_records(plan, series), *_responses(plan, series)):
            segment.append(batch.SerializeToString())
        segment.sync()
    finally:
        segment.close()


def _records(plan: SeriesPlan, series: PacedSeries) -> list[pb.Batch]:
    columns = series.columns()
    batches = []
    for start in range(0, len(columns["row"]), ROWS_A_BATCH):
        pieces = [
            pb.Column(name=name, content=column[start : start + ROWS_A_BATCH].tobytes())
            for name, column in columns.items()
        ]
        crc = 0
        for piece in pieces:
            crc = crc32(piece.content, crc)
        count = len(columns["row"][start : start + ROWS_A_BATCH])
        records = pb.RecordBatch(
            series_index=plan.spec.index, count=count, columns=pieces, crc32=crc
        )
        batches.append(pb.Batch(records=records))
    return batches


def _responses(plan: SeriesPlan, series: PacedSeries) -> list[pb.Batch]:
    batches = []
    for start in range(0, len(series.responses), RESPONSES_A_BATCH):
        part = series.responses[start : start + RESPONSES_A_BATCH]
        messages = [_message(content) for _, content in part]
        row = np.array([position for position, _ in part], "<i8").tobytes()
        length = np.array([len(message) for message in messages], "<i8").tobytes()
        content = b"".join(messages)
        responses = pb.ResponseBatch(
            series_index=plan.spec.index,
            count=len(part),
            row=row,
            length=length,
            content=content,
            crc32=crc32(content, crc32(length, crc32(row))),
        )
        batches.append(pb.Batch(responses=responses))
    return batches


def _message(content: bytes) -> bytes:
    """A script's bytes in the envelope in which every kept response lies."""
    response = service_pb2.ModelInferResponse()
    response.outputs.add(name=OUTPUT_NAME, datatype="UINT8", shape=[len(content)])
    response.raw_output_contents.append(content)
    serialised: bytes = response.SerializeToString()
    return serialised

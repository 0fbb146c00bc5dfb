"""Every limit of the wire, with its reason; the first group may be changed by a caller."""

from __future__ import annotations

from typing import Final

# gRPC's own default is 4 MiB; batches of images are larger.
MAX_MESSAGE_BYTES: Final = 64 << 20
# One connection's calls in one burst; past it a client waits and a stream is refused.
MAX_CONCURRENT_STREAMS: Final = 1 << 16
MAX_REQUEST_HEADER_BYTES: Final = 16 << 10
# Error texts come in headers, so a client takes more of them than a server.
MAX_RESPONSE_HEADER_BYTES: Final = 64 << 10
# A header block of up to as many times that fails its call alone; a larger one the connection.
HEADER_BYTES_FACTOR: Final = 8
# Whole tensors in one frame: fewer pieces on both sides.
MAX_SERVER_FRAME_BYTES: Final = 1 << 20
# Messages that are not whole yet, over all streams of a connection.
MAX_HELD_BYTES: Final = 1 << 30
# Streams reset, by the client or for what it did, beyond those answered: deadlines passing in a
# stall are honest, opening and resetting without end is an attack (CVE-2023-44487, CVE-2025-8671).
MAX_RESETS: Final = 20_000

# Our connection window. Messages are handed on at once, so the window protects nothing that
# the message limit and the shell's read pause do not; a large one costs few WINDOW_UPDATEs.
CONNECTION_WINDOW_BYTES: Final = 1 << 30
# gRPC servers refuse more request metadata than 8 to 16 KiB; one frame always holds this.
MAX_REQUEST_BLOCK_BYTES: Final = 16_000
# A status text past it is cut, so that one frame holds the trailers.
MAX_STATUS_TEXT_BYTES: Final = 2_048
# Pieces from this size on are written as they are; smaller ones are joined, which is cheaper
# than one more entry in the kernel's vector.
LARGE_PIECE_BYTES: Final = 16_384
# Header blocks (and their bytes) and lengths of messages remembered by a connection; past it all
# are forgotten, so that changing values cannot fill the memory.
REMEMBERED_BLOCKS: Final = 1_024
REMEMBERED_BLOCK_BYTES: Final = 1 << 18
REMEMBERED_SIZES: Final = 4_096
# Streams that we reset and whose frames may still be on their way: those are no fault.
REMEMBERED_RESETS: Final = 1_024
# Missing bytes of a DATA frame from which on it is read in place: below it a copy costs less than
# one more read.
IN_PLACE_BYTES_MIN: Final = 65_536

"""The h2 library as the judge of our bytes, in both directions."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import h2.settings
import pytest
from grpc_wire.client import DONE, MESSAGE, ROOM, ClientConnection
from grpc_wire.events import CANCELLED, CLOSED, REQUEST
from grpc_wire.messages import frame_message
from grpc_wire.server import ServerConnection
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_pair import ANSWER_FIELDS, HEADERS, PATH, output, request_fields


def judge(client_side: bool, settings: dict | None) -> h2.connection.H2Connection:
    config = h2.config.H2Configuration(client_side=client_side, header_encoding="utf-8")
    connection = h2.connection.H2Connection(config=config)
    connection.local_settings = h2.settings.Settings(
        client=client_side, initial_values={**connection.local_settings, **(settings or {})}
    )
    connection.max_inbound_frame_size = connection.local_settings.max_frame_size
    connection.initiate_connection()
    return connection


class H2Server:
    """A gRPC server on h2 that echoes, in pieces as its flow control allows."""

    def __init__(self, settings: dict | None = None) -> None:
        self.h2 = judge(client_side=False, settings=settings)
        self.headers: dict[int, dict[str, str]] = {}
        self.bodies: dict[int, bytes] = {}
        self.waiting: dict[int, bytes] = {}
        self.resets: dict[int, int] = {}

    def receive(self, content: bytes) -> bytes:
        for event in self.h2.receive_data(content):
            if isinstance(event, h2.events.RequestReceived):
                self.headers[event.stream_id] = dict(event.headers)
                self.bodies[event.stream_id] = b""
            elif isinstance(event, h2.events.DataReceived):
                self.bodies[event.stream_id] += event.data
                length = event.flow_controlled_length
                self.h2.acknowledge_received_data(length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.h2.send_headers(event.stream_id, ANSWER_FIELDS)
                self.waiting[event.stream_id] = self.bodies[event.stream_id]
            elif isinstance(event, h2.events.StreamReset):
                self.resets[event.stream_id] = event.error_code
                self.waiting.pop(event.stream_id, None)
        self._send()
        return self.h2.data_to_send()

    def _send(self) -> None:
        for stream_id, body in list(self.waiting.items()):
            while body:
                room = self.h2.local_flow_control_window(stream_id)
                length = min(len(body), room, self.h2.max_outbound_frame_size)
                if length <= 0:
                    break
                self.h2.send_data(stream_id, body[:length])
                body = body[length:]
            self.waiting[stream_id] = body
            if not body:
                self.h2.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
                del self.waiting[stream_id]


def talk(client: ClientConnection, server: H2Server) -> list:
    events: list = []
    down = server.receive(b"")
    while True:
        if down:
            events += client.receive(down)
        up = output(client)
        down = server.receive(up) if up else b""
        if not down:
            return events


def test_h2_reads_our_requests_and_we_read_its_answers() -> None:
    client, server = ClientConnection(), H2Server()
    client.start()
    talk(client, server)
    for turn in range(3):
        for key in range(20):
            assert client.call(key, HEADERS, frame_message(b"m%d" % key))
        events = talk(client, server)
        assert events == [(DONE, key, 0, b"m%d" % key, "") for key in range(20)], turn
    first = server.headers[1]
    assert first == server.headers[119]
    assert first[":path"] == PATH
    assert first["te"] == "trailers"


@given(
    window=st.integers(0, 900),
    later=st.integers(100, 900),
    frame_bytes=st.sampled_from([16_384, 20_000]),
    streams=st.integers(1, 5),
    sizes=st.lists(st.integers(0, 1_500), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_our_requests_keep_within_any_settings_of_h2(
    window: int, later: int, frame_bytes: int, streams: int, sizes: list[int]
) -> None:
    given_settings = {
        SettingCodes.INITIAL_WINDOW_SIZE: window,
        SettingCodes.MAX_FRAME_SIZE: frame_bytes,
        SettingCodes.MAX_CONCURRENT_STREAMS: streams,
    }
    client, server = ClientConnection(), H2Server(given_settings)
    client.start()
    events = talk(client, server)
    assert client.room == streams
    pending = dict(enumerate(sizes))
    for _ in range(200):
        for key, size in list(pending.items()):
            if client.call(key, HEADERS, frame_message(bytes(size))):
                del pending[key]
        events += talk(client, server)
        if not pending and not client.open_count:
            break
        server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: later})
        later = 100_000
    done = sorted(event[1:4] for event in events if event[0] == DONE)
    assert done == [(key, 0, bytes(size)) for key, size in enumerate(sizes)]


def test_h2_takes_our_cancel() -> None:
    client, server = ClientConnection(), H2Server({SettingCodes.INITIAL_WINDOW_SIZE: 10})
    client.start()
    talk(client, server)
    client.call(0, HEADERS, frame_message(bytes(1_000)))
    server.h2.receive_data(output(client))
    client.cancel(0)
    assert talk(client, server) == []
    assert server.resets == {1: 8}


@pytest.mark.parametrize("frame_bytes", [16_384, 100_000, (1 << 24) - 1])
def test_h2_reads_our_large_messages(frame_bytes: int) -> None:
    settings = {SettingCodes.MAX_FRAME_SIZE: frame_bytes}
    client, server = ClientConnection(max_frame_bytes=frame_bytes), H2Server(settings)
    client.start()
    talk(client, server)
    message = bytes(range(250)) * 1_000
    assert client.call(0, HEADERS, frame_message(message))
    assert not client.call(1, HEADERS, frame_message(message))  # the window is full
    assert talk(client, server) == [(ROOM,), (DONE, 0, 0, message, "")]


@pytest.mark.parametrize("padding", [0, 1, 255])
def test_padded_data_and_large_header_blocks_of_h2(padding: int) -> None:
    client, server = ClientConnection(), H2Server()
    client.start()
    talk(client, server)
    client.call(0, HEADERS, frame_message(b"m"), streaming=True)
    server.h2.receive_data(output(client))
    server.h2.send_headers(1, [*ANSWER_FIELDS, ("x-long", "~" * 30_000)])  # CONTINUATION
    server.h2.send_data(1, frame_message(b"a"), pad_length=padding)
    server.h2.send_headers(1, [("grpc-status", "0")], end_stream=True)
    assert client.receive(server.h2.data_to_send()) == [
        (MESSAGE, 0, b"a"),
        (DONE, 0, 0, None, ""),
    ]


class H2Client:
    """A gRPC client on h2: opens calls, sends as its flow control allows, keeps the answers."""

    def __init__(self, settings: dict | None = None) -> None:
        self.h2 = judge(client_side=True, settings=settings)
        self.waiting: dict[int, bytes] = {}
        self.bodies: dict[int, bytes] = {}
        self.headers: dict[int, list] = {}
        self.ended: set[int] = set()
        self.goaways: list = []

    def call(self, body: bytes, fields: list | None = None) -> int:
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, fields or request_fields())
        self.waiting[stream_id] = body
        self.bodies[stream_id] = b""
        self.headers[stream_id] = []
        return stream_id

    def exchange(self, server: ServerConnection) -> list:
        events: list = []
        while True:
            self._send()
            up = self.h2.data_to_send()
            events += server.receive(up) if up else []
            down = output(server)
            for event in self.h2.receive_data(down) if down else ():
                self._on(event)
            if not up and not down:
                return events

    def _on(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
            self.headers[event.stream_id].append(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.ended.add(event.stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.goaways.append(event)

    def _send(self) -> None:
        for stream_id, body in list(self.waiting.items()):
            room = self.h2.local_flow_control_window(stream_id)
            length = min(len(body), room, self.h2.max_outbound_frame_size)
            self.h2.send_data(stream_id, body[:length], end_stream=length == len(body))
            self.waiting[stream_id] = body[length:]
            if length == len(body):
                del self.waiting[stream_id]


@given(
    window=st.integers(0, 900),
    later=st.integers(100, 900),
    limit=st.integers(1, 6),
    sizes=st.lists(st.integers(0, 1_500), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_our_answers_keep_within_any_settings_of_h2(
    window: int, later: int, limit: int, sizes: list[int]
) -> None:
    server = ServerConnection(max_concurrent_streams=max(limit, len(sizes)))
    server.start()
    client = H2Client({SettingCodes.INITIAL_WINDOW_SIZE: window})
    client.exchange(server)
    stream_ids = [client.call(frame_message(bytes(size))) for size in sizes]
    events = client.exchange(server)
    for event in events:
        if event[0] == REQUEST:
            server.respond(event[1], frame_message(event[3]))
    client.exchange(server)
    for value in (later, 1 << 20):
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: value})
        client.exchange(server)
    assert client.ended == set(stream_ids)
    for stream_id, size in zip(stream_ids, sizes, strict=True):
        assert client.bodies[stream_id] == frame_message(bytes(size))
        first, last = client.headers[stream_id]
        assert first == dict(ANSWER_FIELDS)
        assert last == {"grpc-status": "0"}
    assert server.open_count == 0


def test_h2_reads_our_errors() -> None:
    server = ServerConnection()
    server.start()
    client = H2Client()
    client.exchange(server)
    client.call(frame_message(b"m"), [*request_fields(), ("x-changing", "1")])
    client.call(frame_message(b"m"), [*request_fields(), ("x-changing", "2")])
    events = client.exchange(server)
    assert [dict(event[4]) for event in events] == [{"x-changing": "1"}, {"x-changing": "2"}]
    server.finish(1, 5, "né")
    client.exchange(server)
    assert client.headers[1][0]["grpc-message"] == "n%C3%A9"
    server.respond(3, frame_message(b"a"))
    client.exchange(server)
    assert client.bodies[3] == frame_message(b"a")


def test_h2_reads_our_goaway() -> None:
    server = ServerConnection()
    server.start()
    client = H2Client()
    client.exchange(server)
    server.goaway()
    client._on(client.h2.receive_data(output(server)[:17])[0])  # h2 ends at the first GOAWAY
    assert [event.last_stream_id for event in client.goaways] == [(1 << 31) - 1]


def test_we_take_the_cancel_and_the_goaway_of_h2() -> None:
    server = ServerConnection()
    server.start()
    client = H2Client()
    client.call(frame_message(b"m"))  # before our SETTINGS were seen
    client.call(frame_message(b"m"))
    client.exchange(server)
    client.h2.reset_stream(1, 8)
    assert client.exchange(server) == [(CANCELLED, 1)]
    client.h2.close_connection()
    assert client.exchange(server) == []
    assert server.respond(3, frame_message(b"a"))
    assert server.eof()[-1][0] == CLOSED

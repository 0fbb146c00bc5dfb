/* A KServe v2 server on nghttp2 (h2c): answers every ModelInfer at once with a ready tensor.
 *
 * A server in C that shares no code with this project, for the rows about the generator. It repeats
 * the request's id, as KServe v2 asks. One thread, epoll, any number of connections.
 *
 * usage: nghttp2_server [--port 0] [--elements 1] [--sigma 0] [--streams 100000] [--service-us 0]
 *   --elements    FP32 values in an answer; with --sigma the median of log-normal counts
 *   --sigma       of the logarithm; the counts come from a fixed seed
 *   --streams     SETTINGS_MAX_CONCURRENT_STREAMS
 *   --service-us  time from the end of a request to its answer
 *
 * build: cc -O2 -o nghttp2_server nghttp2_server.c -lnghttp2 -lm
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { PREFIX_BYTES = 5, ID_BYTES_MAX = 256, READ_BYTES = 1 << 18, LENGTHS = 4096, EVENTS = 64 };

static uint64_t elements = 1, service_ns = 0;
static uint32_t stream_limit = 100000;
static double sigma = 0;
static uint64_t lengths[LENGTHS]; /* of the answers, in turn */
static size_t turn;

struct bytes {
  uint8_t *at;
  size_t size, room;
};

struct peer {
  nghttp2_session *session;
  int fd, is_waiting; /* is_waiting: for the socket to take more */
  struct call *calls;
  struct bytes out;
  size_t out_from;
};

struct call {
  struct peer *peer; /* NULL once the connection is gone */
  struct call *before, *after; /* of the same connection */
  struct call *next; /* in the queue of those that are served */
  int32_t stream_id;
  int is_queued;
  uint64_t due_ns;
  char method[64];
  struct bytes request, answer;
  size_t sent;
};

static struct call *first_due, **last_due = &first_due;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void append(struct bytes *to, const void *from, size_t size) {
  if (to->size + size > to->room) {
    to->room = 2 * (to->size + size) + 64;
    to->at = realloc(to->at, to->room);
    if (!to->at) die("realloc");
  }
  memcpy(to->at + to->size, from, size);
  to->size += size;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---------------------------------------------------------------- protobuf */
static void put_varint(struct bytes *to, uint64_t value) {
  uint8_t byte;
  for (; value > 127; value >>= 7) byte = (uint8_t)(value | 128), append(to, &byte, 1);
  byte = (uint8_t)value;
  append(to, &byte, 1);
}

static void put_field(struct bytes *to, int number, const void *content, size_t size) {
  put_varint(to, (uint64_t)number << 3 | 2);
  put_varint(to, size);
  append(to, content, size);
}

static void put_text(struct bytes *to, int number, const char *text) {
  put_field(to, number, text, strlen(text));
}

static int get_varint(const uint8_t **at, const uint8_t *end, uint64_t *value) {
  *value = 0;
  for (int shift = 0; *at < end && shift < 64; shift += 7) {
    uint8_t byte = *(*at)++;
    *value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return 1;
  }
  return 0;
}

/* The content of the last field `number` (length-delimited) of a message; 0 where it has none. */
static size_t find_field(const uint8_t *at, const uint8_t *end, uint64_t number, const uint8_t **found) {
  size_t found_bytes = 0;
  uint64_t tag, size;
  while (at < end && get_varint(&at, end, &tag)) {
    switch (tag & 7) {
    case 0:
      if (!get_varint(&at, end, &size)) return found_bytes;
      continue;
    case 1: size = 8; break;
    case 5: size = 4; break;
    case 2:
      if (!get_varint(&at, end, &size)) return found_bytes;
      break;
    default: return found_bytes;
    }
    if (size > (uint64_t)(end - at)) return found_bytes;
    if (tag == (number << 3 | 2)) *found = at, found_bytes = size;
    at += size;
  }
  return found_bytes;
}

static void put_tensor(struct bytes *to, int number, const char *name, int64_t rows, uint64_t columns) {
  struct bytes tensor = {0}, shape = {0};
  put_text(&tensor, 1, name);
  put_text(&tensor, 2, "FP32");
  put_varint(&shape, (uint64_t)rows);
  put_varint(&shape, columns);
  put_field(&tensor, 3, shape.at, shape.size);
  put_field(to, number, tensor.at, tensor.size);
  free(tensor.at);
  free(shape.at);
}

/* ---------------------------------------------------------------- answers */
/* Write the framed answer of a method; 0 where the server does not have it. */
static int make_answer(struct call *call) {
  const uint8_t *request = call->request.at, *end = request + call->request.size, *found = NULL;
  static const uint8_t nothing[PREFIX_BYTES], is_true[] = {8, 1};
  struct bytes *answer = &call->answer;
  if (call->request.size < PREFIX_BYTES || *request) return 0;
  request += PREFIX_BYTES;
  append(answer, nothing, PREFIX_BYTES);
  if (!strcmp(call->method, "ModelInfer")) {
    static uint8_t *zeros;
    static size_t zeros_bytes;
    uint64_t count = lengths[turn++ % LENGTHS];
    if (count * 4 > zeros_bytes) {
      free(zeros);
      zeros = calloc(count, 4);
      if (!zeros) die("calloc");
      zeros_bytes = count * 4;
    }
    put_text(answer, 1, "null");
    put_text(answer, 2, "1");
    size_t id_bytes = find_field(request, end, 3, &found);
    if (id_bytes) put_field(answer, 3, found, id_bytes < ID_BYTES_MAX ? id_bytes : ID_BYTES_MAX);
    put_tensor(answer, 5, "output", 1, count);
    put_field(answer, 6, zeros, count * 4);
  } else if (!strcmp(call->method, "ModelMetadata")) {
    size_t name_bytes = find_field(request, end, 1, &found);
    put_field(answer, 1, found, name_bytes);
    put_text(answer, 2, "1");
    put_text(answer, 3, "nghttp2");
    put_tensor(answer, 4, "input", -1, 16);
    put_tensor(answer, 5, "output", -1, elements);
  } else if (!strcmp(call->method, "ModelConfig")) {
    static const uint8_t batched[] = {4 << 3, 8}; /* max_batch_size */
    struct bytes config = {0};
    put_text(&config, 1, "null");
    append(&config, batched, sizeof batched);
    put_field(answer, 1, config.at, config.size);
    free(config.at);
  } else if (!strcmp(call->method, "ServerMetadata")) {
    put_text(answer, 1, "nghttp2_server");
    put_text(answer, 2, NGHTTP2_VERSION);
  } else if (strstr("ServerLive ServerReady ModelReady", call->method)) {
    append(answer, is_true, sizeof is_true);
  } else {
    return 0;
  }
  uint32_t size = htonl((uint32_t)(answer->size - PREFIX_BYTES));
  memcpy(answer->at + 1, &size, sizeof size);
  return 1;
}

#define HEADER(NAME, VALUE) \
  {(uint8_t *)NAME, (uint8_t *)VALUE, sizeof NAME - 1, sizeof VALUE - 1, NGHTTP2_NV_FLAG_NONE}

static ssize_t read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
                           uint32_t *flags, nghttp2_data_source *source, void *user) {
  static const nghttp2_nv trailers[] = {HEADER("grpc-status", "0")};
  struct call *call = source->ptr;
  size_t left = call->answer.size - call->sent, size = left < room ? left : room;
  (void)user;
  memcpy(to, call->answer.at + call->sent, size);
  call->sent += size;
  if (size == left) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(session, stream_id, trailers, 1)) return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
  return (ssize_t)size;
}

static void answer_call(struct call *call) {
  static const nghttp2_nv head[] = {HEADER(":status", "200"),
                                    HEADER("content-type", "application/grpc")};
  static const nghttp2_nv absent[] = {HEADER(":status", "200"),
                                      HEADER("content-type", "application/grpc"),
                                      HEADER("grpc-status", "12")};
  nghttp2_data_provider provider = {{.ptr = call}, read_answer};
  nghttp2_session *session = call->peer->session;
  int failed = make_answer(call) ? nghttp2_submit_response(session, call->stream_id, head, 2, &provider)
                                 : nghttp2_submit_response(session, call->stream_id, absent, 3, NULL);
  if (failed) nghttp2_submit_rst_stream(session, 0, call->stream_id, NGHTTP2_INTERNAL_ERROR);
}

/* ---------------------------------------------------------------- HTTP/2 */
static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  struct peer *peer = user;
  struct call *call = calloc(1, sizeof *call);
  if (!call) die("calloc");
  call->peer = peer;
  call->stream_id = frame->hd.stream_id;
  call->after = peer->calls;
  if (peer->calls) peer->calls->before = call;
  peer->calls = call;
  return nghttp2_session_set_stream_user_data(session, call->stream_id, call);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *user) {
  (void)flags, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (call && name_bytes == 5 && !memcmp(name, ":path", 5)) {
    const uint8_t *slash = memrchr(value, '/', value_bytes);
    size_t size = slash ? (size_t)(value + value_bytes - slash - 1) : 0;
    if (size && size < sizeof call->method) memcpy(call->method, slash + 1, size);
  }
  return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                   size_t size, void *user) {
  (void)flags, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, stream_id);
  if (call) append(&call->request, data, size);
  return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
  (void)user;
  if (frame->hd.type > NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!call) return 0;
  if (!service_ns) {
    answer_call(call);
    return 0;
  }
  call->due_ns = now_ns() + service_ns;
  call->is_queued = 1;
  *last_due = call;
  last_due = &call->next;
  return 0;
}

/* Take a call from its connection; one that is being served is freed when its turn comes. */
static void forget_call(struct call *call) {
  if (call->before) call->before->after = call->after;
  else call->peer->calls = call->after;
  if (call->after) call->after->before = call->before;
  call->peer = NULL;
  if (call->is_queued) return;
  free(call->request.at);
  free(call->answer.at);
  free(call);
}

static int on_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user) {
  (void)code, (void)user;
  struct call *call = nghttp2_session_get_stream_user_data(session, stream_id);
  if (call) forget_call(call);
  return 0;
}

/* ---------------------------------------------------------------- sockets */
static void watch(int epoll, struct peer *peer, int operation, int is_waiting) {
  struct epoll_event event = {.events = EPOLLIN | (is_waiting ? EPOLLOUT : 0), .data.ptr = peer};
  peer->is_waiting = is_waiting;
  if (epoll_ctl(epoll, operation, peer->fd, &event)) die("epoll_ctl");
}

/* Write what the session has to send; -1: the connection is over. */
static int flush(int epoll, struct peer *peer) {
  const uint8_t *piece;
  ssize_t size;
  while (peer->out.size < READ_BYTES && (size = nghttp2_session_mem_send(peer->session, &piece)) > 0)
    append(&peer->out, piece, (size_t)size);
  while (peer->out_from < peer->out.size) {
    size = write(peer->fd, peer->out.at + peer->out_from, peer->out.size - peer->out_from);
    if (size < 0) {
      if (errno != EAGAIN) return -1;
      if (!peer->is_waiting) watch(epoll, peer, EPOLL_CTL_MOD, 1);
      return 0;
    }
    peer->out_from += (size_t)size;
  }
  peer->out.size = peer->out_from = 0;
  if (nghttp2_session_want_write(peer->session)) return flush(epoll, peer);
  if (peer->is_waiting) watch(epoll, peer, EPOLL_CTL_MOD, 0);
  return nghttp2_session_want_read(peer->session) ? 0 : -1;
}

static void open_peer(int epoll, int listening, nghttp2_session_callbacks *callbacks) {
  int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
  if (fd < 0) return;
  struct peer *peer = calloc(1, sizeof *peer);
  if (!peer) die("calloc");
  peer->fd = fd;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (nghttp2_session_server_new(&peer->session, callbacks, peer)) die("nghttp2_session_server_new");
  nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, stream_limit};
  nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, &entry, 1);
  watch(epoll, peer, EPOLL_CTL_ADD, 0);
  flush(epoll, peer);
}

static void close_peer(struct peer *peer) {
  nghttp2_session_del(peer->session); /* tells nothing of the streams that are open */
  while (peer->calls) forget_call(peer->calls);
  close(peer->fd);
  free(peer->out.at);
  free(peer);
}

static int receive(int epoll, struct peer *peer) {
  static uint8_t buffer[READ_BYTES];
  ssize_t size = read(peer->fd, buffer, sizeof buffer);
  if (size < 0 && errno == EAGAIN) return 0;
  if (size <= 0 || nghttp2_session_mem_recv(peer->session, buffer, (size_t)size) < 0) return -1;
  return flush(epoll, peer);
}

static void serve_due(int epoll, int timer) {
  uint64_t now = now_ns();
  while (first_due && first_due->due_ns <= now) {
    struct call *call = first_due;
    first_due = call->next;
    if (!first_due) last_due = &first_due;
    call->is_queued = 0;
    if (!call->peer) {
      free(call->request.at);
      free(call);
      continue;
    }
    struct peer *peer = call->peer;
    answer_call(call);
    flush(epoll, peer); /* an error shows at the next read */
  }
  if (first_due) {
    struct itimerspec at = {.it_value = {(time_t)(first_due->due_ns / 1000000000u),
                                         (long)(first_due->due_ns % 1000000000u)}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
  }
}

static void draw_lengths(void) {
  srand48(20240607);
  for (size_t index = 0; index < LENGTHS; index++) {
    double normal = sqrt(-2 * log(1 - drand48())) * cos(2 * acos(-1) * drand48());
    double count = (double)elements * exp(sigma * normal);
    lengths[index] = count < 1 ? 1 : count > 1 << 22 ? 1 << 22 : (uint64_t)count;
  }
}

static int listen_on(uint16_t port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
  socklen_t size = sizeof at;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 511)) die("listen");
  getsockname(fd, (struct sockaddr *)&at, &size);
  printf("nghttp2_server ready on 127.0.0.1:%d\n", ntohs(at.sin_port));
  fflush(stdout);
  return fd;
}

static uint16_t read_options(int argc, char **argv) {
  uint16_t port = 0;
  for (int index = 1; index < argc; index += 2) {
    char *value = argv[index + 1], *end = "?";
    double number = value ? strtod(value, &end) : 0;
    if (*end || number < 0) goto usage;
    if (!strcmp(argv[index], "--port")) port = (uint16_t)number;
    else if (!strcmp(argv[index], "--elements")) elements = (uint64_t)number;
    else if (!strcmp(argv[index], "--sigma")) sigma = number;
    else if (!strcmp(argv[index], "--streams")) stream_limit = (uint32_t)number;
    else if (!strcmp(argv[index], "--service-us")) service_ns = (uint64_t)(number * 1000);
    else goto usage;
  }
  return port;
usage:
  fprintf(stderr, "usage: %s [--port N] [--elements N] [--sigma X] [--streams N] [--service-us N]\n", argv[0]);
  exit(2);
}

int main(int argc, char **argv) {
  uint16_t port = read_options(argc, argv);
  nghttp2_session_callbacks *callbacks;
  static struct peer listening, timer; /* addresses that tell the two descriptors */
  draw_lengths();
  signal(SIGPIPE, SIG_IGN);
  if (nghttp2_session_callbacks_new(&callbacks)) die("nghttp2_session_callbacks_new");
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  listening.fd = listen_on(port);
  timer.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  watch(epoll, &listening, EPOLL_CTL_ADD, 0);
  watch(epoll, &timer, EPOLL_CTL_ADD, 0);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int index = 0; index < count; index++) {
      struct peer *peer = events[index].data.ptr;
      uint64_t expired;
      if (peer == &listening) open_peer(epoll, listening.fd, callbacks);
      else if (peer == &timer) (void)!read(timer.fd, &expired, sizeof expired);
      else if ((events[index].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && receive(epoll, peer)) ||
               (events[index].events & EPOLLOUT && flush(epoll, peer)))
        close_peer(peer);
    }
    if (first_due) serve_due(epoll, timer.fd);
  }
}

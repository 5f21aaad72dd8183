/* SPDX-License-Identifier: Apache-2.0 */
/* The vsock device between a guest that the test plays and real Unix sockets. */
#include "driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#define RX 0u
#define TX 1u
#define EVENT 2u
#define QUEUE_SIZE 64u
/* Linux posts one page, less what its buffer head takes. */
#define RX_BYTES 3776u
#define TX_BYTES 65536u
#define GUEST_CREDIT (256u * 1024)
#define HEADER sizeof(struct virtio_vsock_hdr)
#define AGENT_PORT 52u
#define BULK_BYTES (64u << 20)
#define BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

struct packet {
    struct virtio_vsock_hdr header;
    uint8_t data[RX_BYTES];
};

struct fixture {
    struct driver driver;
    struct vsock_host host;
    int accepted_fd;         /* what host.accept hands out, once */
    uint32_t accepted_port;  /* and was asked for */
    uint32_t openings;       /* calls of host.opening */
    uint32_t answers;        /* and of host.answered */
    uint64_t tx[QUEUE_SIZE]; /* guest memory for packets, by descriptor */
    bool split_rx;           /* post header and payload as two buffers */
    int listener;
    char path[64];
    struct virtio_device *device;
};

/* One connection as the guest sees it. */
struct stream {
    struct fixture *f;
    uint32_t guest_port;
    uint32_t host_port;
    uint32_t sent;      /* by us */
    uint32_t forwarded; /* consumed by us */
    uint32_t peer_buffer;
    uint32_t peer_forwarded;
};

/* For descriptors: unlike cmocka's assertions, analysers understand it. */
static int valid(int fd)
{
    if (fd >= 0)
        return fd;
    perror("vsock_test");
    abort();
}

static int accept_host(struct vsock_host *host, uint32_t port)
{
    struct fixture *f = container_of(host, struct fixture, host);
    int fd = f->accepted_fd;
    f->accepted_port = port;
    f->accepted_fd = -1;
    return fd < 0 ? -ECONNREFUSED : fd;
}

static void count_opening(struct vsock_host *host)
{
    container_of(host, struct fixture, host)->openings++;
}

static void count_answer(struct vsock_host *host)
{
    container_of(host, struct fixture, host)->answers++;
}

static void post_rx(struct fixture *f, uint64_t address)
{
    struct driver_buffer split[] = {{address, HEADER, true}, {address + HEADER, RX_BYTES - HEADER, true}};
    struct driver_buffer whole = {address, RX_BYTES, true};
    if (f->split_rx)
        driver_add(&f->driver, RX, split, 2);
    else
        driver_add(&f->driver, RX, &whole, 1);
}

static void post_all_rx(struct fixture *f)
{
    for (uint32_t i = 0; i < QUEUE_SIZE / 2; i++)
        post_rx(f, driver_allocate(&f->driver, RX_BYTES));
}

static void post_events(struct fixture *f)
{
    for (uint32_t i = 0; i < 8; i++) {
        struct driver_buffer buffer = {driver_allocate(&f->driver, 4), 4, true};
        driver_add(&f->driver, EVENT, &buffer, 1);
    }
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    driver_open(&f->driver, 16u << 20);
    f->host = (struct vsock_host){.accept = accept_host, .opening = count_opening, .answered = count_answer};
    f->accepted_fd = -1;
    assert_int_equal(vsock_create(&f->device, &f->driver.machine, DRIVER_GSI, &f->host, NULL), 0);
    for (uint32_t i = 0; i < QUEUE_SIZE; i++)
        f->tx[i] = driver_allocate(&f->driver, HEADER + TX_BYTES);
    driver_start(&f->driver, f->device,
                 DRIVER_FEATURE(VIRTIO_RING_F_EVENT_IDX) | DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
                 QUEUE_SIZE);
    post_all_rx(f);
    post_events(f);

    snprintf(f->path, sizeof f->path, "/tmp/forkd-vsock-test-%d", getpid());
    unlink(f->path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    f->listener = valid(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(f->listener, 1024), 0);
    assert_int_equal(vsock_listen(f->device, f->listener, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->device->ops->close(f->device);
    driver_close(&f->driver);
    unlink(f->path);
    free(f);
    return 0;
}

/* --- The guest --- */

static void send_raw(struct fixture *f, const struct virtio_vsock_hdr *header, const void *payload,
                     uint32_t length)
{
    struct driver_queue *queue = &f->driver.queues[TX];
    uint16_t head;
    uint32_t used;
    for (int i = 0; queue->free_count < 2; i++) {
        assert_true(i < 1000);
        while (driver_collect(&f->driver, TX, &head, &used)) {
        }
        driver_run(&f->driver, 0);
    }
    uint64_t at = f->tx[queue->free[queue->free_count - 1]];
    memcpy(driver_at(&f->driver, at), header, sizeof *header);
    if (length > 0)
        memcpy(driver_at(&f->driver, at + HEADER), payload, length);
    /* Header and payload apart, as Linux does it. */
    struct driver_buffer buffers[] = {{at, HEADER, false}, {at + HEADER, length, false}};
    driver_add(&f->driver, TX, buffers, length > 0 ? 2 : 1);
    driver_kick(&f->driver, TX);
    while (driver_collect(&f->driver, TX, &head, &used)) {
    }
}

static struct virtio_vsock_hdr header_of(const struct stream *s, uint16_t op, uint32_t flags, uint32_t length)
{
    return (struct virtio_vsock_hdr){.src_cid = VSOCK_GUEST_CID,
                                     .dst_cid = VSOCK_HOST_CID,
                                     .src_port = s->guest_port,
                                     .dst_port = s->host_port,
                                     .len = length,
                                     .type = VIRTIO_VSOCK_TYPE_STREAM,
                                     .op = op,
                                     .flags = flags,
                                     .buf_alloc = GUEST_CREDIT,
                                     .fwd_cnt = s->forwarded};
}

static void send_op(struct stream *s, uint16_t op, uint32_t flags)
{
    struct virtio_vsock_hdr header = header_of(s, op, flags, 0);
    send_raw(s->f, &header, NULL, 0);
}

static void send_bytes(struct stream *s, const void *data, uint32_t length)
{
    struct virtio_vsock_hdr header = header_of(s, VIRTIO_VSOCK_OP_RW, 0, length);
    send_raw(s->f, &header, data, length);
    s->sent += length;
}

/* Take one packet if there is one; its buffer goes back to the device when `repost` is set. */
static bool take_packet(struct fixture *f, struct packet *packet, bool repost)
{
    uint16_t head;
    uint32_t length;
    const struct driver_queue *queue = &f->driver.queues[RX];
    const struct vring_used *used = driver_at(&f->driver, queue->used);
    if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == queue->used_index)
        return false;
    uint64_t at =
        driver_buffer_of(&f->driver, RX, (uint16_t)used->ring[queue->used_index % queue->size].id, 0).address;
    assert_true(driver_collect(&f->driver, RX, &head, &length));
    assert_in_range(length, HEADER, RX_BYTES);
    memcpy(&packet->header, driver_at(&f->driver, at), HEADER);
    assert_int_equal(packet->header.len, length - HEADER);
    memcpy(packet->data, driver_at(&f->driver, at + HEADER), packet->header.len);
    assert_int_equal(packet->header.src_cid, VSOCK_HOST_CID);
    assert_int_equal(packet->header.dst_cid, VSOCK_GUEST_CID);
    if (repost) {
        post_rx(f, at);
        driver_write(&f->driver, VIRTIO_MMIO_QUEUE_NOTIFY, RX);
    }
    return true;
}

/* Wait for the next packet. */
static void receive(struct fixture *f, struct packet *packet)
{
    for (int i = 0; !take_packet(f, packet, true); i++) {
        assert_true(i < 200);
        driver_run(&f->driver, 10);
    }
}

static void expect_op(struct fixture *f, struct packet *packet, uint16_t op)
{
    receive(f, packet);
    assert_int_equal(packet->header.op, op);
}

static void expect_silence(struct fixture *f)
{
    struct packet packet;
    for (int i = 0; i < 5; i++)
        driver_run(&f->driver, 1);
    assert_false(take_packet(f, &packet, true));
}

/* --- The host --- */

static int connect_client(struct fixture *f)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    int fd = valid(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail_msg("connect: %s", strerror(errno));
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* Read, letting the device work, until `length` bytes or end of file; returns the bytes. */
static size_t read_all(struct fixture *f, int fd, void *to, size_t length)
{
    size_t done = 0;
    for (int idle = 0; done < length && idle < 200;) {
        ssize_t count = read(fd, (char *)to + done, length - done);
        if (count == 0)
            break;
        if (count > 0) {
            done += (size_t)count;
            idle = 0;
            continue;
        }
        assert_int_equal(errno, EAGAIN);
        driver_run(&f->driver, 5);
        idle++;
    }
    return done;
}

static void expect_text(struct fixture *f, int fd, const char *text)
{
    char got[256];
    assert_int_equal(read_all(f, fd, got, strlen(text)), strlen(text));
    assert_memory_equal(got, text, strlen(text));
}

static void expect_eof(struct fixture *f, int fd)
{
    char byte;
    for (int i = 0; i < 200; i++) {
        ssize_t count = read(fd, &byte, 1);
        if (count == 0)
            return;
        assert_int_equal(count, -1);
        assert_int_equal(errno, EAGAIN);
        driver_run(&f->driver, 5);
    }
    fail_msg("no end of file");
}

/* Answer the REQUEST that is about to come. */
static void accept_request(struct fixture *f, struct stream *s)
{
    struct packet packet;
    expect_op(f, &packet, VIRTIO_VSOCK_OP_REQUEST);
    *s = (struct stream){.f = f,
                         .guest_port = packet.header.dst_port,
                         .host_port = packet.header.src_port,
                         .peer_buffer = packet.header.buf_alloc};
    send_op(s, VIRTIO_VSOCK_OP_RESPONSE, 0);
}

/* A client that is connected to the agent's port; the guest's side is *s. */
static int open_stream(struct fixture *f, struct stream *s)
{
    int fd = connect_client(f);
    char greeting[32];
    say(fd, "CONNECT 52\n");
    accept_request(f, s);
    assert_int_equal(s->guest_port, AGENT_PORT);
    snprintf(greeting, sizeof greeting, "OK %u\n", s->host_port);
    expect_text(f, fd, greeting);
    return fd;
}

/* --- Connecting --- */

static void configuration_has_the_guest_cid(void **state)
{
    struct fixture *f = *state;
    uint64_t cid = 0;
    virtio_mmio_read(f->device, VIRTIO_MMIO_CONFIG, &cid, sizeof cid);
    assert_int_equal(cid, VSOCK_GUEST_CID);
}

static void connect_line_opens_a_stream(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    assert_true(s.host_port >= 0x40000000u);
    say(fd, "ping");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(packet.header.len, 4);
    assert_memory_equal(packet.data, "ping", 4);
    send_bytes(&s, "pong", 4);
    expect_text(f, fd, "pong");
    close(fd);
}

static void line_in_pieces_is_put_together(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    int fd = connect_client(f);
    const char *pieces[] = {"CON", "NECT 4", "294967", "295\n"};
    for (size_t i = 0; i < 4; i++) {
        expect_silence(f);
        say(fd, pieces[i]);
    }
    expect_op(f, &packet, VIRTIO_VSOCK_OP_REQUEST);
    assert_int_equal(packet.header.dst_port, UINT32_MAX);
    close(fd);
}

static void bytes_behind_the_line_reach_the_guest(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = connect_client(f);
    say(fd, "CONNECT 52\nhello");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    accept_request(f, &s);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(packet.data, "hello", 5);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(packet.header.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    close(fd);
}

static void broken_lines_are_closed(void **state)
{
    struct fixture *f = *state;
    const char *lines[] = {"CONNECT\n",     "CONNECT \n",           "connect 52\n",          "CONNECT x\n",
                           "CONNECT -1\n",  "CONNECT 4294967296\n", "CONNECT 0000000000052", "\n",
                           "CONNECT 5 2\n", "CONNECT 52\r\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        int fd = connect_client(f);
        say(fd, lines[i]);
        expect_eof(f, fd);
        close(fd);
    }
    expect_silence(f);
}

static void refused_request_is_closed(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    int fd = connect_client(f);
    say(fd, "CONNECT 99\n");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_REQUEST);
    struct stream s = {.f = f, .guest_port = 99, .host_port = packet.header.src_port};
    send_op(&s, VIRTIO_VSOCK_OP_RST, 0);
    expect_eof(f, fd);
    close(fd);
}

static void client_that_leaves_early_resets_the_request(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    int fd = connect_client(f);
    say(fd, "CONNECT 52\n");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_REQUEST);
    close(fd);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_silence(f);
}

static void descriptor_is_connected_without_a_greeting(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(vsock_connect(f->device, pair[1], 1024, NULL), 0);
    accept_request(f, &s);
    assert_int_equal(s.guest_port, 1024);
    say(pair[0], "x");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    send_bytes(&s, "y", 1);
    expect_text(f, pair[0], "y");
    close(pair[0]);
}

static void connect_before_the_driver_is_refused(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(vsock_connect(f->device, pair[1], 1024, NULL), -EAGAIN);
    char byte;
    assert_int_equal(read(pair[0], &byte, 1), 0);
    close(pair[0]);
    int fd = connect_client(f);
    say(fd, "CONNECT 52\n");
    expect_eof(f, fd);
    close(fd);
}

static void guest_connects_to_the_host(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    f->accepted_fd = pair[1];
    struct stream s = {.f = f, .guest_port = 7000, .host_port = 80};
    send_op(&s, VIRTIO_VSOCK_OP_REQUEST, 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(packet.header.src_port, 80);
    assert_int_equal(packet.header.dst_port, 7000);
    assert_int_equal(f->accepted_port, 80);
    send_bytes(&s, "GET", 3);
    expect_text(f, pair[0], "GET");
    say(pair[0], "200");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(packet.data, "200", 3);
    close(pair[0]);
}

static void host_hears_of_its_own_connections_and_their_answers(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int bad = connect_client(f);
    say(bad, "CONNECT x\n");
    expect_eof(f, bad);
    assert_int_equal(f->openings, 0);
    int fd = open_stream(f, &s);
    assert_int_equal(f->openings, 1);
    say(fd, "ping");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(f->answers, 0);
    send_bytes(&s, "po", 2);
    assert_int_equal(f->answers, 1);
    send_bytes(&s, "ng", 2);
    expect_text(f, fd, "pong");
    assert_int_equal(f->answers, 1);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(vsock_connect(f->device, pair[1], AGENT_PORT, NULL), 0);
    assert_int_equal(f->openings, 2);
    close(pair[0]);
    close(bad);
    close(fd);
}

static void host_does_not_hear_of_the_guests_connections(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->accepted_fd = pair[1];
    struct stream s = {.f = f, .guest_port = 1000, .host_port = 5};
    send_op(&s, VIRTIO_VSOCK_OP_REQUEST, 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RESPONSE);
    send_bytes(&s, "hello", 5);
    expect_text(f, pair[0], "hello");
    assert_int_equal(f->openings, 0);
    assert_int_equal(f->answers, 0);
    close(pair[0]);
}

static void guest_connecting_to_a_closed_port_is_reset(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    struct stream s = {.f = f, .guest_port = 7000, .host_port = 80};
    send_op(&s, VIRTIO_VSOCK_OP_REQUEST, 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(packet.header.src_port, 80);
    assert_int_equal(packet.header.dst_port, 7000);
}

/* --- Closing --- */

static void host_half_close_leaves_the_other_direction(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    say(fd, "request");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(packet.header.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    expect_silence(f);
    send_bytes(&s, "reply", 5);
    send_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
    expect_text(f, fd, "reply");
    expect_eof(f, fd);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    close(fd);
}

static void guest_half_close_leaves_the_other_direction(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    send_bytes(&s, "bye", 3);
    send_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    expect_text(f, fd, "bye");
    expect_eof(f, fd);
    say(fd, "still here");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(packet.data, "still here", 10);
    close(fd);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_true(packet.header.flags & VIRTIO_VSOCK_SHUTDOWN_SEND);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_silence(f);
}

static void guest_that_stops_reading_breaks_the_clients_pipe(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    int fd = open_stream(f, &s);
    send_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
    driver_run(&f->driver, 5);
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
    send_bytes(&s, "more", 4);
    expect_text(f, fd, "more");
    close(fd);
}

static void client_that_closes_leaves_its_last_words(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    say(fd, "fire and forget");
    close(fd);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    assert_memory_equal(packet.data, "fire and forget", 15);
    /* What the socket can no longer take and what it will no longer send may come in one packet or two. */
    uint32_t flags = 0;
    do {
        expect_op(f, &packet, VIRTIO_VSOCK_OP_SHUTDOWN);
        flags |= packet.header.flags;
    } while (flags != BOTH);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_silence(f);
}

static void client_gone_while_the_guest_writes_is_told(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    close(fd);
    send_bytes(&s, "nobody", 6);
    uint32_t flags = 0;
    do {
        expect_op(f, &packet, VIRTIO_VSOCK_OP_SHUTDOWN);
        flags |= packet.header.flags;
    } while (flags != BOTH);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
}

/* The guest sends as much as its credit allows and closes at once, while the client has not read a byte. */
static void close_with_pending_data_loses_nothing(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    int fd = open_stream(f, &s);
    uint8_t *data = malloc(s.peer_buffer);
    uint8_t *got = malloc(s.peer_buffer + 1);
    assert_true(data != NULL && got != NULL);
    /* So little goes into the socket that most of it has to wait. */
    for (uint32_t i = 0; i < s.peer_buffer; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    for (uint32_t at = 0; at < s.peer_buffer; at += 32768)
        send_bytes(&s, data + at, 32768);
    say(fd, "unread by the guest");
    send_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN, BOTH);
    send_op(&s, VIRTIO_VSOCK_OP_RST, 0);
    assert_int_equal(read_all(f, fd, got, s.peer_buffer + 1), s.peer_buffer);
    assert_memory_equal(got, data, s.peer_buffer);
    expect_eof(f, fd);
    free(data);
    free(got);
    close(fd);
}

static void driver_reset_ends_every_connection(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    int fd = open_stream(f, &s);
    int waiting = connect_client(f);
    say(waiting, "CONNECT 52\n");
    send_bytes(&s, "in the middle of it", 19);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, 0);
    expect_text(f, fd, "in the middle of it");
    expect_eof(f, fd);
    expect_eof(f, waiting);
    close(fd);
    close(waiting);
    driver_start(&f->driver, f->device, 0, QUEUE_SIZE);
    post_all_rx(f);
    post_events(f);
    fd = open_stream(f, &s);
    send_bytes(&s, "again", 5);
    expect_text(f, fd, "again");
    close(fd);
}

/* --- Flow control --- */

static void device_stays_within_the_guests_credit(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    static uint8_t block[65536];
    uint64_t received = 0;
    bool asked = false;
    for (int idle = 0; idle < 20;) {
        if (write(fd, block, sizeof block) < 0)
            assert_int_equal(errno, EAGAIN);
        driver_run(&f->driver, 1);
        idle++;
        while (take_packet(f, &packet, true)) {
            idle = 0;
            received += packet.header.len;
            asked |= packet.header.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST;
        }
    }
    assert_int_equal(received, GUEST_CREDIT);
    assert_true(asked);
    s.forwarded = 100;
    send_op(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    assert_int_equal(packet.header.len, 100);
    close(fd);
}

static void stalled_reader_is_kept_within_our_credit(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    static uint8_t block[65536];
    uint32_t forwarded = 0;
    /* Until the credit is used up: the socket's own buffer first, then ours. */
    for (;;) {
        driver_run(&f->driver, 0);
        while (take_packet(f, &packet, true)) {
            assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
            forwarded = packet.header.fwd_cnt;
        }
        if (s.sent - forwarded + sizeof block > s.peer_buffer)
            break;
        send_bytes(&s, block, sizeof block);
    }
    assert_true(s.sent >= s.peer_buffer);
    size_t done = 0;
    while (done < s.sent) {
        size_t count = read_all(f, fd, block, sizeof block);
        assert_int_not_equal(count, 0);
        done += count;
    }
    assert_int_equal(done, s.sent);
    send_op(&s, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
    do
        expect_op(f, &packet, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    while (packet.header.fwd_cnt != s.sent);
    close(fd);
}

static void guest_beyond_its_credit_is_reset(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    static uint8_t block[65536];
    bool reset = false;
    for (int i = 0; i < 64 && !reset; i++) {
        send_bytes(&s, block, sizeof block);
        while (take_packet(f, &packet, true))
            reset |= packet.header.op == VIRTIO_VSOCK_OP_RST;
    }
    assert_true(reset);
    close(fd);
}

static uint64_t hash_of(uint64_t hash, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ data[i]) * 1099511628211ull;
    return hash;
}

static void fill(uint8_t *data, size_t length, uint64_t *seed)
{
    for (size_t i = 0; i < length; i++) {
        *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
        data[i] = (uint8_t)(*seed >> 56);
    }
}

/* 64 MiB through a stream in each direction at the same time. */
static void transfer(struct fixture *f)
{
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    static uint8_t down[65536];
    static uint8_t up[32768];
    static uint8_t got[65536];
    uint64_t down_seed = 1;
    uint64_t up_seed = 2;
    uint64_t down_sent = 0;
    uint64_t down_got = 0;
    uint64_t up_got = 0;
    uint64_t hashes[4] = {0, 0, 0, 0};
    size_t down_left = 0;
    s.peer_forwarded = 0;
    for (int idle = 0; down_got < BULK_BYTES || up_got < BULK_BYTES;) {
        assert_true(idle++ < 1000);
        if (down_left == 0 && down_sent < BULK_BYTES) {
            fill(down, sizeof down, &down_seed);
            hashes[0] = hash_of(hashes[0], down, sizeof down);
            down_left = sizeof down;
        }
        ssize_t count = down_left == 0 ? 0 : write(fd, down + sizeof down - down_left, down_left);
        if (count > 0) {
            down_left -= (size_t)count;
            down_sent += (uint64_t)count;
        }
        while (s.sent < BULK_BYTES && s.sent - s.peer_forwarded + sizeof up <= s.peer_buffer) {
            fill(up, sizeof up, &up_seed);
            hashes[1] = hash_of(hashes[1], up, sizeof up);
            send_bytes(&s, up, sizeof up);
        }
        driver_run(&f->driver, 0);
        while (take_packet(f, &packet, true)) {
            idle = 0;
            s.peer_forwarded = packet.header.fwd_cnt;
            hashes[2] = hash_of(hashes[2], packet.data, packet.header.len);
            down_got += packet.header.len;
            uint32_t before = s.forwarded;
            s.forwarded += packet.header.len;
            if (before / 65536 != s.forwarded / 65536)
                send_op(&s, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
        }
        while ((count = read(fd, got, sizeof got)) > 0) {
            idle = 0;
            hashes[3] = hash_of(hashes[3], got, (size_t)count);
            up_got += (uint64_t)count;
        }
    }
    assert_int_equal(down_got, BULK_BYTES);
    assert_int_equal(up_got, BULK_BYTES);
    assert_true(hashes[0] == hashes[2]);
    assert_true(hashes[1] == hashes[3]);
    close(fd);
}

static void bulk_arrives_unharmed_both_ways(void **state)
{
    transfer(*state);
}

static void bulk_arrives_in_split_buffers(void **state)
{
    struct fixture *f = *state;
    f->split_rx = true;
    driver_start(&f->driver, f->device, DRIVER_FEATURE(VIRTIO_RING_F_EVENT_IDX), QUEUE_SIZE);
    post_all_rx(f);
    post_events(f);
    transfer(f);
}

static void packets_wait_for_buffers(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    static uint8_t block[200000];
    assert_true(write(fd, block, sizeof block) > 0);
    /* Take every buffer and give none back. */
    uint32_t taken = 0;
    for (int i = 0; i < 20; i++) {
        driver_run(&f->driver, 1);
        while (take_packet(f, &packet, false))
            taken++;
    }
    assert_int_equal(taken, QUEUE_SIZE / 2);
    /* Nothing is due in the loop: a guest without buffers costs no CPU. */
    struct stream unknown = {.f = f, .guest_port = 1, .host_port = 2};
    send_op(&unknown, VIRTIO_VSOCK_OP_RW, 0);
    post_all_rx(f);
    driver_kick(&f->driver, RX);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    close(fd);
}

static void connections_take_turns(void **state)
{
    struct fixture *f = *state;
    struct stream streams[2];
    struct packet packet;
    static uint8_t block[100000];
    int fds[2];
    for (int i = 0; i < 2; i++)
        fds[i] = open_stream(f, &streams[i]);
    for (int i = 0; i < 2; i++)
        assert_true(write(fds[i], block, sizeof block) > 0);
    uint32_t bytes[2] = {0, 0};
    for (int i = 0; i < 30; i++) {
        expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
        bytes[packet.header.src_port == streams[1].host_port] += packet.header.len;
    }
    assert_true(bytes[0] > 0);
    assert_true(bytes[1] > 0);
    close(fds[0]);
    close(fds[1]);
}

static void thousand_clients_are_served(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 1000 };
    static int fds[COUNT];
    struct stream s;
    char greeting[32];
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    static struct stream streams[COUNT];
    for (int i = 0; i < COUNT; i++) {
        fds[i] = connect_client(f);
        say(fds[i], "CONNECT 52\n");
    }
    for (int i = 0; i < COUNT; i++)
        accept_request(f, &streams[i]);
    /* Each gets what was sent on its stream; which stream is whose shows the greeting. */
    for (int i = 0; i < COUNT; i++) {
        char text[16];
        int length = snprintf(text, sizeof text, "%010u", streams[i].host_port);
        send_bytes(&streams[i], text, (uint32_t)length);
    }
    for (int i = 0; i < COUNT; i++) {
        unsigned port;
        unsigned same;
        assert_int_equal(read_all(f, fds[i], greeting, 3 + 10 + 1 + 10), 24);
        greeting[24] = '\0';
        assert_int_equal(sscanf(greeting, "OK %u\n%u", &port, &same), 2);
        assert_int_equal(port, same);
        close(fds[i]);
    }
    struct packet packet;
    for (int idle = 0; idle < 20; idle++) {
        driver_run(&f->driver, 1);
        while (take_packet(f, &packet, true))
            idle = 0;
    }
    /* And their places are free again. */
    int fd = open_stream(f, &s);
    close(fd);
}

static void clients_beyond_the_limit_wait(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 1030 };
    static int fds[COUNT];
    struct packet packet;
    for (int i = 0; i < COUNT; i++) {
        fds[i] = connect_client(f);
        driver_run(&f->driver, 0);
    }
    say(fds[COUNT - 1], "CONNECT 52\n");
    expect_silence(f);
    for (int i = 0; i < 10; i++)
        close(fds[i]);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_REQUEST);
    for (int i = 10; i < COUNT; i++)
        close(fds[i]);
}

/* Neither the guest nor a connection does anything: it is by the next client that the device sees that it can
 * go on. */
static void clients_without_descriptors_wait_for_the_next_one(void **state)
{
    struct fixture *f = *state;
    struct stream streams[2];
    struct rlimit limit;
    int first = connect_client(f);
    say(first, "CONNECT 52\n");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const struct rlimit none = {.rlim_cur = 3, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    expect_silence(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct pollfd loop = {.fd = f->driver.loop.epoll_fd, .events = POLLIN};
    assert_int_equal(poll(&loop, 1, 0), 0); /* and it is not woken over and over */
    int second = connect_client(f);
    say(second, "CONNECT 52\n");
    accept_request(f, &streams[0]);
    accept_request(f, &streams[1]);
    close(first);
    close(second);
}

static void guest_connections_beyond_the_limit_are_reset(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    enum { LIMIT = 1023 };
    static int ends[LIMIT];
    int pair[2];
    for (uint32_t i = 0; i < LIMIT; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        f->accepted_fd = pair[1];
        ends[i] = pair[0];
        struct stream s = {.f = f, .guest_port = 5000 + i, .host_port = 80};
        send_op(&s, VIRTIO_VSOCK_OP_REQUEST, 0);
        expect_op(f, &packet, VIRTIO_VSOCK_OP_RESPONSE);
    }
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    f->accepted_fd = pair[1];
    struct stream s = {.f = f, .guest_port = 4999, .host_port = 80};
    send_op(&s, VIRTIO_VSOCK_OP_REQUEST, 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(read(pair[0], &packet, 1), 0);
    close(pair[0]);
    for (uint32_t i = 0; i < LIMIT; i++)
        close(ends[i]);
}

/* A connection that the guest opened; the host's end of it. */
static int open_from_guest(struct fixture *f, struct stream *s, uint32_t port)
{
    struct packet packet;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    f->accepted_fd = pair[1];
    *s = (struct stream){.f = f, .guest_port = port, .host_port = 80};
    send_op(s, VIRTIO_VSOCK_OP_REQUEST, 0);
    receive(f, &packet);
    if (packet.header.op == VIRTIO_VSOCK_OP_RESPONSE)
        return pair[0];
    assert_int_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
    close(pair[0]);
    return -1;
}

static void fewer_connections_may_be_allowed(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    vsock_limit(f->device, 2, 1);
    int first = open_from_guest(f, &s, 5000);
    int client = connect_client(f); /* one that has said nothing counts, too */
    driver_run(&f->driver, 0);
    assert_int_equal(open_from_guest(f, &s, 5001), -1);
    close(client);
    driver_run(&f->driver, 0);
    int second = open_from_guest(f, &s, 5002);
    assert_true(first >= 0 && second >= 0);
    close(first);
    close(second);
}

/* Write until something waits for the reader, which is all that the credit allows; whether that was reset. */
static bool overfill(struct stream *s)
{
    static uint8_t block[65536];
    struct packet packet;
    uint32_t forwarded = 0;
    for (;;) {
        driver_run(&s->f->driver, 0);
        while (take_packet(s->f, &packet, true)) {
            if (packet.header.op == VIRTIO_VSOCK_OP_RST)
                return true;
            forwarded = packet.header.fwd_cnt;
        }
        if (s->sent - forwarded + sizeof block > VSOCK_BUFFER_BYTES)
            return false;
        send_bytes(s, block, sizeof block);
    }
}

static void bytes_that_nobody_reads_are_bounded_for_all_connections(void **state)
{
    struct fixture *f = *state;
    struct stream streams[3];
    struct packet packet;
    char byte;
    int fds[3];
    vsock_limit(f->device, 1023, 2);
    for (uint32_t i = 0; i < 3; i++) {
        fds[i] = open_from_guest(f, &streams[i], 6000 + i);
        assert_int_equal(overfill(&streams[i]), i == 2);
    }
    /* What the socket had taken is still there; the others go on. */
    assert_int_equal(read(fds[2], &byte, 1), 1);
    for (uint32_t i = 0; i < 2; i++) {
        static uint8_t block[65536];
        for (size_t done = 0; done < streams[i].sent;) {
            size_t count = read_all(f, fds[i], block, sizeof block);
            assert_int_not_equal(count, 0);
            done += count;
        }
    }
    while (take_packet(f, &packet, true))
        assert_int_not_equal(packet.header.op, VIRTIO_VSOCK_OP_RST);
    /* And there is room again. */
    int fd = open_from_guest(f, &streams[0], 7000);
    assert_false(overfill(&streams[0]));
    close(fd);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

/* --- Hostile packets --- */

static void packets_without_a_connection_are_reset(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    struct stream s = {.f = f, .guest_port = 1, .host_port = 2};
    const uint16_t ops[] = {VIRTIO_VSOCK_OP_INVALID,
                            VIRTIO_VSOCK_OP_RESPONSE,
                            VIRTIO_VSOCK_OP_SHUTDOWN,
                            VIRTIO_VSOCK_OP_RW,
                            VIRTIO_VSOCK_OP_CREDIT_UPDATE,
                            VIRTIO_VSOCK_OP_CREDIT_REQUEST,
                            0xffff};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        send_op(&s, ops[i], 0);
        expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
        assert_int_equal(packet.header.src_port, 2);
        assert_int_equal(packet.header.dst_port, 1);
    }
}

static void reset_is_never_answered(void **state)
{
    struct fixture *f = *state;
    struct stream s = {.f = f, .guest_port = 1, .host_port = 2};
    send_op(&s, VIRTIO_VSOCK_OP_RST, 0);
    expect_silence(f);
}

static void other_socket_type_is_reset(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    struct stream s = {.f = f, .guest_port = 1, .host_port = 2};
    struct virtio_vsock_hdr header = header_of(&s, VIRTIO_VSOCK_OP_REQUEST, 0, 0);
    header.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
    send_raw(f, &header, NULL, 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(packet.header.type, VIRTIO_VSOCK_TYPE_SEQPACKET);
}

static void foreign_addresses_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct stream s = {.f = f, .guest_port = 1, .host_port = 2};
    struct virtio_vsock_hdr header = header_of(&s, VIRTIO_VSOCK_OP_RW, 0, 0);
    header.src_cid = 4;
    send_raw(f, &header, NULL, 0);
    header.src_cid = VSOCK_GUEST_CID;
    header.dst_cid = 1;
    send_raw(f, &header, NULL, 0);
    expect_silence(f);
}

static void length_beyond_the_packet_resets_the_stream(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    struct virtio_vsock_hdr header = header_of(&s, VIRTIO_VSOCK_OP_RW, 0, 11);
    send_raw(f, &header, "ten bytes.", 10);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_eof(f, fd);
    close(fd);
}

static void short_header_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct driver_buffer buffer = {f->tx[0], HEADER - 1, false};
    driver_add(&f->driver, TX, &buffer, 1);
    driver_kick(&f->driver, TX);
    uint16_t head;
    uint32_t length;
    assert_true(driver_collect(&f->driver, TX, &head, &length));
    expect_silence(f);
}

static void data_before_the_response_resets(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    int fd = connect_client(f);
    say(fd, "CONNECT 52\n");
    expect_op(f, &packet, VIRTIO_VSOCK_OP_REQUEST);
    struct stream s = {.f = f, .guest_port = 52, .host_port = packet.header.src_port};
    send_bytes(&s, "x", 1);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_eof(f, fd);
    close(fd);
}

static void data_after_shutdown_resets(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    send_op(&s, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    send_bytes(&s, "x", 1);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_eof(f, fd);
    close(fd);
}

static void second_request_resets_the_stream(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    send_op(&s, VIRTIO_VSOCK_OP_REQUEST, 0);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_eof(f, fd);
    close(fd);
}

static void reset_during_traffic_ends_the_client(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    static uint8_t block[100000];
    static uint8_t got[100000];
    assert_true(write(fd, block, sizeof block) > 0);
    send_bytes(&s, block, 50000);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RW);
    send_op(&s, VIRTIO_VSOCK_OP_RST, 0);
    assert_int_equal(read_all(f, fd, got, sizeof got), 50000);
    expect_eof(f, fd);
    close(fd);
    /* Nothing of that stream comes any more, once what was under way is through. */
    while (take_packet(f, &packet, true)) {
    }
    expect_silence(f);
}

static void resets_for_many_unknown_ports_are_bounded(void **state)
{
    struct fixture *f = *state;
    struct packet packet;
    struct stream s = {.f = f, .host_port = 2};
    /* As many as there are buffers, and as many as are remembered, and more. */
    for (uint32_t i = 0; i < 500; i++) {
        s.guest_port = i;
        send_op(&s, VIRTIO_VSOCK_OP_RW, 0);
    }
    uint32_t resets = 0;
    for (int idle = 0; idle < 10; idle++) {
        driver_run(&f->driver, 1);
        while (take_packet(f, &packet, true)) {
            resets++;
            idle = 0;
        }
    }
    assert_in_range(resets, QUEUE_SIZE / 2, 499);
}

static void buffer_too_small_for_a_packet_fails_the_device(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    for (uint32_t i = 0; i < QUEUE_SIZE / 2; i++) {
        struct stream unknown = {.f = f, .guest_port = 1, .host_port = 2};
        send_op(&unknown, VIRTIO_VSOCK_OP_RW, 0);
        assert_true(take_packet(f, &packet, false));
    }
    struct driver_buffer tiny = {f->tx[0], HEADER, true};
    driver_add(&f->driver, RX, &tiny, 1);
    driver_kick(&f->driver, RX);
    say(fd, "x");
    driver_run(&f->driver, 5);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    expect_eof(f, fd);
    close(fd);
}

static void broken_queue_fails_the_device(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    int fd = open_stream(f, &s);
    driver_offer(&f->driver, TX, QUEUE_SIZE);
    driver_kick(&f->driver, TX);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG,
                     VIRTIO_MMIO_INT_CONFIG);
    expect_eof(f, fd);
    close(fd);
}

/* --- Snapshots --- */

/* Replace the device by a new one restored from its state, as a child does: the guest's memory stays. */
static void fork_device(struct fixture *f)
{
    struct vmstate_writer state;
    struct virtio_device *child;
    driver_save(f->device, &state);
    assert_int_equal(vsock_create(&child, &f->driver.machine, DRIVER_GSI, &f->host, NULL), 0);
    assert_int_equal(driver_restore(child, &state), 0);
    vmstate_writer_free(&state);
    f->device->ops->close(f->device);
    f->device = child;
    f->driver.device = child;
    f->driver.irq = false;
    unlink(f->path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
    f->listener = valid(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(f->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(vsock_listen(child, f->listener, NULL), 0);
    virtio_resume(child);
}

static void state_goes_through_the_battery(void **state)
{
    struct fixture *f = *state;
    struct virtio_device *fresh;
    struct stream s;
    int fd = open_stream(f, &s);
    assert_int_equal(vsock_create(&fresh, &f->driver.machine, DRIVER_GSI, &f->host, NULL), 0);
    f->driver.irq = false; /* of the fresh device, whose line it is now */
    driver_state_battery(f->device, fresh);
    fresh->ops->close(fresh);
    f->driver.irq = f->device->interrupt_status != 0;
    close(fd);
}

static void restore_writes_no_guest_memory(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    int fd = open_stream(f, &s);
    struct vmstate_writer saved;
    struct virtio_device *child;
    uint8_t *before = malloc(f->driver.memory.size);
    assert_non_null(before);
    driver_save(f->device, &saved);
    memcpy(before, f->driver.memory.host, f->driver.memory.size);
    assert_int_equal(vsock_create(&child, &f->driver.machine, DRIVER_GSI, &f->host, NULL), 0);
    assert_int_equal(driver_restore(child, &saved), 0);
    assert_memory_equal(before, f->driver.memory.host, f->driver.memory.size);
    vmstate_writer_free(&saved);
    free(before);
    child->ops->close(child);
    close(fd);
}

static void restore_without_connections_holds_nothing(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    uint16_t head;
    uint32_t length;
    fork_device(f);
    int fd = open_stream(f, &s);
    assert_false(driver_collect(&f->driver, EVENT, &head, &length));
    close(fd);
}

static void restore_with_connections_resets_them_first(void **state)
{
    struct fixture *f = *state;
    struct stream old;
    struct stream s;
    struct packet packet;
    uint16_t head;
    uint32_t length;
    int old_fd = open_stream(f, &old);
    fork_device(f);
    expect_eof(f, old_fd);
    close(old_fd);
    int fd = connect_client(f);
    say(fd, "CONNECT 52\n");
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(vsock_connect(f->device, pair[1], 1024, NULL), 0);
    expect_silence(f);
    /* A kick without a buffer, and packets of the old connection, let nothing through. */
    driver_kick(&f->driver, EVENT);
    send_bytes(&old, "stale", 5);
    expect_op(f, &packet, VIRTIO_VSOCK_OP_RST);
    expect_silence(f);

    uint64_t buffer = driver_buffer_of(&f->driver, EVENT, 0, 0).address;
    assert_true(driver_collect(&f->driver, EVENT, &head, &length));
    assert_int_equal(length, sizeof(struct virtio_vsock_event));
    const struct virtio_vsock_event *event = driver_at(&f->driver, buffer);
    assert_int_equal(event->id, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
    struct driver_buffer again = {buffer, 4, true};
    /* As a driver with EVENT_IDX: it kicks because avail_event says so. */
    const struct driver_queue *queue = &f->driver.queues[EVENT];
    uint16_t avail_event = driver_avail_event(&f->driver, EVENT);
    uint16_t index = queue->avail_index;
    driver_add(&f->driver, EVENT, &again, 1);
    assert_true(vring_need_event(avail_event, queue->avail_index, index));
    driver_kick(&f->driver, EVENT);

    uint32_t ports[2];
    struct stream streams[2];
    for (int i = 0; i < 2; i++) {
        accept_request(f, &streams[i]);
        ports[i] = streams[i].guest_port;
        assert_int_not_equal(streams[i].host_port, old.host_port);
    }
    assert_true((ports[0] == 52 && ports[1] == 1024) || (ports[0] == 1024 && ports[1] == 52));
    s = ports[0] == 52 ? streams[0] : streams[1];
    char greeting[32];
    snprintf(greeting, sizeof greeting, "OK %u\n", s.host_port);
    expect_text(f, fd, greeting);
    close(fd);
    close(pair[0]);
}

static void restore_before_the_event_was_handled_sends_it_again(void **state)
{
    struct fixture *f = *state;
    struct stream old;
    uint16_t head;
    uint32_t length;
    int fd = open_stream(f, &old);
    fork_device(f);
    fork_device(f);
    close(fd);
    assert_true(driver_collect(&f->driver, EVENT, &head, &length));
    assert_true(driver_collect(&f->driver, EVENT, &head, &length));
    assert_false(driver_collect(&f->driver, EVENT, &head, &length));
}

static void restore_raises_a_pending_interrupt(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    struct packet packet;
    int fd = open_stream(f, &s);
    driver_write(&f->driver, VIRTIO_MMIO_INTERRUPT_ACK, 3);
    assert_false(f->driver.irq);
    send_op(&s, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
    receive(f, &packet);
    assert_true(f->driver.irq);
    fork_device(f);
    assert_true(f->driver.irq);
    close(fd);
}

static void host_ports_differ_between_processes(void **state)
{
    struct fixture *f = *state;
    struct stream s;
    uint32_t ports[2];
    for (int i = 0; i < 2; i++) {
        int fd = open_stream(f, &s);
        ports[i] = s.host_port;
        send_op(&s, VIRTIO_VSOCK_OP_RST, 0);
        expect_eof(f, fd);
        close(fd);
        fork_device(f);
    }
    /* 1 in 2^30 that they follow each other by chance. */
    assert_int_not_equal(ports[0] + 1, ports[1]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(configuration_has_the_guest_cid),
        TEST(connect_line_opens_a_stream),
        TEST(line_in_pieces_is_put_together),
        TEST(bytes_behind_the_line_reach_the_guest),
        TEST(broken_lines_are_closed),
        TEST(refused_request_is_closed),
        TEST(client_that_leaves_early_resets_the_request),
        TEST(descriptor_is_connected_without_a_greeting),
        TEST(connect_before_the_driver_is_refused),
        TEST(guest_connects_to_the_host),
        TEST(host_hears_of_its_own_connections_and_their_answers),
        TEST(host_does_not_hear_of_the_guests_connections),
        TEST(guest_connecting_to_a_closed_port_is_reset),
        TEST(host_half_close_leaves_the_other_direction),
        TEST(guest_half_close_leaves_the_other_direction),
        TEST(guest_that_stops_reading_breaks_the_clients_pipe),
        TEST(client_that_closes_leaves_its_last_words),
        TEST(client_gone_while_the_guest_writes_is_told),
        TEST(close_with_pending_data_loses_nothing),
        TEST(driver_reset_ends_every_connection),
        TEST(device_stays_within_the_guests_credit),
        TEST(stalled_reader_is_kept_within_our_credit),
        TEST(guest_beyond_its_credit_is_reset),
        TEST(bulk_arrives_unharmed_both_ways),
        TEST(bulk_arrives_in_split_buffers),
        TEST(packets_wait_for_buffers),
        TEST(connections_take_turns),
        TEST(thousand_clients_are_served),
        TEST(clients_beyond_the_limit_wait),
        TEST(clients_without_descriptors_wait_for_the_next_one),
        TEST(guest_connections_beyond_the_limit_are_reset),
        TEST(fewer_connections_may_be_allowed),
        TEST(bytes_that_nobody_reads_are_bounded_for_all_connections),
        TEST(packets_without_a_connection_are_reset),
        TEST(reset_is_never_answered),
        TEST(other_socket_type_is_reset),
        TEST(foreign_addresses_are_dropped),
        TEST(length_beyond_the_packet_resets_the_stream),
        TEST(short_header_is_dropped),
        TEST(data_before_the_response_resets),
        TEST(data_after_shutdown_resets),
        TEST(second_request_resets_the_stream),
        TEST(reset_during_traffic_ends_the_client),
        TEST(resets_for_many_unknown_ports_are_bounded),
        TEST(buffer_too_small_for_a_packet_fails_the_device),
        TEST(broken_queue_fails_the_device),
        TEST(state_goes_through_the_battery),
        TEST(restore_writes_no_guest_memory),
        TEST(restore_without_connections_holds_nothing),
        TEST(restore_with_connections_resets_them_first),
        TEST(restore_before_the_event_was_handled_sends_it_again),
        TEST(restore_raises_a_pending_interrupt),
        TEST(host_ports_differ_between_processes),
    };
    return cmocka_run_group_tests_name("vsock", tests, NULL, NULL);
}

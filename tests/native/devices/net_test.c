/* SPDX-License-Identifier: Apache-2.0 */
/* The network device on a real tap, in a network namespace of the test's own. Needs root and /dev/net/tun. */
#include "driver.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#define RX 0u
#define TX 1u
#define QUEUE_SIZE 64u
#define RX_BUFFERS 32u
#define HEADER sizeof(struct virtio_net_hdr_v1)
/* What Linux posts where buffers can be merged. */
#define SMALL_BYTES 1536u
#define FRAME_TYPE 0x88b5 /* for local experiments: nobody else sends it here */
#define MTU 9000

struct fixture {
    struct driver driver;
    struct virtio_device *device;
    uint64_t rx;
    uint64_t tx;
    int wire; /* packet socket on the tap's interface: the host's side */
};

static const uint8_t guest_mac[6] = {0xaa, 0xfc, 0, 0, 0, 1};

static void need(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "net_test needs %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_tap(struct ifreq *request)
{
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    need(fd >= 0, "/dev/net/tun (module tun, and root)");
    *request = (struct ifreq){.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(request->ifr_name, sizeof request->ifr_name, "tap%%d");
    need(ioctl(fd, TUNSETIFF, request) == 0, "permission to make a tap (root)");
    return fd;
}

static int open_wire(struct ifreq *request)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(FRAME_TYPE));
    need(fd >= 0, "permission to open a packet socket (root)");
    request->ifr_mtu = MTU;
    assert_int_equal(ioctl(fd, SIOCSIFMTU, request), 0);
    request->ifr_flags = IFF_UP;
    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, request), 0);
    assert_int_equal(ioctl(fd, SIOCGIFINDEX, request), 0);
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(FRAME_TYPE), .sll_ifindex = request->ifr_ifindex};
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void start(struct fixture *f, uint64_t features)
{
    driver_start(&f->driver, f->device, features | DRIVER_FEATURE(VIRTIO_RING_F_EVENT_IDX), QUEUE_SIZE);
}

static int set_up_detached(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    driver_open(&f->driver, 16u << 20);
    assert_int_equal(net_create(&f->device, &f->driver.machine, DRIVER_GSI, guest_mac, NULL), 0);
    f->rx = driver_allocate(&f->driver, RX_BUFFERS * 65536);
    f->tx = driver_allocate(&f->driver, 128 * 1024);
    f->wire = -1;
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    struct ifreq request;
    int result = set_up_detached(state);
    struct fixture *f = *state;
    assert_int_equal(net_attach(f->device, open_tap(&request), NULL), 0);
    f->wire = open_wire(&request);
    return result;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->device->ops->close(f->device);
    if (f->wire >= 0)
        close(f->wire);
    driver_close(&f->driver);
    free(f);
    return 0;
}

static void post(struct fixture *f, uint32_t count, uint32_t length)
{
    for (uint32_t i = 0; i < count; i++) {
        struct driver_buffer buffer = {f->rx + (uint64_t)i * 65536, length, true};
        driver_add(&f->driver, RX, &buffer, 1);
    }
    driver_kick(&f->driver, RX);
}

static void make_frame(uint8_t *frame, size_t length, uint8_t seed)
{
    memset(frame, 0xff, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = FRAME_TYPE >> 8;
    frame[13] = FRAME_TYPE & 0xff;
    for (size_t i = 14; i < length; i++)
        frame[i] = (uint8_t)(i + seed);
}

/* Take one packet as the driver does: the number of buffers is in the header of the first. Returns the
 * frame's length. */
static size_t take_frame(struct fixture *f, uint8_t *frame, uint16_t *buffers)
{
    uint16_t head;
    uint32_t length;
    struct virtio_net_hdr_v1 header;
    for (int i = 0;; i++) {
        const struct driver_queue *queue = &f->driver.queues[RX];
        const struct vring_used *used = driver_at(&f->driver, queue->used);
        if (used->idx != queue->used_index)
            break;
        assert_true(i < 200);
        driver_run(&f->driver, 10);
    }
    size_t total = 0;
    uint16_t left = 1;
    for (uint16_t taken = 0; taken < left; taken++) {
        const struct driver_queue *queue = &f->driver.queues[RX];
        const struct vring_used *used = driver_at(&f->driver, queue->used);
        uint16_t id = (uint16_t)used->ring[queue->used_index % queue->size].id;
        const uint8_t *at = driver_at(&f->driver, driver_buffer_of(&f->driver, RX, id, 0).address);
        assert_true(driver_collect(&f->driver, RX, &head, &length));
        size_t skip = 0;
        if (taken == 0) {
            memcpy(&header, at, sizeof header);
            left = header.num_buffers;
            skip = HEADER;
        }
        memcpy(frame + total, at + skip, length - skip);
        total += length - skip;
    }
    *buffers = left;
    return total;
}

static void expect_no_frame(struct fixture *f)
{
    const struct vring_used *used = driver_at(&f->driver, f->driver.queues[RX].used);
    for (int i = 0; i < 5; i++)
        driver_run(&f->driver, 2);
    assert_int_equal(used->idx, f->driver.queues[RX].used_index);
}

static void send_frame(struct fixture *f, const uint8_t *frame, size_t length)
{
    assert_int_equal(send(f->wire, frame, length, 0), length);
}

/* Transmit a frame; returns what arrives on the wire. */
static ssize_t transmit(struct fixture *f, const struct virtio_net_hdr_v1 *header, const uint8_t *frame,
                        uint32_t length, uint8_t *got, size_t size)
{
    uint16_t head;
    uint32_t used;
    memcpy(driver_at(&f->driver, f->tx), header, HEADER);
    memcpy(driver_at(&f->driver, f->tx + 4096), frame, length);
    struct driver_buffer buffers[] = {{f->tx, HEADER, false}, {f->tx + 4096, length, false}};
    driver_add(&f->driver, TX, buffers, 2);
    driver_kick(&f->driver, TX);
    assert_true(driver_collect(&f->driver, TX, &head, &used));
    assert_int_equal(used, 0);
    return recv(f->wire, got, size, 0);
}

static void configuration_has_address_and_link(void **state)
{
    struct fixture *f = *state;
    struct virtio_net_config config;
    virtio_mmio_read(f->device, VIRTIO_MMIO_CONFIG, &config, 8);
    assert_memory_equal(config.mac, guest_mac, 6);
    assert_int_equal(config.status, VIRTIO_NET_S_LINK_UP);
}

static void guests_frame_reaches_the_wire(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[1514];
    uint8_t got[2000];
    struct virtio_net_hdr_v1 header = {0};
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    make_frame(frame, sizeof frame, 1);
    assert_int_equal(transmit(f, &header, frame, sizeof frame, got, sizeof got), sizeof frame);
    assert_memory_equal(got, frame, sizeof frame);
}

static void hosts_frame_reaches_the_guest(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[1514];
    uint8_t got[2000];
    uint16_t buffers;
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    post(f, RX_BUFFERS, SMALL_BYTES);
    for (uint8_t i = 0; i < 20; i++) {
        make_frame(frame, sizeof frame, i);
        send_frame(f, frame, sizeof frame);
        assert_int_equal(take_frame(f, got, &buffers), sizeof frame);
        assert_int_equal(buffers, 1);
        assert_memory_equal(got, frame, sizeof frame);
    }
    assert_true(f->driver.irq);
}

static void large_frame_is_spread_over_buffers(void **state)
{
    struct fixture *f = *state;
    static uint8_t frame[8014];
    static uint8_t got[65536];
    uint16_t buffers;
    start(f, DRIVER_FEATURE(VIRTIO_NET_F_MRG_RXBUF));
    make_frame(frame, sizeof frame, 3);
    post(f, 4, SMALL_BYTES);
    send_frame(f, frame, sizeof frame);
    /* Four buffers are too few: the packet waits for more. */
    expect_no_frame(f);
    for (uint32_t i = 4; i < 8; i++) {
        struct driver_buffer buffer = {f->rx + (uint64_t)i * 65536, SMALL_BYTES, true};
        driver_add(&f->driver, RX, &buffer, 1);
    }
    driver_kick(&f->driver, RX);
    assert_int_equal(take_frame(f, got, &buffers), sizeof frame);
    assert_int_equal(buffers, 6);
    assert_memory_equal(got, frame, sizeof frame);
    /* The two that were not needed are still the device's. */
    send_frame(f, frame, 1000);
    assert_int_equal(take_frame(f, got, &buffers), 1000);
}

static void large_frame_without_merging_is_lost_alone(void **state)
{
    struct fixture *f = *state;
    static uint8_t frame[8014];
    static uint8_t got[65536];
    uint16_t buffers;
    start(f, 0);
    post(f, 4, SMALL_BYTES);
    make_frame(frame, sizeof frame, 3);
    send_frame(f, frame, sizeof frame);
    expect_no_frame(f);
    send_frame(f, frame, 500);
    assert_int_equal(take_frame(f, got, &buffers), 500);
}

static void frame_larger_than_the_whole_queue_is_lost_alone(void **state)
{
    struct fixture *f = *state;
    static uint8_t frame[8014];
    static uint8_t got[65536];
    uint16_t buffers;
    start(f, DRIVER_FEATURE(VIRTIO_NET_F_MRG_RXBUF));
    for (uint32_t i = 0; i < QUEUE_SIZE; i++) {
        struct driver_buffer buffer = {f->rx + (uint64_t)i * 256, 100, true};
        driver_add(&f->driver, RX, &buffer, 1);
    }
    driver_kick(&f->driver, RX);
    make_frame(frame, sizeof frame, 3);
    send_frame(f, frame, sizeof frame);
    expect_no_frame(f);
    send_frame(f, frame, 500);
    assert_int_equal(take_frame(f, got, &buffers), 500);
    assert_int_equal(buffers, 6);
}

static void frames_wait_in_the_tap_without_buffers(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[200];
    uint8_t got[2000];
    uint16_t buffers;
    start(f, DRIVER_FEATURE(VIRTIO_NET_F_MRG_RXBUF));
    for (uint8_t i = 0; i < 5; i++) {
        make_frame(frame, sizeof frame, i);
        send_frame(f, frame, sizeof frame);
    }
    expect_no_frame(f);
    post(f, 5, SMALL_BYTES);
    for (uint8_t i = 0; i < 5; i++) {
        make_frame(frame, sizeof frame, i);
        assert_int_equal(take_frame(f, got, &buffers), sizeof frame);
        assert_memory_equal(got, frame, sizeof frame);
    }
}

/* Both directions at a rate of ten frames a second. */
static void frames_past_the_rate_wait(void **state)
{
    enum { FRAMES = 6, LENGTH = 1000 };
    struct fixture *f = *state;
    uint8_t frame[LENGTH];
    uint8_t got[2000];
    uint16_t buffers;
    uint16_t head;
    uint32_t used;
    assert_int_equal(net_limit(f->device, LENGTH * 10, NULL), 0);
    start(f, DRIVER_FEATURE(VIRTIO_NET_F_MRG_RXBUF));
    make_frame(frame, sizeof frame, 0);
    memset(driver_at(&f->driver, f->tx), 0, HEADER);
    memcpy(driver_at(&f->driver, f->tx + 4096), frame, sizeof frame);
    struct driver_buffer packet[] = {{f->tx, HEADER, false}, {f->tx + 4096, sizeof frame, false}};
    for (int i = 0; i < FRAMES; i++)
        driver_add(&f->driver, TX, packet, 2);
    uint64_t begun = clock_now_us();
    driver_kick(&f->driver, TX);
    int sent = 0;
    while (driver_collect(&f->driver, TX, &head, &used))
        sent++;
    assert_true(sent >= 1);
    while (sent < FRAMES) {
        driver_run(&f->driver, 1000);
        while (driver_collect(&f->driver, TX, &head, &used))
            sent++;
    }
    assert_true(clock_now_us() - begun >= (FRAMES - 3) * 100000);
    for (int i = 0; i < FRAMES; i++)
        assert_int_equal(recv(f->wire, got, sizeof got, 0), sizeof frame);

    for (uint8_t i = 0; i < FRAMES; i++) {
        make_frame(frame, sizeof frame, i);
        send_frame(f, frame, sizeof frame);
    }
    begun = clock_now_us();
    post(f, FRAMES, SMALL_BYTES);
    for (uint8_t i = 0; i < FRAMES; i++) {
        make_frame(frame, sizeof frame, i);
        assert_int_equal(take_frame(f, got, &buffers), sizeof frame);
        assert_memory_equal(got, frame, sizeof frame);
    }
    assert_true(clock_now_us() - begun >= (FRAMES - 3) * 100000);
}

static void segmentation_is_left_to_the_host(void **state)
{
    struct fixture *f = *state;
    /* A TCP segment of 4000 bytes with a maximum of 1000: the wire shows one large packet, unsegmented,
     * because the tap took the offload. */
    static uint8_t frame[14 + 20 + 20 + 4000];
    static uint8_t got[65536];
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    assert_true(virtio_has_feature(f->device, VIRTIO_NET_F_HOST_TSO4));
    memset(frame, 0xff, 6);
    memcpy(frame + 6, guest_mac, 6);
    frame[12] = ETHERTYPE_IP >> 8;
    uint8_t *ip = frame + 14;
    ip[0] = 0x45;
    ip[2] = (sizeof frame - 14) >> 8;
    ip[3] = (sizeof frame - 14) & 0xff;
    ip[8] = 64;
    ip[9] = IPPROTO_TCP;
    ip[20 + 12] = 5 << 4;
    struct virtio_net_hdr_v1 header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                                       .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                                       .hdr_len = 54,
                                       .gso_size = 1000,
                                       .csum_start = 34,
                                       .csum_offset = 16};
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP)};
    socklen_t length = sizeof address;
    struct sockaddr_ll bound = {0};
    assert_int_equal(getsockname(f->wire, (struct sockaddr *)&bound, &length), 0);
    address.sll_ifindex = bound.sll_ifindex;
    assert_int_equal(bind(f->wire, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(transmit(f, &header, frame, sizeof frame, got, sizeof got), sizeof frame);
    assert_memory_equal(got + 14, frame + 14, 20);
}

static void senseless_packets_are_dropped(void **state)
{
    struct fixture *f = *state;
    static uint8_t frame[100 * 1024];
    static uint8_t got[65536];
    struct virtio_net_hdr_v1 header = {0};
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    make_frame(frame, sizeof frame, 1);
    assert_int_equal(transmit(f, &header, frame, 66000, got, sizeof got), -1);
    assert_int_equal(transmit(f, &header, frame, 1, got, sizeof got), -1);
    header.gso_type = 0x77;
    header.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
    header.csum_start = 0xfff0;
    assert_int_equal(transmit(f, &header, frame, 100, got, sizeof got), -1);
    struct driver_buffer tiny = {f->tx, HEADER, false};
    driver_add(&f->driver, TX, &tiny, 1);
    driver_kick(&f->driver, TX);
    assert_false(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
    header = (struct virtio_net_hdr_v1){0};
    uint16_t head;
    uint32_t used;
    assert_true(driver_collect(&f->driver, TX, &head, &used));
    assert_int_equal(transmit(f, &header, frame, 100, got, sizeof got), 100);
}

static void receive_buffer_without_room_fails_the_device(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[100];
    start(f, 0);
    post(f, 1, HEADER - 1);
    make_frame(frame, sizeof frame, 1);
    send_frame(f, frame, sizeof frame);
    for (int i = 0; i < 5; i++)
        driver_run(&f->driver, 2);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void broken_transmit_queue_fails_the_device(void **state)
{
    struct fixture *f = *state;
    start(f, 0);
    driver_offer(&f->driver, TX, QUEUE_SIZE);
    driver_kick(&f->driver, TX);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void without_a_tap_the_link_is_down(void **state)
{
    struct fixture *f = *state;
    struct virtio_net_config config;
    uint16_t head;
    uint32_t used;
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    virtio_mmio_read(f->device, VIRTIO_MMIO_CONFIG, &config, 8);
    assert_int_equal(config.status, 0);
    post(f, 4, SMALL_BYTES);
    struct driver_buffer buffer = {f->tx, 100, false};
    driver_add(&f->driver, TX, &buffer, 1);
    driver_kick(&f->driver, TX);
    assert_true(driver_collect(&f->driver, TX, &head, &used));
}

static void descriptor_that_is_no_tap_is_refused(void **state)
{
    struct fixture *f = *state;
    struct forkd_error err;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(net_attach(f->device, fd, &err) < 0);
    assert_string_equal(err.operation, "TUNSETVNETHDRSZ");
}

static void restored_device_works_on_another_tap(void **state)
{
    struct fixture *f = *state;
    struct vmstate_writer saved;
    struct virtio_device *child;
    struct ifreq request;
    static const uint8_t other_mac[6] = {2, 0, 0, 0, 0, 2};
    uint8_t frame[300];
    uint8_t got[2000];
    uint16_t buffers;
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    post(f, 4, SMALL_BYTES);
    driver_save(f->device, &saved);
    assert_int_equal(net_create(&child, &f->driver.machine, DRIVER_GSI, other_mac, NULL), 0);
    assert_int_equal(driver_restore(child, &saved), 0);
    vmstate_writer_free(&saved);
    f->device->ops->close(f->device);
    close(f->wire);
    f->device = child;
    f->driver.device = child;
    int tap = open_tap(&request);
    assert_int_equal(net_attach(child, tap, NULL), 0);
    f->wire = open_wire(&request);
    virtio_resume(child);
    /* Same link as before: nothing to tell. The address is the one that the driver knows. */
    assert_false(f->driver.irq);
    struct virtio_net_config config;
    virtio_mmio_read(child, VIRTIO_MMIO_CONFIG, &config, 8);
    assert_memory_equal(config.mac, guest_mac, 6);
    make_frame(frame, sizeof frame, 9);
    send_frame(f, frame, sizeof frame);
    assert_int_equal(take_frame(f, got, &buffers), sizeof frame);
    assert_memory_equal(got, frame, sizeof frame);
}

static void held_device_loses_what_is_sent_and_takes_in_nothing(void **state)
{
    struct fixture *f = *state;
    uint8_t frame[200];
    uint8_t got[2000];
    uint16_t buffers;
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    post(f, 4, SMALL_BYTES);
    const struct virtio_net_hdr_v1 header = {0};
    net_hold(f->device, true);
    make_frame(frame, sizeof frame, 3);
    assert_int_equal(transmit(f, &header, frame, sizeof frame, got, sizeof got), -1);
    send_frame(f, frame, sizeof frame);
    expect_no_frame(f);

    /* A whole queue that nobody has come to. */
    memcpy(driver_at(&f->driver, f->tx), &header, HEADER);
    memcpy(driver_at(&f->driver, f->tx + HEADER), frame, sizeof frame);
    const struct driver_buffer packet = {f->tx, HEADER + sizeof frame, false};
    for (uint32_t i = 0; i < QUEUE_SIZE; i++)
        driver_add(&f->driver, TX, &packet, 1);

    net_hold(f->device, false);
    driver_kick(&f->driver, TX);
    uint16_t head;
    uint32_t used;
    for (uint32_t i = 0; i < QUEUE_SIZE; i++)
        assert_true(driver_collect(&f->driver, TX, &head, &used));
    assert_int_equal(recv(f->wire, got, sizeof got, 0), -1);
    assert_int_equal(take_frame(f, got, &buffers), sizeof frame);
    assert_memory_equal(got, frame, sizeof frame);
    assert_int_equal(transmit(f, &header, frame, sizeof frame, got, sizeof got), sizeof frame);
}

static void restored_device_without_a_tap_tells_the_driver(void **state)
{
    struct fixture *f = *state;
    struct vmstate_writer saved;
    struct virtio_device *child;
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    driver_save(f->device, &saved);
    assert_int_equal(net_create(&child, &f->driver.machine, DRIVER_GSI, guest_mac, NULL), 0);
    assert_int_equal(driver_restore(child, &saved), 0);
    vmstate_writer_free(&saved);
    f->device->ops->close(f->device);
    f->device = child;
    f->driver.device = child;
    virtio_resume(child);
    struct virtio_net_config config;
    virtio_mmio_read(child, VIRTIO_MMIO_CONFIG, &config, 8);
    assert_int_equal(config.status, 0);
    assert_int_equal(driver_read(&f->driver, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
}

static void state_goes_through_the_battery(void **state)
{
    struct fixture *f = *state;
    struct virtio_device *fresh;
    start(f, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
    assert_int_equal(net_create(&fresh, &f->driver.machine, DRIVER_GSI, guest_mac, NULL), 0);
    driver_state_battery(f->device, fresh);
    fresh->ops->close(fresh);
}

/* A new interface greets its IPv6 neighbours, and those frames would come between ours. */
static void keep_quiet(void)
{
    int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return; /* no IPv6 in this kernel */
    need(fd >= 0 && write(fd, "1", 1) == 1,
         "to switch off IPv6 in its network namespace (/proc/sys writable)");
    close(fd);
}

int main(void)
{
    need(unshare(CLONE_NEWNET) == 0, "a network namespace (root)");
    keep_quiet();
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(configuration_has_address_and_link),
        TEST(guests_frame_reaches_the_wire),
        TEST(hosts_frame_reaches_the_guest),
        TEST(large_frame_is_spread_over_buffers),
        TEST(large_frame_without_merging_is_lost_alone),
        TEST(frame_larger_than_the_whole_queue_is_lost_alone),
        TEST(frames_wait_in_the_tap_without_buffers),
        TEST(frames_past_the_rate_wait),
        TEST(segmentation_is_left_to_the_host),
        TEST(senseless_packets_are_dropped),
        TEST(receive_buffer_without_room_fails_the_device),
        TEST(broken_transmit_queue_fails_the_device),
        cmocka_unit_test_setup_teardown(without_a_tap_the_link_is_down, set_up_detached, tear_down),
        cmocka_unit_test_setup_teardown(descriptor_that_is_no_tap_is_refused, set_up_detached, tear_down),
        TEST(restored_device_works_on_another_tap),
        TEST(held_device_loses_what_is_sent_and_takes_in_nothing),
        TEST(restored_device_without_a_tap_tells_the_driver),
        TEST(state_goes_through_the_battery),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}

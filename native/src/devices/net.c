/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network device on a tap. The tap speaks the same header as virtio (IFF_VNET_HDR), so packets to the host
 * go from the driver's buffers straight into it, with their offloads, and packets from the host into as many
 * of its buffers as the last one needed. One that is larger than that is put together in a buffer of ours
 * first: a tap gives a packet once, and what there is no room for is lost.
 */
#include "devices/devices.h"

#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

/* virtio 1.2, 5.1.2 */
#define NET_RX 0u
#define NET_TX 1u
#define NET_QUEUE_SIZE VIRTQUEUE_MAX_SIZE

/* virtio 1.2, 5.1.3: what the tap can carry. */
#define NET_FEATURES                                                                                         \
    (1ull << VIRTIO_NET_F_MAC | 1ull << VIRTIO_NET_F_STATUS | 1ull << VIRTIO_NET_F_MRG_RXBUF |               \
     1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 | 1ull << VIRTIO_NET_F_HOST_TSO6 |           \
     1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 | 1ull << VIRTIO_NET_F_GUEST_TSO6)

/* virtio 1.2, 5.1.6: since 1.0 it always has num_buffers. */
#define NET_HEADER_BYTES ((uint32_t)sizeof(struct virtio_net_hdr_v1))
_Static_assert(sizeof(struct virtio_net_hdr_v1) == 12, "virtio 1.2, 5.1.6");

/* virtio 1.2, 5.1.6.3.1: the largest packet, with Ethernet header and VLAN tag, behind our header. */
#define NET_PACKET_BYTES (NET_HEADER_BYTES + 18u + 65535u)
/* The most buffers of the driver that are read into at once: those that Linux has for the largest packet. */
#define NET_LANDING 48u
/* Packets of one direction before others get their turn on the loop and the lock. */
#define NET_BUDGET 64u
/* More than the queue of a tap (TUN_READQ_SIZE of the kernel's, 500). */
#define NET_DRAINED 1024u

struct net {
    struct virtio_device device;
    struct loop_watch tap;
    int tap_fd; /* -1: the link is down */
    uint8_t mac[6];
    bool link;         /* what the driver was told of the link */
    bool held;         /* net_hold */
    uint32_t expected; /* bytes of the last packet */
    uint32_t pending;  /* bytes of the packet that waits for buffers of the driver, with its header; or 0 */
    uint8_t *packet;   /* NET_PACKET_BYTES, once there is a tap */
};

/* --- The tap --- */

static void set_link(struct net *net, bool up)
{
    if (net->link == up)
        return;
    net->link = up;
    virtio_config_changed(&net->device);
}

/* The tap is gone, somebody removed the interface: pull the plug, or the loop would never come to rest. */
static void drop_tap(struct net *net)
{
    loop_remove(net->device.machine->loop, &net->tap);
    close(net->tap_fd);
    net->tap_fd = -1;
    net->pending = 0;
    set_link(net, false);
}

/* Let the tap hand us the offloads that the driver accepts. 0 or a negative errno. */
static int apply_offloads(const struct net *net, int tap_fd)
{
    unsigned int offloads = 0;
    if (virtio_has_feature(&net->device, VIRTIO_NET_F_GUEST_CSUM)) {
        offloads = TUN_F_CSUM;
        if (virtio_has_feature(&net->device, VIRTIO_NET_F_GUEST_TSO4))
            offloads |= TUN_F_TSO4;
        if (virtio_has_feature(&net->device, VIRTIO_NET_F_GUEST_TSO6))
            offloads |= TUN_F_TSO6;
    }
    return ioctl(tap_fd, TUNSETOFFLOAD, offloads) < 0 ? -errno : 0;
}

/* --- To the guest --- */

static void unpop(struct virtqueue *queue, uint16_t count)
{
    while (count-- > 0)
        virtqueue_unpop(queue);
}

/* Put the pending packet into the driver's buffers. 1: done, or dropped because it can never fit; 0: not
 * enough buffers yet; -EPROTO: the driver broke the rules. */
static int deliver(struct net *net)
{
    struct virtqueue *queue = &net->device.queues[NET_RX];
    struct virtqueue_chain first;
    struct virtqueue_chain chain;
    uint32_t done = 0;
    uint16_t count = 0;
    while (done < net->pending) {
        bool fits_never =
            count == queue->size || (count == 1 && !virtio_has_feature(&net->device, VIRTIO_NET_F_MRG_RXBUF));
        int result = fits_never ? 0 : virtqueue_pop(queue, &chain);
        if (result < 0)
            return result;
        if (result == 0) {
            unpop(queue, count);
            if (fits_never)
                net->pending = 0;
            return fits_never;
        }
        /* virtio 1.2, 5.1.6.3.1: room for the header at least. */
        if (chain.readable_count != 0 || (count == 0 && chain.writable_bytes < NET_HEADER_BYTES))
            return -EPROTO;
        uint32_t part = (uint32_t)virtqueue_write(&chain, 0, net->packet + done, net->pending - done);
        virtqueue_stage(queue, count++, chain.head, part);
        done += part;
        if (count == 1 && done < net->pending)
            first = chain;
    }
    /* A single buffer has the right number from the start (receive). */
    if (count > 1)
        virtqueue_write(&first, offsetof(struct virtio_net_hdr_v1, num_buffers), &count, sizeof count);
    virtqueue_publish(queue, count);
    net->pending = 0;
    return 1;
}

/* Buffers of the driver, joined to one, that a packet is read into. */
struct landing {
    uint16_t count;
    uint16_t heads[NET_LANDING];
    uint32_t space[NET_LANDING]; /* of each */
    uint32_t bytes;              /* of all */
    struct virtqueue_chain joined;
};

/* Take as many as the packet is expected to need, at least one, of those that there are. 0, or -EPROTO. */
static int collect(struct net *net, struct landing *landing)
{
    struct virtqueue *queue = &net->device.queues[NET_RX];
    uint16_t most = virtio_has_feature(&net->device, VIRTIO_NET_F_MRG_RXBUF) ? NET_LANDING : 1;
    landing->count = 0;
    landing->bytes = 0;
    landing->joined.readable_count = 0;
    landing->joined.writable_count = 0;
    while (landing->count < most && (landing->count == 0 || landing->bytes < net->expected)) {
        struct virtqueue_chain chain;
        int result = virtqueue_pop(queue, &chain);
        if (result < 0)
            return result;
        if (result == 0)
            break;
        /* virtio 1.2, 5.1.6.3.1: room for the header at least. */
        if (chain.readable_count != 0 || (landing->count == 0 && chain.writable_bytes < NET_HEADER_BYTES))
            return -EPROTO;
        struct virtqueue_chain *joined = &landing->joined;
        if (joined->writable_count + chain.writable_count > VIRTQUEUE_MAX_SIZE - 1 ||
            chain.writable_bytes > NET_PACKET_BYTES - landing->bytes) {
            virtqueue_unpop(queue);
            break;
        }
        memcpy(joined->iov + joined->writable_count, chain.iov, chain.writable_count * sizeof *chain.iov);
        joined->writable_count += chain.writable_count;
        landing->heads[landing->count] = chain.head;
        landing->space[landing->count++] = chain.writable_bytes;
        landing->bytes += chain.writable_bytes;
    }
    return 0;
}

/* Give it to the driver, `bytes` long, which fit. */
static void land(struct net *net, const struct landing *landing, uint32_t bytes)
{
    struct virtqueue *queue = &net->device.queues[NET_RX];
    uint16_t used = 0;
    for (uint32_t left = bytes; left > 0 && used < landing->count; used++) {
        uint32_t part = left < landing->space[used] ? left : landing->space[used];
        virtqueue_stage(queue, used, landing->heads[used], part);
        left -= part;
    }
    virtqueue_write(&landing->joined, offsetof(struct virtio_net_hdr_v1, num_buffers), &used, sizeof used);
    virtqueue_publish(queue, used);
    unpop(queue, landing->count - used);
}

/* Read a packet. Its bytes, if there was one: it is the driver's, or pending; 0: the tap has none; -EPROTO.
 */
static int fetch(struct net *net)
{
    struct landing landing;
    int result = collect(net, &landing);
    if (result < 0)
        return result;
    struct virtqueue_chain *joined = &landing.joined;
    joined->iov[joined->writable_count] =
        (struct iovec){.iov_base = net->packet + landing.bytes, .iov_len = NET_PACKET_BYTES - landing.bytes};
    ssize_t count;
    do {
        count = readv(net->tap_fd, joined->iov, joined->writable_count + 1);
    } while (count < 0 && errno == EINTR);
    if (count >= (ssize_t)NET_HEADER_BYTES)
        net->expected = (uint32_t)count;
    if (count >= (ssize_t)NET_HEADER_BYTES && (uint32_t)count <= landing.bytes) {
        land(net, &landing, (uint32_t)count);
        return (int)count;
    }
    if (count > (ssize_t)landing.bytes && count >= (ssize_t)NET_HEADER_BYTES) {
        /* The tap fills in the ten bytes of the older header and leaves these two. */
        const uint16_t one = 1;
        joined->readable_count = joined->writable_count;
        virtqueue_read(joined, 0, net->packet, landing.bytes);
        memcpy(net->packet + offsetof(struct virtio_net_hdr_v1, num_buffers), &one, sizeof one);
        net->pending = (uint32_t)count;
    }
    unpop(&net->device.queues[NET_RX], landing.count);
    if (count < 0 && errno != EAGAIN)
        drop_tap(net);
    return net->pending > 0 ? (int)count : 0;
}

/* Move packets from the tap to the driver while it has buffers, and watch the tap only then. */
static void receive(struct net *net)
{
    struct virtio_device *device = &net->device;
    struct virtqueue *queue = &device->queues[NET_RX];
    struct virtio_turn turn = VIRTIO_TURN(NET_BUDGET);
    uint32_t events = 0;
    while (net->tap_fd >= 0 && !net->held && queue->ready && virtio_active(device)) {
        uint16_t available = virtqueue_available(queue);
        int result = 0;
        if (!throttle_admits(device->throttles[NET_RX]))
            break;
        if (turn.chains-- == 0 || turn.bytes == 0) {
            virtio_kick(device, NET_RX);
            break;
        }
        uint32_t bytes = net->pending;
        if (available > 0 && bytes == 0) {
            result = fetch(net);
            if (result == 0) {
                events = EPOLLIN;
                break;
            }
            bytes = result > 0 ? (uint32_t)result : 0;
        }
        if (available > 0 && net->pending > 0)
            result = deliver(net);
        if (result > 0) {
            throttle_charge(device->throttles[NET_RX], bytes, 0);
            turn.bytes -= bytes < turn.bytes ? bytes : turn.bytes;
        }
        if (result < 0)
            virtio_fail(device);
        /* Out of buffers: the driver's kick goes on from here. */
        if (result == 0 && virtqueue_wait_more(queue) == available)
            break;
    }
    loop_modify(device->machine->loop, &net->tap, events);
    virtio_interrupt(device, NET_RX);
}

static void tap_ready(struct loop_watch *watch, uint32_t events)
{
    struct net *net = container_of(watch, struct net, tap);
    if (events & (EPOLLERR | EPOLLHUP))
        drop_tap(net);
    else
        receive(net);
}

/* --- From the guest --- */

static bool transmit(struct virtio_device *device, struct virtqueue_chain *chain, uint32_t *written)
{
    (void)written;
    const struct net *net = container_of(device, struct net, device);
    bool sane = chain->readable_bytes > NET_HEADER_BYTES && chain->readable_bytes <= NET_PACKET_BYTES;
    /* The kernel checks header and offloads, and refuses what makes no sense. A packet that the tap does not
     * take is lost, as on any wire. */
    if (sane && net->tap_fd >= 0 && !net->held) {
        throttle_charge(device->throttles[NET_TX], chain->readable_bytes, 0);
        (void)!writev(net->tap_fd, chain->iov, chain->readable_count);
    }
    return true;
}

/* --- Device --- */

static void process(struct virtio_device *device, uint16_t index)
{
    struct net *net = container_of(device, struct net, device);
    if (index == NET_RX)
        receive(net);
    else
        virtio_serve_queue(device, NET_TX, VIRTIO_TURN(NET_BUDGET), transmit);
}

static void activate(struct virtio_device *device)
{
    struct net *net = container_of(device, struct net, device);
    if (net->tap_fd >= 0 && apply_offloads(net, net->tap_fd) < 0)
        drop_tap(net);
}

static void reset(struct virtio_device *device)
{
    struct net *net = container_of(device, struct net, device);
    net->pending = 0;
    net->link = net->tap_fd >= 0;
    if (net->tap_fd >= 0)
        loop_modify(device->machine->loop, &net->tap, 0);
}

static void resume(struct virtio_device *device)
{
    struct net *net = container_of(device, struct net, device);
    /* The link of the snapshot's source may have been another. */
    set_link(net, net->tap_fd >= 0);
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data, uint32_t length)
{
    const struct net *net = container_of(device, struct net, device);
    struct virtio_net_config config = {.status = net->link ? VIRTIO_NET_S_LINK_UP : 0};
    memcpy(config.mac, net->mac, sizeof config.mac);
    virtio_copy_config(&config, sizeof config, offset, data, length);
}

/* A packet that waits for buffers is not kept: networks lose packets. */
static void save(const struct virtio_device *device, struct vmstate_writer *writer)
{
    const struct net *net = container_of(device, struct net, device);
    vmstate_put_bytes(writer, net->mac, sizeof net->mac);
    vmstate_put_u8(writer, net->link);
}

/* What came for the guest of before is not for the one that is put back; no more than a tap holds. */
static void drain(struct net *net)
{
    for (uint32_t i = 0; i < NET_DRAINED && read(net->tap_fd, net->packet, NET_PACKET_BYTES) > 0; i++) {
    }
}

static void restore(struct virtio_device *device, struct vmstate_section *section)
{
    struct net *net = container_of(device, struct net, device);
    /* The driver read the address when it started, and keeps it. */
    vmstate_get_bytes(section, net->mac, sizeof net->mac);
    uint8_t link = vmstate_get_u8(section);
    if (link > 1)
        vmstate_reject(section);
    net->link = link != 0;
    if (net->tap_fd < 0) /* also: a fork server */
        return;
    if (apply_offloads(net, net->tap_fd) < 0)
        drop_tap(net);
    else
        drain(net);
}

static void close_device(struct virtio_device *device)
{
    struct net *net = container_of(device, struct net, device);
    if (net->tap_fd >= 0) {
        loop_remove(device->machine->loop, &net->tap);
        close(net->tap_fd);
    }
    throttle_free(device);
    free(net->packet);
    free(net);
}

static const struct virtio_ops net_ops = {
    .name = "net",
    .id = VIRTIO_ID_NET,
    .queue_count = 2,
    .activate = activate,
    .reset = reset,
    .read_config = read_config,
    .process = process,
    .save = save,
    .restore = restore,
    .resume = resume,
    .close = close_device,
};

int net_create(struct virtio_device **out, struct virtio_machine *machine, uint32_t gsi, const uint8_t mac[6],
               struct forkd_error *err)
{
    struct net *net = calloc(1, sizeof *net);
    if (net == NULL)
        return error_set(err, ENOMEM, "create", "net device", NULL);
    virtio_init(&net->device, &net_ops, machine, gsi, NET_FEATURES, NET_QUEUE_SIZE);
    memcpy(net->mac, mac, sizeof net->mac);
    net->tap.fd = -1;
    net->tap.ready = tap_ready;
    net->tap_fd = -1;
    *out = &net->device;
    return 0;
}

/* Make the tap ready and watch it. */
static int take_tap(struct net *net, int tap_fd, struct forkd_error *err)
{
    int header = (int)NET_HEADER_BYTES;
    unsigned int offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
    if (net->tap_fd >= 0)
        return error_set(err, EBUSY, "attach", "net device", "it has a tap already");
    if (ioctl(tap_fd, TUNSETVNETHDRSZ, &header) < 0)
        return error_set(err, errno, "TUNSETVNETHDRSZ", "net device", "the tap needs IFF_VNET_HDR");
    /* Whether the tap can do what we offer shows now, not when the guest's driver starts. */
    if (ioctl(tap_fd, TUNSETOFFLOAD, offloads) < 0)
        return error_set(err, errno, "TUNSETOFFLOAD", "net device", NULL);
    if (net->packet == NULL)
        net->packet = malloc(NET_PACKET_BYTES);
    if (net->packet == NULL)
        return error_set(err, ENOMEM, "attach", "net device", NULL);
    int result = apply_offloads(net, tap_fd);
    if (result < 0)
        return error_set(err, result, "TUNSETOFFLOAD", "net device", NULL);
    return loop_add(net->device.machine->loop, &net->tap, tap_fd, 0, err);
}

int net_attach(struct virtio_device *device, int tap_fd, struct forkd_error *err)
{
    struct net *net = container_of(device, struct net, device);
    int result = take_tap(net, tap_fd, err);
    if (result < 0) {
        close(tap_fd);
        return result;
    }
    net->tap_fd = tap_fd;
    /* A driver that runs hears of it when the device is resumed. */
    if (!(device->status & VIRTIO_CONFIG_S_DRIVER_OK))
        net->link = true;
    return 0;
}

int net_limit(struct virtio_device *device, uint64_t bytes_per_second, struct forkd_error *err)
{
    int result = throttle_queue(device, NET_RX, bytes_per_second, FORKD_UNLIMITED, err);
    return result < 0 ? result : throttle_queue(device, NET_TX, bytes_per_second, FORKD_UNLIMITED, err);
}

void net_hold(struct virtio_device *device, bool held)
{
    struct net *net = container_of(device, struct net, device);
    const struct virtqueue *sent = &device->queues[NET_TX];
    /* What was sent while held is lost also when we have not come to it yet. */
    if (net->held && !held && sent->ready && virtio_active(device))
        virtio_serve_queue(device, NET_TX, (struct virtio_turn){.chains = sent->size, .bytes = UINT64_MAX},
                           transmit);
    net->held = held;
    if (!held)
        receive(net);
}

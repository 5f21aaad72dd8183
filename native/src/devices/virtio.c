/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio.h"

#include "devices/throttle.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* virtio 1.2, 4.2.2: the registers are those of linux/virtio_mmio.h. */
#define MMIO_MAGIC 0x74726976u /* "virt" */
#define MMIO_VERSION 2u
#define MMIO_VENDOR 0x444b5246u /* "FRKD" */

/* What the transport and the queues offer on every device (virtio 1.2, 6). */
#define TRANSPORT_FEATURES                                                                                   \
    (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX | 1ull << VIRTIO_RING_F_INDIRECT_DESC)

/* virtio 1.2, 2.1: the bits that a driver may set. */
#define STATUS_FROM_DRIVER                                                                                   \
    (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |                    \
     VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED)

#define STATE_VERSION 1u

static uint64_t offered(const struct virtio_device *device)
{
    return device->device_features | TRANSPORT_FEATURES;
}

static bool features_acceptable(const struct virtio_device *device)
{
    return (device->driver_features & ~offered(device)) == 0 &&
           (device->driver_features & 1ull << VIRTIO_F_VERSION_1) != 0;
}

/* What the queues need to know of the features: computed again after a restore. */
static void apply_features(struct virtio_device *device)
{
    for (uint16_t i = 0; i < device->ops->queue_count; i++) {
        device->queues[i].event_idx = virtio_has_feature(device, VIRTIO_RING_F_EVENT_IDX);
        device->queues[i].indirect = virtio_has_feature(device, VIRTIO_RING_F_INDIRECT_DESC);
    }
}

/* The line is level-triggered: it follows whether interrupt_status has any bit. */
static void set_interrupt_status(struct virtio_device *device, uint32_t status)
{
    uint32_t old = device->interrupt_status;
    device->interrupt_status = status;
    if ((old != 0) != (status != 0))
        device->machine->set_irq(device->machine, device->gsi, status != 0);
}

void virtio_init(struct virtio_device *device, const struct virtio_ops *ops, struct virtio_machine *machine,
                 uint32_t gsi, uint64_t features, uint16_t queue_size)
{
    memset(device, 0, sizeof *device);
    device->ops = ops;
    device->machine = machine;
    device->gsi = gsi;
    device->device_features = features;
    for (uint16_t i = 0; i < ops->queue_count; i++) {
        device->queues[i].memory = machine->memory;
        device->queues[i].max_size = queue_size;
        virtqueue_reset(&device->queues[i]);
    }
}

static void reset(struct virtio_device *device)
{
    device->status = 0;
    device->driver_features = 0;
    device->device_features_select = 0;
    device->driver_features_select = 0;
    device->queue_select = 0;
    __atomic_store_n(&device->kicked, 0, __ATOMIC_RELAXED);
    if (device->ops->reset != NULL)
        device->ops->reset(device);
    for (uint16_t i = 0; i < device->ops->queue_count; i++)
        virtqueue_reset(&device->queues[i]);
    set_interrupt_status(device, 0);
}

/* virtio 1.2, 3.1.1: the driver works its way up; bits go away only by a reset. */
static void write_status(struct virtio_device *device, uint32_t value)
{
    if (value == 0) {
        reset(device);
        return;
    }
    uint32_t added = value & STATUS_FROM_DRIVER & ~device->status;
    if ((added & VIRTIO_CONFIG_S_FEATURES_OK) && !features_acceptable(device))
        added &= ~VIRTIO_CONFIG_S_FEATURES_OK;
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && !((device->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
        added &= ~VIRTIO_CONFIG_S_DRIVER_OK;
    device->status |= added;
    if (added & VIRTIO_CONFIG_S_FEATURES_OK)
        apply_features(device);
    if ((added & VIRTIO_CONFIG_S_DRIVER_OK) && virtio_active(device)) {
        if (device->ops->activate != NULL)
            device->ops->activate(device);
        /* A driver may have kicked too early; virtio 1.2, 2.1.2 keeps us from looking before now. */
        if (__atomic_load_n(&device->kicked, __ATOMIC_RELAXED) != 0)
            device->machine->wake(device->machine);
    }
}

static struct virtqueue *selected(struct virtio_device *device)
{
    return device->queue_select < device->ops->queue_count ? &device->queues[device->queue_select] : NULL;
}

static uint32_t read_register(struct virtio_device *device, uint32_t offset)
{
    const struct virtqueue *queue = selected(device);
    switch (offset) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MMIO_MAGIC;
    case VIRTIO_MMIO_VERSION:
        return MMIO_VERSION;
    case VIRTIO_MMIO_DEVICE_ID:
        return device->ops->id;
    case VIRTIO_MMIO_VENDOR_ID:
        return MMIO_VENDOR;
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return device->device_features_select > 1
                   ? 0
                   : (uint32_t)(offered(device) >> (32 * device->device_features_select));
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return queue == NULL ? 0 : queue->max_size;
    case VIRTIO_MMIO_QUEUE_READY:
        return queue != NULL && queue->ready;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        return device->interrupt_status;
    case VIRTIO_MMIO_STATUS:
        /* virtio 1.2, 2.1.1: 0 when a reset is complete, as a driver that waits for that sees. One that does
         * not, as Linux, takes no notice of this bit. */
        return device->status == 0 && device->ops->busy != NULL && device->ops->busy(device)
                   ? VIRTIO_CONFIG_S_NEEDS_RESET
                   : device->status;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
        /* virtio 1.2, 4.2.2.1: a length of -1 says that there is no such region. */
        return UINT32_MAX;
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return device->config_generation;
    default:
        return 0;
    }
}

static void set_low(uint64_t *value, uint32_t half)
{
    *value = (*value & 0xffffffff00000000ull) | half;
}

static void set_high(uint64_t *value, uint32_t half)
{
    *value = (*value & 0xffffffffull) | (uint64_t)half << 32;
}

static void write_queue_register(struct virtqueue *queue, uint32_t offset, uint32_t value)
{
    if (offset == VIRTIO_MMIO_QUEUE_READY) {
        if (value == 0)
            queue->ready = false;
        else if (!queue->ready)
            virtqueue_enable(queue);
        return;
    }
    /* virtio 1.2, 4.2.2.2: these are not to be touched while the queue is ready. Its layout was checked then.
     */
    if (queue->ready)
        return;
    switch (offset) {
    case VIRTIO_MMIO_QUEUE_NUM:
        queue->size = value <= queue->max_size ? (uint16_t)value : 0;
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
        set_low(&queue->desc, value);
        break;
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_high(&queue->desc, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
        set_low(&queue->avail, value);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_high(&queue->avail, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
        set_low(&queue->used, value);
        break;
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_high(&queue->used, value);
        break;
    default:
        break;
    }
}

static void write_driver_features(struct virtio_device *device, uint32_t value)
{
    /* virtio 1.2, 3.1.1: the choice is final with FEATURES_OK. */
    if (device->status & VIRTIO_CONFIG_S_FEATURES_OK)
        return;
    if (device->driver_features_select == 0)
        set_low(&device->driver_features, value);
    else if (device->driver_features_select == 1)
        set_high(&device->driver_features, value);
}

void virtio_kick(struct virtio_device *device, uint16_t queue)
{
    if (device->ops->begin != NULL && virtio_active(device) && device->queues[queue].ready &&
        device->ops->begin(device, queue))
        return;
    /* Release: orders the bit before the wake, whose receiver takes the bits. */
    __atomic_fetch_or(&device->kicked, 1u << queue, __ATOMIC_RELEASE);
    if (virtio_active(device))
        device->machine->wake(device->machine);
}

static void write_register(struct virtio_device *device, uint32_t offset, uint32_t value)
{
    switch (offset) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        device->device_features_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        device->driver_features_select = value;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        write_driver_features(device, value);
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        device->queue_select = value;
        break;
    case VIRTIO_MMIO_QUEUE_NOTIFY:
        if (value < device->ops->queue_count)
            virtio_kick(device, (uint16_t)value);
        break;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        set_interrupt_status(device, device->interrupt_status & ~value);
        break;
    case VIRTIO_MMIO_STATUS:
        write_status(device, value);
        break;
    default: {
        struct virtqueue *queue = selected(device);
        if (queue != NULL)
            write_queue_register(queue, offset, value);
    }
    }
}

void virtio_mmio_read(struct virtio_device *device, uint32_t offset, void *data, uint32_t length)
{
    memset(data, 0, length);
    if (offset >= VIRTIO_MMIO_CONFIG) {
        if (device->ops->read_config != NULL)
            device->ops->read_config(device, offset - VIRTIO_MMIO_CONFIG, data, length);
        return;
    }
    /* virtio 1.2, 4.2.2.2: registers are accessed by aligned 32-bit words only. */
    if (length != sizeof(uint32_t))
        return;
    uint32_t value = read_register(device, offset);
    memcpy(data, &value, sizeof value);
}

void virtio_mmio_write(struct virtio_device *device, uint32_t offset, const void *data, uint32_t length)
{
    if (offset >= VIRTIO_MMIO_CONFIG) {
        if (device->ops->write_config != NULL)
            device->ops->write_config(device, offset - VIRTIO_MMIO_CONFIG, data, length);
        return;
    }
    uint32_t value;
    if (length != sizeof value)
        return;
    memcpy(&value, data, sizeof value);
    write_register(device, offset, value);
}

void virtio_process(struct virtio_device *device)
{
    if (!virtio_active(device))
        return;
    /* Most have nothing to do, and their memory is not written to: in a child it is still the server's. */
    if (__atomic_load_n(&device->kicked, __ATOMIC_RELAXED) == 0)
        return;
    /* Acquire: orders taking the bits before the loads of the rings that they announce. A bit that comes in
     * from here on is for the next call. */
    uint32_t kicked = __atomic_exchange_n(&device->kicked, 0, __ATOMIC_ACQUIRE);
    for (uint16_t i = 0; i < device->ops->queue_count; i++) {
        if ((kicked & 1u << i) && device->queues[i].ready && virtio_active(device))
            device->ops->process(device, i);
    }
}

bool virtio_active(const struct virtio_device *device)
{
    uint32_t stopped = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;
    return (device->status & VIRTIO_CONFIG_S_DRIVER_OK) && !(device->status & stopped);
}

bool virtio_has_feature(const struct virtio_device *device, uint32_t bit)
{
    return (device->driver_features >> bit & 1) != 0;
}

void virtio_interrupt(struct virtio_device *device, uint16_t queue)
{
    device->machine->news(device->machine);
    if (virtqueue_interrupt_due(&device->queues[queue]))
        set_interrupt_status(device, device->interrupt_status | VIRTIO_MMIO_INT_VRING);
}

bool virtio_serve_queue(struct virtio_device *device, uint16_t index, struct virtio_turn turn,
                        virtio_serve *serve)
{
    struct virtqueue *queue = &device->queues[index];
    struct virtqueue_chain chain;
    int result = 0;
    /* Whoever stops it here has it kicked again. */
    while (throttle_admits(device->throttles[index])) {
        result = virtqueue_pop(queue, &chain);
        if (result == 0 && virtqueue_wait_kick(queue))
            continue;
        if (result <= 0)
            break;
        uint32_t written = 0;
        if (!serve(device, &chain, &written)) {
            virtio_fail(device);
            return false;
        }
        virtqueue_push(queue, chain.head, written);
        uint64_t bytes = (uint64_t)chain.readable_bytes + written;
        if (--turn.chains == 0 || bytes >= turn.bytes) {
            virtio_kick(device, index);
            break;
        }
        turn.bytes -= bytes;
    }
    virtio_interrupt(device, index);
    if (result < 0)
        virtio_fail(device);
    return result >= 0;
}

void virtio_copy_config(const void *config, size_t size, uint32_t offset, void *data, uint32_t length)
{
    if (offset >= size)
        return;
    size_t part = size - offset < length ? size - offset : length;
    memcpy(data, (const uint8_t *)config + offset, part);
}

void virtio_config_changed(struct virtio_device *device)
{
    device->config_generation++;
    device->machine->news(device->machine);
    if (device->status & VIRTIO_CONFIG_S_DRIVER_OK)
        set_interrupt_status(device, device->interrupt_status | VIRTIO_MMIO_INT_CONFIG);
}

void virtio_fail(struct virtio_device *device)
{
    if (device->status & VIRTIO_CONFIG_S_NEEDS_RESET)
        return;
    device->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
    /* virtio 1.2, 2.1.2: the driver hears of it as a change of configuration. */
    virtio_config_changed(device);
}

void virtio_save(const struct virtio_device *device, uint32_t instance, struct vmstate_writer *writer)
{
    vmstate_begin(writer, device->ops->name, instance, STATE_VERSION);
    vmstate_put_u64(writer, device->driver_features);
    vmstate_put_u32(writer, device->device_features_select);
    vmstate_put_u32(writer, device->driver_features_select);
    vmstate_put_u32(writer, device->queue_select);
    vmstate_put_u32(writer, device->status);
    vmstate_put_u32(writer, device->interrupt_status);
    vmstate_put_u32(writer, device->config_generation);
    vmstate_put_u32(writer, device->kicked);
    for (uint16_t i = 0; i < device->ops->queue_count; i++)
        virtqueue_save(&device->queues[i], writer);
    if (device->ops->save != NULL)
        device->ops->save(device, writer);
    vmstate_end(writer);
}

static bool state_valid(const struct virtio_device *device)
{
    uint32_t status = device->status;
    if ((status & ~(STATUS_FROM_DRIVER | VIRTIO_CONFIG_S_NEEDS_RESET)) != 0 ||
        ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !(status & VIRTIO_CONFIG_S_FEATURES_OK)))
        return false;
    /* Features that this host or these disks can not give are no longer negotiable. */
    if ((status & VIRTIO_CONFIG_S_FEATURES_OK) && !features_acceptable(device))
        return false;
    return (device->interrupt_status & ~(uint32_t)(VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG)) == 0 &&
           device->kicked >> device->ops->queue_count == 0;
}

int virtio_restore(struct virtio_device *device, uint32_t instance, const struct vmstate_reader *reader,
                   struct forkd_error *err)
{
    struct vmstate_section section;
    int result = vmstate_open(reader, device->ops->name, instance, STATE_VERSION, &section, err);
    if (result < 0)
        return result;
    /* A device that has been running drops what is under way; a new one has nothing, and no call goes out. */
    reset(device);
    throttle_forgive(device);
    device->driver_features = vmstate_get_u64(&section);
    device->device_features_select = vmstate_get_u32(&section);
    device->driver_features_select = vmstate_get_u32(&section);
    device->queue_select = vmstate_get_u32(&section);
    device->status = vmstate_get_u32(&section);
    /* No set_irq: this may be a fork server, which has no VM. virtio_resume raises the line. */
    device->interrupt_status = vmstate_get_u32(&section);
    device->config_generation = vmstate_get_u32(&section);
    device->kicked = vmstate_get_u32(&section);
    for (uint16_t i = 0; i < device->ops->queue_count; i++)
        virtqueue_restore(&device->queues[i], &section);
    if (!state_valid(device))
        vmstate_reject(&section);
    apply_features(device);
    if (device->ops->restore != NULL)
        device->ops->restore(device, &section);
    result = vmstate_close(&section, err);
    if (result < 0) {
        device->interrupt_status = 0;
        reset(device);
    }
    return result;
}

void virtio_resume(struct virtio_device *device)
{
    if (device->interrupt_status != 0)
        device->machine->set_irq(device->machine, device->gsi, true);
    if (device->ops->resume != NULL)
        device->ops->resume(device);
    for (uint16_t i = 0; i < device->ops->queue_count; i++) {
        if (device->queues[i].ready)
            __atomic_fetch_or(&device->kicked, 1u << i, __ATOMIC_RELAXED);
    }
    virtio_process(device);
}

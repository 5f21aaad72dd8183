/* SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void require_at(bool condition, const char *what, int line)
{
    if (condition)
        return;
    fprintf(stderr, "driver.c:%d: %s\n", line, what);
    abort();
}
#define require(condition) require_at(condition, #condition, __LINE__)

static void news(struct virtio_machine *machine)
{
    (void)machine;
}

static void set_irq(struct virtio_machine *machine, uint32_t gsi, bool level)
{
    struct driver *driver = container_of(machine, struct driver, machine);
    require(gsi == DRIVER_GSI);
    require(level != driver->irq);
    driver->irq = level;
    driver->irq_calls++;
}

static void wake(struct virtio_machine *machine)
{
    container_of(machine, struct driver, machine)->woken = true;
}

static void fail(struct virtio_machine *machine, const struct forkd_error *error)
{
    (void)machine;
    require_at(false, error->text, __LINE__);
}

void driver_open(struct driver *driver, uint64_t memory_bytes)
{
    memset(driver, 0, sizeof *driver);
    void *host =
        mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(host != MAP_FAILED);
    driver->memory = (struct guest_memory){.host = host, .size = memory_bytes};
    pthread_mutex_init(&driver->lock, NULL);
    require(loop_init(&driver->loop, &driver->lock, NULL) == 0);
    driver->machine = (struct virtio_machine){.memory = &driver->memory,
                                              .loop = &driver->loop,
                                              .set_irq = set_irq,
                                              .news = news,
                                              .wake = wake,
                                              .fail = fail};
    driver->allocated = GUEST_PAGE_SIZE; /* address 0 stays free: a mistake shows */
}

void driver_close(struct driver *driver)
{
    loop_close(&driver->loop);
    munmap(driver->memory.host, driver->memory.size);
}

uint64_t driver_allocate(struct driver *driver, uint64_t bytes)
{
    uint64_t address = driver->allocated;
    driver->allocated += (bytes + GUEST_PAGE_SIZE - 1) / GUEST_PAGE_SIZE * GUEST_PAGE_SIZE;
    require(driver->allocated <= guest_memory_low(&driver->memory));
    return address;
}

void *driver_at(const struct driver *driver, uint64_t address)
{
    void *pointer = guest_memory_at(&driver->memory, address, 1);
    require(pointer != NULL);
    return pointer;
}

uint32_t driver_read(struct driver *driver, uint32_t offset)
{
    uint32_t value = 0xdeadbeef;
    pthread_mutex_lock(&driver->lock);
    virtio_mmio_read(driver->device, offset, &value, sizeof value);
    pthread_mutex_unlock(&driver->lock);
    return value;
}

void driver_write(struct driver *driver, uint32_t offset, uint32_t value)
{
    pthread_mutex_lock(&driver->lock);
    virtio_mmio_write(driver->device, offset, &value, sizeof value);
    pthread_mutex_unlock(&driver->lock);
}

void driver_negotiate(struct driver *driver, struct virtio_device *device, uint64_t features)
{
    driver->device = device;
    driver_write(driver, VIRTIO_MMIO_STATUS, 0);
    driver_write(driver, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    driver_write(driver, VIRTIO_MMIO_STATUS, status);
    uint64_t offered = 0;
    for (uint32_t half = 0; half < 2; half++) {
        driver_write(driver, VIRTIO_MMIO_DEVICE_FEATURES_SEL, half);
        offered |= (uint64_t)driver_read(driver, VIRTIO_MMIO_DEVICE_FEATURES) << (32 * half);
    }
    driver->features = offered & (features | DRIVER_FEATURE(VIRTIO_F_VERSION_1));
    for (uint32_t half = 0; half < 2; half++) {
        driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
        driver_write(driver, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(driver->features >> (32 * half)));
    }
    driver_write(driver, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_FEATURES_OK);
    require(driver_read(driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
}

void driver_setup_queue(struct driver *driver, uint16_t index, uint16_t queue_size)
{
    struct driver_queue *queue = &driver->queues[index];
    if (queue->desc == 0) {
        queue->desc = driver_allocate(driver, VIRTQUEUE_MAX_SIZE * sizeof(struct vring_desc));
        queue->avail = driver_allocate(driver, 2 * GUEST_PAGE_SIZE);
        queue->used = driver_allocate(driver, 2 * GUEST_PAGE_SIZE);
    }
    memset(driver_at(driver, queue->avail), 0, GUEST_PAGE_SIZE);
    memset(driver_at(driver, queue->used), 0, GUEST_PAGE_SIZE);
    queue->size = queue_size;
    queue->avail_index = 0;
    queue->used_index = 0;
    queue->free_count = queue_size;
    for (uint16_t i = 0; i < queue_size; i++)
        queue->free[i] = (uint16_t)(queue_size - 1 - i);
    driver_write(driver, VIRTIO_MMIO_QUEUE_SEL, index);
    require(driver_read(driver, VIRTIO_MMIO_QUEUE_NUM_MAX) >= queue_size);
    driver_write(driver, VIRTIO_MMIO_QUEUE_NUM, queue_size);
    driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)queue->desc);
    driver_write(driver, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(queue->desc >> 32));
    driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)queue->avail);
    driver_write(driver, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(queue->avail >> 32));
    driver_write(driver, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)queue->used);
    driver_write(driver, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(queue->used >> 32));
    driver_write(driver, VIRTIO_MMIO_QUEUE_READY, 1);
    require(driver_read(driver, VIRTIO_MMIO_QUEUE_READY) == 1);
}

void driver_start(struct driver *driver, struct virtio_device *device, uint64_t features, uint16_t queue_size)
{
    driver_negotiate(driver, device, features);
    for (uint16_t i = 0; i < device->ops->queue_count; i++)
        driver_setup_queue(driver, i, queue_size);
    driver_write(driver, VIRTIO_MMIO_STATUS,
                 driver_read(driver, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
    require(virtio_active(device));
}

void driver_descriptor(struct driver *driver, uint16_t queue, uint16_t index, uint64_t address,
                       uint32_t length, uint16_t flags, uint16_t next)
{
    struct vring_desc *desc = driver_at(driver, driver->queues[queue].desc);
    desc[index] = (struct vring_desc){.addr = address, .len = length, .flags = flags, .next = next};
}

void driver_offer(struct driver *driver, uint16_t index, uint16_t head)
{
    struct driver_queue *queue = &driver->queues[index];
    struct vring_avail *avail = driver_at(driver, queue->avail);
    avail->ring[queue->avail_index % queue->size] = head;
    __atomic_store_n(&avail->idx, ++queue->avail_index, __ATOMIC_RELEASE);
}

uint16_t driver_add(struct driver *driver, uint16_t index, const struct driver_buffer *buffers,
                    uint16_t count)
{
    struct driver_queue *queue = &driver->queues[index];
    require(count > 0 && queue->free_count >= count);
    uint16_t next = 0;
    for (uint16_t i = count; i-- > 0;) {
        uint16_t desc = queue->free[--queue->free_count];
        uint16_t flags = buffers[i].writable ? VRING_DESC_F_WRITE : 0;
        if (i + 1 < count)
            flags |= VRING_DESC_F_NEXT;
        driver_descriptor(driver, index, desc, buffers[i].address, buffers[i].length, flags, next);
        next = desc;
    }
    driver_offer(driver, index, next);
    return next;
}

void driver_kick(struct driver *driver, uint16_t queue)
{
    driver_write(driver, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
    driver_run(driver, 0);
}

bool driver_collect(struct driver *driver, uint16_t index, uint16_t *head, uint32_t *length)
{
    struct driver_queue *queue = &driver->queues[index];
    const struct vring_used *used = driver_at(driver, queue->used);
    if (__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) == queue->used_index)
        return false;
    const struct vring_used_elem *element = &used->ring[queue->used_index++ % queue->size];
    require(element->id < queue->size);
    *head = (uint16_t)element->id;
    *length = element->len;
    const struct vring_desc *desc = driver_at(driver, queue->desc);
    for (uint16_t at = *head;; at = desc[at].next) {
        require(queue->free_count < queue->size);
        queue->free[queue->free_count++] = at;
        if (!(desc[at].flags & VRING_DESC_F_NEXT))
            break;
    }
    /* So that the device interrupts again for the next one (virtio 1.2, 2.7.7). */
    struct vring_avail *avail = driver_at(driver, queue->avail);
    avail->ring[queue->size] = queue->used_index;
    return true;
}

struct driver_buffer driver_buffer_of(const struct driver *driver, uint16_t index, uint16_t head,
                                      uint16_t position)
{
    const struct vring_desc *desc = driver_at(driver, driver->queues[index].desc);
    const struct vring_desc *at = &desc[head];
    while (position-- > 0)
        at = &desc[at->next];
    return (struct driver_buffer){
        .address = at->addr, .length = at->len, .writable = (at->flags & VRING_DESC_F_WRITE) != 0};
}

uint16_t driver_avail_event(const struct driver *driver, uint16_t index)
{
    const struct driver_queue *queue = &driver->queues[index];
    uint16_t value;
    uint64_t offset = sizeof(struct vring_used) + queue->size * sizeof(struct vring_used_elem);
    memcpy(&value, driver_at(driver, queue->used + offset), sizeof value);
    return value;
}

void driver_run(struct driver *driver, int timeout_ms)
{
    const struct virtio_device *device = driver->device;
    pthread_mutex_lock(&driver->lock);
    if (driver->woken)
        timeout_ms = 0;
    while (driver->woken || (device->ops->busy != NULL && device->ops->busy(device))) {
        bool woken = driver->woken;
        driver->woken = false;
        if (woken)
            virtio_process(driver->device);
        pthread_mutex_unlock(&driver->lock);
        if (!woken)
            usleep(100);
        pthread_mutex_lock(&driver->lock);
    }
    pthread_mutex_unlock(&driver->lock);
    require(loop_once(&driver->loop, timeout_ms, NULL) == 0);
}

void driver_save(const struct virtio_device *device, struct vmstate_writer *out)
{
    vmstate_writer_init(out);
    virtio_save(device, 0, out);
    require(vmstate_writer_finish(out, NULL) == 0);
}

int driver_restore(struct virtio_device *device, const struct vmstate_writer *state)
{
    struct vmstate_reader reader;
    require(vmstate_reader_init(&reader, state->data, state->length, NULL) == 0);
    return virtio_restore(device, 0, &reader, NULL);
}

static bool same(const struct vmstate_writer *a, const struct vmstate_writer *b)
{
    return a->length == b->length && memcmp(a->data, b->data, a->length) == 0;
}

/* The section with its payload cut to `length`, under valid checksums. */
static void rewrite(const struct virtio_device *device, const struct vmstate_section *section, size_t length,
                    struct vmstate_writer *out)
{
    vmstate_writer_init(out);
    vmstate_begin(out, device->ops->name, 0, section->version);
    vmstate_put_bytes(out, section->data, length);
    vmstate_end(out);
    require(vmstate_writer_finish(out, NULL) == 0);
}

void driver_state_battery(struct virtio_device *changed, struct virtio_device *fresh)
{
    struct vmstate_writer state;
    struct vmstate_writer other;
    driver_save(changed, &state);
    driver_save(fresh, &other);
    require(!same(&state, &other));
    vmstate_writer_free(&other);

    struct vmstate_reader reader;
    struct vmstate_section section;
    require(vmstate_reader_init(&reader, state.data, state.length, NULL) == 0);
    require(vmstate_open(&reader, changed->ops->name, 0, UINT32_MAX, &section, NULL) == 0);
    for (size_t length = 0; length < section.length; length++) {
        rewrite(changed, &section, length, &other);
        require(driver_restore(fresh, &other) == -EBADMSG);
        vmstate_writer_free(&other);
    }

    /* driver_features is the first field; bit 63 is offered by no device. */
    uint8_t *payload = malloc(section.length + 1);
    require(payload != NULL);
    require(section.length >= 8);
    memcpy(payload, section.data, section.length);
    payload[7] |= 0x80;
    struct vmstate_section greedy = section;
    greedy.data = payload;
    rewrite(changed, &greedy, section.length, &other);
    require(driver_restore(fresh, &other) == -EBADMSG);
    vmstate_writer_free(&other);
    free(payload);

    require(driver_restore(fresh, &state) == 0);
    driver_save(fresh, &other);
    require(same(&state, &other));
    vmstate_writer_free(&other);
    vmstate_writer_free(&state);
}

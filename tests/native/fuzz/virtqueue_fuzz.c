/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile queue memory: the input is a layout, what the device does, and the guest's memory with descriptors,
 * rings and tables. Whatever it says, chains lie in guest memory, in order and within bounds, and what is
 * written to is noted.
 */
#include "driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MEMORY_BYTES 16384u
#define MAX_STEPS 64u

struct input {
    uint8_t size_log2;
    uint8_t flags; /* 1: EVENT_IDX, 2: indirect, 4: change memory between steps */
    uint16_t desc;
    uint16_t avail;
    uint16_t used;
    uint16_t next_avail;
    uint16_t next_used;
    uint8_t steps[20];
};

static void check(bool condition)
{
    if (!condition)
        abort();
}

static void check_chain(const struct guest_memory *memory, const struct virtqueue_chain *chain)
{
    uint32_t count = (uint32_t)chain->readable_count + chain->writable_count;
    uint64_t bytes[2] = {0, 0};
    check(count > 0 && count <= VIRTQUEUE_MAX_SIZE);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *base = chain->iov[i].iov_base;
        check(chain->iov[i].iov_len > 0);
        check(base >= memory->host && base + chain->iov[i].iov_len <= memory->host + memory->size);
        bytes[i >= chain->readable_count] += chain->iov[i].iov_len;
    }
    check(bytes[0] == chain->readable_bytes && bytes[1] == chain->writable_bytes);
}

static void step(struct virtqueue *queue, uint8_t what)
{
    static struct virtqueue_chain chain;
    uint8_t copy[256];
    if (virtqueue_pop(queue, &chain) <= 0)
        return;
    check_chain(queue->memory, &chain);
    check(virtqueue_read(&chain, what, copy, sizeof copy) <= chain.readable_bytes);
    switch (what & 3) {
    case 0:
        virtqueue_unpop(queue);
        break;
    case 1:
        check(virtqueue_write(&chain, what, copy, sizeof copy) <= chain.writable_bytes);
        virtqueue_push(queue, chain.head, chain.writable_bytes);
        break;
    default:
        virtqueue_stage(queue, what, chain.head, 1);
        virtqueue_publish(queue, 1);
        break;
    }
    virtqueue_interrupt_due(queue);
    virtqueue_wait_kick(queue);
    check(virtqueue_wait_more(queue) == virtqueue_available(queue));
}

/* No page has changed that is not noted. */
static void noting_step(struct virtqueue *queue, uint8_t what)
{
    static uint8_t before[MEMORY_BYTES];
    const struct guest_memory *memory = queue->memory;
    memcpy(before, memory->host, sizeof before);
    *memory->noted = 0;
    step(queue, what);
    for (uint32_t page = 0; page < MEMORY_BYTES / GUEST_PAGE_SIZE; page++) {
        size_t at = (size_t)page * GUEST_PAGE_SIZE;
        check((*memory->noted >> page & 1) != 0 ||
              memcmp(before + at, memory->host + at, GUEST_PAGE_SIZE) == 0);
    }
    check(*memory->noted >> MEMORY_BYTES / GUEST_PAGE_SIZE == 0);
}

/* What was saved is restored, or refused, as the layout is valid or not. */
static void round_trip(const struct virtqueue *queue)
{
    struct vmstate_writer writer;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct virtqueue other = {.memory = queue->memory, .max_size = queue->max_size};
    vmstate_writer_init(&writer);
    vmstate_begin(&writer, "queue", 0, 1);
    virtqueue_save(queue, &writer);
    vmstate_end(&writer);
    check(vmstate_writer_finish(&writer, NULL) == 0);
    check(vmstate_reader_init(&reader, writer.data, writer.length, NULL) == 0);
    check(vmstate_open(&reader, "queue", 0, 1, &section, NULL) == 0);
    virtqueue_restore(&other, &section);
    check(vmstate_close(&section, NULL) == 0);
    check(other.ready == queue->ready && other.next_avail == queue->next_avail);
    vmstate_writer_free(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t host[MEMORY_BYTES] __attribute__((aligned(4096)));
    static uint64_t noted;
    const struct guest_memory memory = {.host = host, .size = sizeof host, .noted = &noted};
    struct input input;
    if (size < sizeof input)
        return 0;
    memcpy(&input, data, sizeof input);
    data += sizeof input;
    size -= sizeof input;
    memset(host, 0, sizeof host);
    memcpy(host, data, size < sizeof host ? size : sizeof host);

    struct virtqueue queue = {.memory = &memory, .max_size = VIRTQUEUE_MAX_SIZE};
    virtqueue_reset(&queue);
    queue.size = (uint16_t)(1u << (input.size_log2 & 15));
    queue.desc = input.desc;
    queue.avail = input.avail;
    queue.used = input.used;
    queue.event_idx = (input.flags & 1) != 0;
    queue.indirect = (input.flags & 2) != 0;
    if (!virtqueue_enable(&queue))
        return 0;
    queue.next_avail = input.next_avail;
    queue.next_used = input.next_used;
    for (uint32_t i = 0; i < MAX_STEPS && !queue.broken; i++) {
        noting_step(&queue, input.steps[i % sizeof input.steps]);
        if ((input.flags & 4) && size > 0)
            host[(i * 2654435761u + data[i % size]) % sizeof host] ^= data[(i * 7) % size];
    }
    round_trip(&queue);
    return 0;
}

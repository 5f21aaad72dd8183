/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtqueue.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* virtio 1.2, 2.7: alignment of the three parts. */
#define DESC_ALIGN 16u
#define AVAIL_ALIGN 2u
#define USED_ALIGN 4u

/* virtio 1.2, 2.7: sizes of the three parts. The event fields at the end count whether negotiated or not. */
static uint64_t desc_bytes(uint32_t size)
{
    return (uint64_t)size * sizeof(struct vring_desc);
}

static uint64_t avail_bytes(uint32_t size)
{
    return sizeof(struct vring_avail) + ((uint64_t)size + 1) * sizeof(uint16_t);
}

static uint64_t used_bytes(uint32_t size)
{
    return sizeof(struct vring_used) + (uint64_t)size * sizeof(struct vring_used_elem) + sizeof(uint16_t);
}

/* The parts of a ready queue. They were found to lie in RAM when the queue became ready, and can not be moved
 * while it is. */
static struct vring_avail *avail_ring(const struct virtqueue *queue)
{
    return guest_memory_at(queue->memory, queue->avail, avail_bytes(queue->size));
}

static struct vring_used *used_ring(const struct virtqueue *queue)
{
    return guest_memory_at(queue->memory, queue->used, used_bytes(queue->size));
}

/* virtio 1.2, 2.7.7 and 2.7.10: where the two sides say which index they want to hear of. */
static uint16_t *used_event(const struct virtqueue *queue)
{
    return guest_memory_at(queue->memory, queue->avail + avail_bytes(queue->size) - 2, sizeof(uint16_t));
}

static uint16_t *avail_event(const struct virtqueue *queue)
{
    return guest_memory_at(queue->memory, queue->used + used_bytes(queue->size) - 2, sizeof(uint16_t));
}

static bool layout_valid(const struct virtqueue *queue)
{
    return queue->size != 0 && queue->size <= queue->max_size && (queue->size & (queue->size - 1)) == 0 &&
           queue->desc % DESC_ALIGN == 0 && queue->avail % AVAIL_ALIGN == 0 &&
           queue->used % USED_ALIGN == 0 &&
           guest_memory_at(queue->memory, queue->desc, desc_bytes(queue->size)) != NULL &&
           avail_ring(queue) != NULL && used_ring(queue) != NULL;
}

void virtqueue_reset(struct virtqueue *queue)
{
    *queue = (struct virtqueue){.memory = queue->memory,
                                .max_size = queue->max_size,
                                .drops = queue->drops,
                                .size = queue->max_size,
                                .epoch = queue->epoch + 1};
}

bool virtqueue_enable(struct virtqueue *queue)
{
    if (!layout_valid(queue))
        return false;
    queue->next_avail = 0;
    queue->next_used = 0;
    queue->signalled_used = 0;
    queue->epoch++;
    queue->ready = true;
    return true;
}

static int broken(struct virtqueue *queue)
{
    queue->broken = true;
    return -EPROTO;
}

/* Copy a descriptor out. An indirect table may be at any address, so it is bytes to us. */
static struct vring_desc load_desc(const uint8_t *table, uint32_t index)
{
    struct vring_desc desc;
    memcpy(&desc, table + (size_t)index * sizeof desc, sizeof desc);
    /* Keeps the compiler from reading guest memory again in place of the copy: the guest may have changed it
     * after we checked. */
    __asm__ volatile("" ::: "memory");
    return desc;
}

static bool add_segment(const struct virtqueue *queue, struct virtqueue_chain *chain,
                        const struct vring_desc *desc)
{
    uint32_t count = (uint32_t)chain->readable_count + chain->writable_count;
    uint64_t total = (uint64_t)chain->readable_bytes + chain->writable_bytes + desc->len;
    void *base = guest_memory_at(queue->memory, desc->addr, desc->len);
    if (base == NULL || count == VIRTQUEUE_MAX_SIZE || total > UINT32_MAX)
        return false;
    chain->iov[count] = (struct iovec){.iov_base = base, .iov_len = desc->len};
    if (desc->flags & VRING_DESC_F_WRITE) {
        chain->writable_count++;
        chain->writable_bytes += desc->len;
        if (!queue->drops)
            guest_memory_note(queue->memory, base, desc->len);
        return true;
    }
    /* virtio 1.2, 2.7.4.2: everything readable comes first. */
    if (chain->writable_count != 0)
        return false;
    chain->readable_count++;
    chain->readable_bytes += desc->len;
    return true;
}

/* Copy the chain that starts at `head` out of guest memory; false when the driver broke the rules. Ends, even
 * when descriptors form a loop, because every step adds a segment or is the one step into a table. */
static bool collect(const struct virtqueue *queue, struct virtqueue_chain *chain, uint16_t head)
{
    const uint8_t *table = guest_memory_at(queue->memory, queue->desc, desc_bytes(queue->size));
    uint32_t table_size = queue->size;
    uint32_t index = head;
    bool in_indirect = false;
    for (;;) {
        if (table == NULL || index >= table_size)
            return false;
        struct vring_desc desc = load_desc(table, index);
        if (desc.flags & VRING_DESC_F_INDIRECT) {
            /* virtio 1.2, 2.7.5.3: a table is the end of a chain and holds no further table. */
            if (!queue->indirect || in_indirect || (desc.flags & VRING_DESC_F_NEXT) ||
                desc.len % sizeof(struct vring_desc) != 0)
                return false;
            in_indirect = true;
            table = guest_memory_at(queue->memory, desc.addr, desc.len);
            table_size = desc.len / (uint32_t)sizeof(struct vring_desc);
            index = 0;
            continue;
        }
        if (!add_segment(queue, chain, &desc))
            return false;
        if (!(desc.flags & VRING_DESC_F_NEXT))
            return true;
        index = desc.next;
    }
}

uint16_t virtqueue_available(const struct virtqueue *queue)
{
    if (!queue->ready || queue->broken)
        return 0;
    /* Acquire: orders this load of avail->idx before the loads of avail->ring and of the descriptors that the
     * driver wrote before it stored avail->idx. */
    uint16_t index = __atomic_load_n(&avail_ring(queue)->idx, __ATOMIC_ACQUIRE);
    return (uint16_t)(index - queue->next_avail);
}

int virtqueue_pop(struct virtqueue *queue, struct virtqueue_chain *chain)
{
    if (queue->broken)
        return -EPROTO;
    uint16_t available = virtqueue_available(queue);
    if (available == 0)
        return 0;
    if (available > queue->size)
        return broken(queue);
    uint16_t *slot = &avail_ring(queue)->ring[queue->next_avail & (queue->size - 1)];
    chain->head = __atomic_load_n(slot, __ATOMIC_RELAXED);
    chain->readable_count = 0;
    chain->writable_count = 0;
    chain->readable_bytes = 0;
    chain->writable_bytes = 0;
    if (!collect(queue, chain, chain->head))
        return broken(queue);
    queue->next_avail++;
    return 1;
}

void virtqueue_unpop(struct virtqueue *queue)
{
    queue->next_avail--;
}

void virtqueue_stage(struct virtqueue *queue, uint16_t position, uint16_t head, uint32_t written)
{
    uint16_t slot = (uint16_t)(queue->next_used + position) & (queue->size - 1);
    struct vring_used_elem *element = &used_ring(queue)->ring[slot];
    __atomic_store_n(&element->id, head, __ATOMIC_RELAXED);
    __atomic_store_n(&element->len, written, __ATOMIC_RELAXED);
    guest_memory_note(queue->memory, element, sizeof *element);
}

void virtqueue_publish(struct virtqueue *queue, uint16_t count)
{
    queue->next_used += count;
    /* Release: orders the stores to the buffers and to used->ring before this store of used->idx, by which
     * the driver finds them. */
    uint16_t *index = &used_ring(queue)->idx;
    __atomic_store_n(index, queue->next_used, __ATOMIC_RELEASE);
    guest_memory_note(queue->memory, index, sizeof *index);
}

void virtqueue_push(struct virtqueue *queue, uint16_t head, uint32_t written)
{
    virtqueue_stage(queue, 0, head, written);
    virtqueue_publish(queue, 1);
}

bool virtqueue_interrupt_due(struct virtqueue *queue)
{
    uint16_t old = queue->signalled_used;
    uint16_t new = queue->next_used;
    if (!queue->ready || old == new)
        return false;
    queue->signalled_used = new;
    /* Orders our store of used->idx before the load of used_event or avail->flags. The driver stores those
     * first and then loads used->idx, so one of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (queue->event_idx)
        return vring_need_event(__atomic_load_n(used_event(queue), __ATOMIC_RELAXED), new, old);
    uint16_t flags = __atomic_load_n(&avail_ring(queue)->flags, __ATOMIC_RELAXED);
    return !(flags & VRING_AVAIL_F_NO_INTERRUPT);
}

/* Have the driver kick when its index passes `index`. */
static void ask_for_kick(struct virtqueue *queue, uint16_t index)
{
    /* Without EVENT_IDX the driver always kicks, because used->flags stays 0. What is right is not written:
     * in a child that would be a page of its own for each queue. */
    if (queue->event_idx && __atomic_load_n(avail_event(queue), __ATOMIC_RELAXED) != index) {
        __atomic_store_n(avail_event(queue), index, __ATOMIC_RELAXED);
        guest_memory_note(queue->memory, avail_event(queue), sizeof index);
    }
    /* Orders our store of avail_event before the caller's load of avail->idx. The driver stores avail->idx
     * first and then loads avail_event, so either it kicks or we see its chain. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool virtqueue_wait_kick(struct virtqueue *queue)
{
    if (!queue->ready || queue->broken)
        return false;
    ask_for_kick(queue, queue->next_avail);
    return virtqueue_available(queue) != 0;
}

uint16_t virtqueue_wait_more(struct virtqueue *queue)
{
    if (!queue->ready || queue->broken)
        return 0;
    ask_for_kick(queue, (uint16_t)(queue->next_avail + virtqueue_available(queue)));
    return virtqueue_available(queue);
}

void virtqueue_save(const struct virtqueue *queue, struct vmstate_writer *writer)
{
    vmstate_put_u16(writer, queue->size);
    vmstate_put_u8(writer, queue->ready);
    vmstate_put_u8(writer, queue->broken);
    vmstate_put_u64(writer, queue->desc);
    vmstate_put_u64(writer, queue->avail);
    vmstate_put_u64(writer, queue->used);
    vmstate_put_u16(writer, queue->next_avail);
    vmstate_put_u16(writer, queue->next_used);
    vmstate_put_u16(writer, queue->signalled_used);
}

void virtqueue_restore(struct virtqueue *queue, struct vmstate_section *section)
{
    virtqueue_reset(queue);
    queue->size = vmstate_get_u16(section);
    uint8_t ready = vmstate_get_u8(section);
    uint8_t was_broken = vmstate_get_u8(section);
    queue->desc = vmstate_get_u64(section);
    queue->avail = vmstate_get_u64(section);
    queue->used = vmstate_get_u64(section);
    queue->next_avail = vmstate_get_u16(section);
    queue->next_used = vmstate_get_u16(section);
    queue->signalled_used = vmstate_get_u16(section);
    queue->broken = was_broken != 0;
    if (queue->size > queue->max_size || ready > 1 || was_broken > 1 || (ready && !layout_valid(queue))) {
        vmstate_reject(section);
        virtqueue_reset(queue);
        return;
    }
    queue->ready = ready != 0;
}

/* Both copies are this loop; which way is the caller's business. */
static size_t copy(const struct iovec *iov, uint32_t count, size_t offset, uint8_t *to, const uint8_t *from,
                   size_t length)
{
    size_t done = 0;
    for (uint32_t i = 0; i < count && done < length; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        uint8_t *guest = (uint8_t *)iov[i].iov_base + offset;
        size_t part = iov[i].iov_len - offset;
        if (part > length - done)
            part = length - done;
        if (to != NULL)
            memcpy(to + done, guest, part);
        else
            memcpy(guest, from + done, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t virtqueue_read(const struct virtqueue_chain *chain, size_t offset, void *to, size_t length)
{
    size_t done = copy(chain->iov, chain->readable_count, offset, to, NULL, length);
    /* The caller checks what it got: it must not be read from the guest once more. */
    __asm__ volatile("" ::: "memory");
    return done;
}

size_t virtqueue_write(const struct virtqueue_chain *chain, size_t offset, const void *from, size_t length)
{
    return copy(chain->iov + chain->readable_count, chain->writable_count, offset, NULL, from, length);
}

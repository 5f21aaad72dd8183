/* SPDX-License-Identifier: Apache-2.0 */
/* One request through a virtqueue: a chain of three descriptors taken, returned, and the interrupt decided.
 */
#include "micro.h"

extern "C" {
#include "devices/virtqueue.h"
}

/* The header is C: without its inline functions. */
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include <sys/mman.h>

namespace
{
constexpr uint16_t SIZE = 128;
constexpr uint16_t CHAIN = 3;
constexpr uint64_t MEMORY = 1u << 20;
constexpr uint64_t DESC = 0x1000;
constexpr uint64_t AVAIL = 0x2000;
constexpr uint64_t USED = 0x3000;
constexpr uint64_t BUFFERS = 0x10000;

/* The driver's part: the rings, with one chain of three that is offered again and again. */
struct rings {
    guest_memory memory;
    virtqueue queue;

    rings()
    {
        void *host = mmap(nullptr, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memory = {static_cast<uint8_t *>(host), MEMORY, nullptr};
        auto *desc = reinterpret_cast<vring_desc *>(memory.host + DESC);
        desc[0] = {BUFFERS, 16, VRING_DESC_F_NEXT, 1};
        desc[1] = {BUFFERS + 0x1000, 4096, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2};
        desc[2] = {BUFFERS + 0x2000, 1, VRING_DESC_F_WRITE, 0};
        queue = {};
        queue.memory = &memory;
        queue.max_size = VIRTQUEUE_MAX_SIZE;
        virtqueue_reset(&queue);
        queue.size = SIZE;
        queue.desc = DESC;
        queue.avail = AVAIL;
        queue.used = USED;
        queue.event_idx = true;
    }
    rings(const rings &) = delete;
    rings &operator=(const rings &) = delete;
    ~rings()
    {
        munmap(memory.host, MEMORY);
    }
};

void ours(benchmark::State &state)
{
    rings rings;
    if (!virtqueue_enable(&rings.queue)) {
        state.SkipWithError("the queue was refused");
        return;
    }
    auto *avail = reinterpret_cast<vring_avail *>(rings.memory.host + AVAIL);
    static virtqueue_chain chain;
    for (auto _ : state) {
        __atomic_store_n(&avail->idx, static_cast<uint16_t>(avail->idx + 1), __ATOMIC_RELEASE);
        if (virtqueue_pop(&rings.queue, &chain) != 1) {
            state.SkipWithError("the chain was refused");
            return;
        }
        virtqueue_push(&rings.queue, chain.head, chain.writable_bytes);
        benchmark::DoNotOptimize(virtqueue_interrupt_due(&rings.queue));
    }
}

void bare(benchmark::State &state)
{
    rings rings;
    for (auto _ : state) {
        benchmark::ClobberMemory();
        benchmark::DoNotOptimize(micro_hash(rings.memory.host + DESC, CHAIN * sizeof(vring_desc)));
    }
}

BENCHMARK(bare)->Name("virtqueue/floor");
BENCHMARK(ours)->Name("virtqueue/ours");
} // namespace

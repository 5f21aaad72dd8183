/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the copy-on-write mapping of a memory image costs: fork(2) of a process that has all of it mapped and
 * read, as a fork server has, against fork(2) of one without; and the first write to one of its pages,
 * against the first write to a page of anonymous memory.
 */
#include "micro.h"

extern "C" {
#include "snapshot/memory_image.h"
}

#include <err.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace
{
constexpr size_t IMAGE = 512u << 20; /* measure_snapshot_make */
constexpr size_t PAGE = 4096;
constexpr size_t TOUCHED = 64u << 20; /* little new memory: see docs/benchmarks.md */
constexpr size_t FIRST = 2u << 20;    /* the guest has written from here on */

uint8_t *map_image()
{
    forkd_error error;
    void *memory = nullptr;
    int fd = open(micro_snapshot.memory, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err(1, "%s", micro_snapshot.memory);
    if (memory_image_map(fd, IMAGE, &memory, &error) < 0)
        errx(1, "%s", error.text);
    close(fd);
    return static_cast<uint8_t *>(memory);
}

uint8_t *map_anonymous()
{
    void *memory =
        mmap(nullptr, IMAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        err(1, "mmap");
    madvise(memory, IMAGE, MADV_NOHUGEPAGE);
    return static_cast<uint8_t *>(memory);
}

void fork_once(benchmark::State &state)
{
    for (auto _ : state) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(0);
        if (pid < 0 || waitpid(pid, nullptr, 0) != pid) {
            state.SkipWithError("fork");
            return;
        }
    }
}

void fork_with_image(benchmark::State &state)
{
    uint8_t *memory = map_image();
    uint8_t sum = 0;
    for (size_t at = 0; at < IMAGE; at += PAGE)
        sum ^= memory[at];
    benchmark::DoNotOptimize(sum);
    fork_once(state);
    munmap(memory, IMAGE);
}

/* Writes to page after page; at the end of the part that may be touched, all of it is given back. */
void fault(benchmark::State &state, uint8_t *memory)
{
    size_t at = 0;
    for (auto _ : state) {
        memory[FIRST + at] = 1;
        at += PAGE;
        if (at == TOUCHED) {
            state.PauseTiming();
            madvise(memory + FIRST, TOUCHED, MADV_DONTNEED);
            at = 0;
            state.ResumeTiming();
        }
    }
    munmap(memory, IMAGE);
}

void fault_image(benchmark::State &state)
{
    fault(state, map_image());
}

void fault_anonymous(benchmark::State &state)
{
    fault(state, map_anonymous());
}

BENCHMARK(fork_once)->Name("fork/floor");
BENCHMARK(fork_with_image)->Name("fork/ours");
BENCHMARK(fault_anonymous)->Name("fault/floor");
BENCHMARK(fault_image)->Name("fault/ours");
} // namespace

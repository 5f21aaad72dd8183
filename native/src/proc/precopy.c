/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/precopy.h"

#include "base/clock.h"
#include "base/io.h"
#include "snapshot/pagemap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* What fork(2) takes for each entry of a page table that it copies, more for each of a private page, and what
 * it takes to copy a page: nanoseconds, of the machine in docs/benchmarks.md. */
#define ENTRY_NS 80u
#define PRIVATE_NS 60u
#define COPY_NS 1000u
/* Below this fork(2) is short enough for a guest. */
#define WORTH_NS 1500000u
/* And for whoever waits for the branch, if what it copies is mostly clean: memory that a guest has just
 * written to is better shared than copied, since the branch is there at once. */
#define WAITED_NS 12000000u
#define CLEAN_TO_OWN 4u
#define MOST_UNASKED (256ull << 20)
/* One turn on the loop's thread. */
#define PIECE_PAGES 256u
/* So few are left for when the guest stands still. */
#define FEW_PAGES 64u
#define MOST_ROUNDS 8u
#define MOST_US 10000000u

struct precopy {
    struct machine *machine;
    enum precopy_when when;
    int file;
    bool copying;         /* which pages are to be is known */
    uint64_t pages;       /* of memory */
    uint64_t next;        /* that has not been looked at in this round */
    uint64_t entries;     /* that fork(2) would copy: of each part that has a private page */
    uint64_t part;        /* of them, in the part that is looked at */
    uint64_t own;         /* private pages, at first */
    uint64_t round;       /* which one */
    uint64_t round_pages; /* that were to be copied in it */
    uint64_t count;       /* that have been, in all */
    uint64_t most;        /* as many may be */
    uint64_t began_us;
    uint64_t *pending; /* bit maps: to be copied; */
    uint64_t *copied;
    uint64_t *noted;
    uint64_t *scratch;
};

static uint64_t word_count(const struct precopy *precopy)
{
    return (precopy->pages + 63) / 64;
}

static bool has_bit(const uint64_t *bits, uint64_t index)
{
    return (bits[index / 64] >> index % 64 & 1) != 0;
}

static uint64_t count_bits(const uint64_t *bits, uint64_t words)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < words; i++)
        count += (uint64_t)__builtin_popcountll(bits[i]);
    return count;
}

/* What fork(2) has to take for it to pay. */
static uint64_t worth_ns(enum precopy_when when)
{
    if (when == PRECOPY_ALWAYS)
        return 0;
    return when == PRECOPY_FOR_BRANCH ? WAITED_NS : WORTH_NS;
}

bool precopy_may_pay(const struct machine *machine, enum precopy_when when)
{
    return machine->memory.size / GUEST_PAGE_SIZE * (ENTRY_NS + PRIVATE_NS) >= worth_ns(when);
}

int precopy_start(struct precopy **out, struct machine *machine, uint64_t most, enum precopy_when when,
                  struct forkd_error *err)
{
    struct precopy *precopy = calloc(1, sizeof *precopy);
    if (precopy == NULL)
        return error_set(err, ENOMEM, "allocate", "copies of guest memory", NULL);
    *precopy = (struct precopy){
        .machine = machine,
        .when = when,
        .pages = machine->memory.size / GUEST_PAGE_SIZE,
        .most = (when == PRECOPY_ALWAYS || most < MOST_UNASKED ? most : MOST_UNASKED) / GUEST_PAGE_SIZE,
        .began_us = clock_now_us()};
    uint64_t words = word_count(precopy);
    precopy->file = memfd_create("forkd-copies", MFD_CLOEXEC);
    precopy->pending = calloc(4 * words, sizeof *precopy->pending);
    int result = 0;
    if (precopy->file < 0 || ftruncate(precopy->file, (off_t)machine->memory.size) < 0)
        result = error_set(err, errno, "memfd_create", "copies of guest memory", NULL);
    else if (precopy->pending == NULL)
        result = error_set(err, ENOMEM, "allocate", "copies of guest memory", NULL);
    if (result == 0) {
        precopy->copied = precopy->pending + words;
        precopy->noted = precopy->copied + words;
        precopy->scratch = precopy->noted + words;
        result = machine_settle(machine, err);
        if (result == 0)
            result = machine_log_writes(machine, precopy->noted, err);
        machine_release(machine);
    }
    if (result < 0) {
        precopy_end(precopy);
        return result;
    }
    *out = precopy;
    return 0;
}

/* --- which pages ------------------------------------------------------------------------------------------
 */

static int note_run(void *context, uint64_t first, uint64_t count, bool anonymous)
{
    struct precopy *precopy = context;
    precopy->part += count;
    for (uint64_t page = precopy->next + first; anonymous && count > 0; page++, count--) {
        precopy->pending[page / 64] |= 1ull << page % 64;
        precopy->own++;
    }
    return 0;
}

/* The next part of memory, as guest_memory_divide has made them: one mapping. */
static int look(struct precopy *precopy)
{
    const struct guest_memory *memory = &precopy->machine->memory;
    uint64_t pages = guest_memory_part(memory) / GUEST_PAGE_SIZE;
    uint64_t left = precopy->pages - precopy->next;
    uint64_t own = precopy->own;
    pages = pages < left ? pages : left;
    precopy->part = 0;
    int result = pagemap_scan(memory->host + precopy->next * GUEST_PAGE_SIZE, pages * GUEST_PAGE_SIZE,
                              note_run, precopy);
    if (precopy->own > own)
        precopy->entries += precopy->part;
    precopy->next += pages;
    return result;
}

static uint64_t fork_ns(const struct precopy *precopy)
{
    return precopy->entries * ENTRY_NS + precopy->own * PRIVATE_NS;
}

static enum precopy_next choose(const struct precopy *precopy)
{
    if (precopy->own > precopy->most)
        return PRECOPY_FORK;
    bool clean = precopy->when != PRECOPY_FOR_BRANCH || precopy->entries >= CLEAN_TO_OWN * precopy->own;
    return clean && fork_ns(precopy) >= worth_ns(precopy->when) ? PRECOPY_AGAIN : PRECOPY_FORK;
}

/* --- copying ----------------------------------------------------------------------------------------------
 */

/* Some of what is pending, from `next` on. */
static int copy(struct precopy *precopy, uint64_t budget)
{
    const uint8_t *host = precopy->machine->memory.host;
    while (precopy->next < precopy->pages && budget > 0) {
        uint64_t first = precopy->next;
        if (precopy->pending[first / 64] == 0) {
            precopy->next = (first / 64 + 1) * 64;
            continue;
        }
        uint64_t end = first;
        for (; end < precopy->pages && budget > 0 && has_bit(precopy->pending, end); end++, budget--) {
            precopy->pending[end / 64] &= ~(1ull << end % 64);
            precopy->count += !has_bit(precopy->copied, end);
            precopy->copied[end / 64] |= 1ull << end % 64;
        }
        if (precopy->count > precopy->most)
            return -ENOSPC;
        precopy->next = end > first ? end : first + 1;
        int result = end == first ? 0
                                  : io_pwrite(precopy->file, host + first * GUEST_PAGE_SIZE,
                                              (end - first) * GUEST_PAGE_SIZE, first * GUEST_PAGE_SIZE);
        if (result < 0)
            return result;
    }
    return 0;
}

/* Whether there is to be one more, while the guest runs. */
static enum precopy_next end_round(struct precopy *precopy)
{
    struct forkd_error error;
    if (machine_take_written(precopy->machine, precopy->pending, precopy->scratch, &error) < 0)
        return PRECOPY_FORK;
    uint64_t left = count_bits(precopy->pending, word_count(precopy));
    bool shrinks = left < precopy->round_pages / 2;
    precopy->next = 0;
    precopy->round++;
    precopy->round_pages = left;
    if (left <= FEW_PAGES)
        return PRECOPY_STOP;
    if (shrinks && precopy->round < MOST_ROUNDS && clock_now_us() - precopy->began_us < MOST_US)
        return PRECOPY_AGAIN;
    return precopy->when == PRECOPY_ALWAYS || left * COPY_NS < fork_ns(precopy) ? PRECOPY_STOP : PRECOPY_FORK;
}

enum precopy_next precopy_step(struct precopy *precopy)
{
    pthread_mutex_t *lock = &precopy->machine->lock;
    pthread_mutex_unlock(lock);
    int result = precopy->copying ? copy(precopy, PIECE_PAGES) : look(precopy);
    pthread_mutex_lock(lock);
    if (result < 0)
        return PRECOPY_FORK;
    if (precopy->next < precopy->pages)
        return PRECOPY_AGAIN;
    if (precopy->copying)
        return end_round(precopy);
    precopy->copying = true;
    precopy->next = 0;
    precopy->round_pages = precopy->own;
    return choose(precopy);
}

int precopy_finish(struct precopy *precopy, struct forkd_error *err)
{
    int result = machine_take_written(precopy->machine, precopy->pending, precopy->scratch, err);
    if (result < 0)
        return result;
    precopy->next = 0;
    result = copy(precopy, UINT64_MAX);
    return result < 0 ? error_set(err, result, "write", "copies of guest memory", NULL) : 0;
}

int precopy_file(const struct precopy *precopy)
{
    return precopy->file;
}

const uint64_t *precopy_pages(const struct precopy *precopy)
{
    return precopy->copied;
}

void precopy_end(struct precopy *precopy)
{
    if (precopy == NULL)
        return;
    if (precopy->machine->memory.noted != NULL)
        machine_log_writes(precopy->machine, NULL, NULL);
    if (precopy->file >= 0)
        close(precopy->file);
    free(precopy->pending);
    free(precopy);
}

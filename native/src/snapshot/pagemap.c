/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pagemap.h"

#include "base/broker.h"
#include "base/io.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* Bit 63 present, bit 62 swapped, bit 61 of a file (or shared). */
#define PRESENT (1ull << 63)
#define SWAPPED (1ull << 62)
#define OF_FILE (1ull << 61)
#define BATCH 8192u

enum kind {
    KIND_ABSENT,
    KIND_FILE,
    KIND_ANONYMOUS,
};

struct run {
    uint64_t first;
    uint64_t count;
    enum kind kind;
};

static enum kind kind_of(uint64_t entry)
{
    if ((entry & (PRESENT | SWAPPED)) == 0)
        return KIND_ABSENT;
    return (entry & OF_FILE) != 0 ? KIND_FILE : KIND_ANONYMOUS;
}

static int end_run(const struct run *run, pagemap_visitor visit, void *context)
{
    if (run->count == 0 || run->kind == KIND_ABSENT)
        return 0;
    return visit(context, run->first, run->count, run->kind == KIND_ANONYMOUS);
}

static int scan(int pagemap, uint64_t first_entry, uint64_t pages, uint64_t *entries, pagemap_visitor visit,
                void *context)
{
    struct run run = {0};
    for (uint64_t page = 0; page < pages;) {
        uint64_t count = pages - page < BATCH ? pages - page : BATCH;
        int rc = io_pread(pagemap, entries, count * sizeof *entries, (first_entry + page) * sizeof *entries);
        for (uint64_t i = 0; i < count && rc == 0; i++) {
            enum kind kind = kind_of(entries[i]);
            if (kind == run.kind) {
                run.count++;
                continue;
            }
            rc = end_run(&run, visit, context);
            run = (struct run){.first = page + i, .count = 1, .kind = kind};
        }
        if (rc != 0)
            return rc;
        page += count;
    }
    return end_run(&run, visit, context);
}

int pagemap_scan(const void *memory, uint64_t size, pagemap_visitor visit, void *context)
{
    int pagemap = broker_pagemap();
    if (pagemap < 0)
        return pagemap;
    uint64_t *entries = malloc(BATCH * sizeof *entries);
    int rc = entries == NULL ? -ENOMEM
                             : scan(pagemap, (uint64_t)(uintptr_t)memory / PAGEMAP_PAGE, size / PAGEMAP_PAGE,
                                    entries, visit, context);
    free(entries);
    close(pagemap);
    return rc;
}

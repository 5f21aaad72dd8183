/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: what idle children take of the machine, each: proportional and private memory of their processes,
 * and memory of the host's kernel, from /proc/meminfo and /proc/slabinfo before and after. Medians of several
 * rounds; the first is a warm-up.
 *
 *   memory VMM GUEST N ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ROUNDS 20
#define MAX_CACHES 512
#define SHOWN_CACHES 6
#define SETTLE_KIB 512 /* a second */
#define SETTLE_SECONDS 10

/* Fields of /proc/meminfo that grow with the kernel's part of a VM. VmallocUsed has the kernel stacks in it.
 */
static const char *const kernel_fields[] = {
    "Slab:", "PageTables:", "SecPageTables:", "VmallocUsed:", "Percpu:"};
#define KERNEL_FIELDS (sizeof kernel_fields / sizeof kernel_fields[0])

/* The kernel frees a VM long after its process is gone. */
static void settle(void)
{
    double last = -1;
    for (int i = 0; i < SETTLE_SECONDS; i++) {
        double now = measure_meminfo_kib("MemAvailable:");
        if (last >= 0 && now - last < SETTLE_KIB && last - now < SETTLE_KIB)
            return;
        last = now;
        sleep(1);
    }
}

enum { PSS, PRIVATE, AVAILABLE, KERNEL, FIELDS, FIGURES = FIELDS + KERNEL_FIELDS };

static const char *const names[FIELDS] = {
    [PSS] = "proportional memory (Pss)",
    [PRIVATE] = "private memory of the process",
    [AVAILABLE] = "of the machine's MemAvailable",
    [KERNEL] = "memory of the kernel, by its own counters",
};

struct cache {
    char name[64];
    double kib;
};

struct caches {
    struct cache each[MAX_CACHES];
    int count;
};

/* Readable for root only; nothing otherwise. */
static void read_caches(struct caches *out)
{
    out->count = 0;
    FILE *file = fopen("/proc/slabinfo", "r");
    if (file == NULL)
        return;
    char line[512];
    while (out->count < MAX_CACHES && fgets(line, sizeof line, file) != NULL) {
        struct cache *cache = &out->each[out->count];
        double objects = 0;
        double size = 0;
        if (sscanf(line, "%63s %*u %lf %lf", cache->name, &objects, &size) == 3 && cache->name[0] != '#') {
            cache->kib = objects * size / 1024;
            out->count++;
        }
    }
    fclose(file);
}

static double cache_kib(const struct caches *caches, const char *name)
{
    for (int i = 0; i < caches->count; i++) {
        if (strcmp(caches->each[i].name, name) == 0)
            return caches->each[i].kib;
    }
    return 0;
}

static int most_first(const void *left, const void *right)
{
    double a = ((const struct cache *)left)->kib;
    double b = ((const struct cache *)right)->kib;
    return (a < b) - (a > b);
}

static void print_grown(struct caches *after, const struct caches *before, int children)
{
    for (int i = 0; i < after->count; i++)
        after->each[i].kib -= cache_kib(before, after->each[i].name);
    qsort(after->each, (size_t)after->count, sizeof after->each[0], most_first);
    for (int i = 0; i < SHOWN_CACHES && i < after->count; i++)
        printf("  slab cache %-35s %10.1f KiB\n", after->each[i].name, after->each[i].kib / children);
}

static void read_kernel(double out[KERNEL_FIELDS])
{
    for (size_t i = 0; i < KERNEL_FIELDS; i++)
        out[i] = measure_meminfo_kib(kernel_fields[i]);
}

static void measure_round(struct forkd_server *server, struct forkd_vm **children, int *pids, int count,
                          double figures[FIGURES])
{
    double before[KERNEL_FIELDS];
    double after[KERNEL_FIELDS];
    read_kernel(before);
    double available = measure_meminfo_kib("MemAvailable:");
    measure_fork(server, children, pids, count);
    settle();
    figures[AVAILABLE] = (available - measure_meminfo_kib("MemAvailable:")) / count;
    read_kernel(after);
    figures[PSS] = 0;
    figures[PRIVATE] = 0;
    for (int i = 0; i < count; i++) {
        figures[PSS] += measure_smaps_kib(pids[i], "Pss:") / count;
        figures[PRIVATE] +=
            (measure_smaps_kib(pids[i], "Private_Clean:") + measure_smaps_kib(pids[i], "Private_Dirty:")) /
            count;
    }
    figures[KERNEL] = 0;
    for (size_t i = 0; i < KERNEL_FIELDS; i++) {
        figures[FIELDS + i] = (after[i] - before[i]) / count;
        figures[KERNEL] += figures[FIELDS + i];
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || atoi(argv[4]) > MAX_ROUNDS)
        errx(2, "usage: memory VMM GUEST N ROUNDS");
    int count = atoi(argv[3]);
    int rounds = atoi(argv[4]);
    struct measure_snapshot snapshot;
    measure_snapshot_make(&snapshot, argv[1], argv[2], 2);
    struct forkd_server *server = measure_server_start(&snapshot, argv[1], 0);
    struct forkd_vm **children = calloc((size_t)count, sizeof *children);
    int *pids = calloc((size_t)count, sizeof *pids);
    static double all[FIGURES][MAX_ROUNDS];
    static struct caches before;
    static struct caches after;
    if (children == NULL || pids == NULL)
        err(1, "calloc");
    for (int round = -1; round < rounds; round++) {
        double figures[FIGURES];
        settle();
        read_caches(&before);
        measure_round(server, children, pids, count, figures);
        read_caches(&after);
        measure_free(children, count);
        for (int i = 0; round >= 0 && i < FIGURES; i++)
            all[i][round] = figures[i];
    }
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    printf("%d idle children of a 512 MiB snapshot, 2 vCPUs, each (p50 of %d rounds):\n", count, rounds);
    for (int i = 0; i < FIGURES; i++)
        printf("%-48s %10.1f KiB\n", i < FIELDS ? names[i] : kernel_fields[i - FIELDS],
               measure_median(all[i], rounds));
    print_grown(&after, &before, count);
    printf("memory private-KiB-per-child: %.1f\n", measure_median(all[PRIVATE], rounds));
    return 0;
}

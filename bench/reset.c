/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reset: how long it takes to put a child back whose guest has written to so many pages, from the call until
 * the guest may run again. Beside it, in turn, the floor: a bare VM in another process, whose guest has
 * written to as many and halts as this one does, put back with bare system calls.
 *
 *   reset VMM GUEST FLOOR ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 20 /* samples of one kind before the next kind's turn */
#define SETTLE_US                                                                                            \
    20000 /* the floor as well: right after one change of memslots another takes milliseconds                \
           */
#define FIGURE_PAGES 256
#define MEMORY (512ull << 20)

/* The guest (dirty.c) writes to whole MiB, and a few pages always. */
static const int sizes[] = {1, FIGURE_PAGES, 4096};
#define SIZE_COUNT (int)(sizeof sizes / sizeof sizes[0])

static void check(int result, const struct forkd_error *error)
{
    if (result < 0)
        errx(1, "%s", error->text);
}

static void await_ready(struct forkd_vm *child)
{
    struct forkd_error error;
    struct forkd_vm_status status;
    check(forkd_vm_wait(child, 60000, &status, &error), &error);
    if (status.phase != FORKD_VM_READY)
        errx(1, "the child ended: %s", status.error.text);
}

static void our_block(struct forkd_vm *child, double *samples)
{
    const struct forkd_reset_options options = {0};
    struct forkd_error error;
    for (int i = 0; i < BLOCK; i++) {
        await_ready(child); /* all is written to */
        usleep(SETTLE_US);
        check(forkd_vm_reset(child, &options, &error), &error);
        struct forkd_vm_status status;
        check(forkd_vm_wait(child, 60000, &status, &error), &error);
        samples[i] = (double)status.fork_us / 1000;
    }
}

static double measure_pages(char **argv, int pages, int rounds)
{
    char command_line[16];
    char mode[24];
    struct forkd_error error;
    struct measure_snapshot snapshot;
    snprintf(mode, sizeof mode, "reset:%d", pages);
    snprintf(command_line, sizeof command_line, "%d", pages / 256);
    struct forkd_boot_options options = {.vmm_path = argv[1],
                                         .kernel_path = argv[2],
                                         .command_line = command_line,
                                         .memory_bytes = MEMORY,
                                         .vcpu_count = 1,
                                         .flags = FORKD_NO_AGENT};
    measure_snapshot_write(&snapshot, MEASURE_DISK, &options);
    struct forkd_server *server = measure_server_start(&snapshot, argv[1], 0);
    struct forkd_child_options child_options = {.flags = FORKD_NO_AGENT};
    struct forkd_vm *child = NULL;
    check(forkd_server_fork(server, &child_options, &child, &error), &error);
    int count = rounds * BLOCK;
    double *ours = calloc((size_t)count * 2, sizeof *ours);
    if (ours == NULL)
        err(1, "calloc");
    double *floors = ours + count;
    our_block(child, ours); /* warm up */
    for (int i = 0; i < rounds; i++) {
        measure_floor(argv[3], &snapshot, mode, BLOCK, floors + (size_t)i * BLOCK, BLOCK);
        our_block(child, ours + (size_t)i * BLOCK);
    }
    double floor_p50 = measure_median(floors, count);
    double p50 = measure_median(ours, count);
    printf("%8d %10.3f %10.3f %10.3f %10.2f\n", pages, p50, ours[count * 99 / 100], floor_p50,
           p50 / floor_p50);
    free(ours);
    forkd_vm_free(child);
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    return p50 / floor_p50;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: reset VMM GUEST FLOOR ROUNDS");
    int rounds = atoi(argv[4]);
    double figure = 0;
    printf("a 512 MiB child put back, ms, %d resets each\n", rounds * BLOCK);
    printf("%8s %10s %10s %10s %10s\n", "pages", "p50", "p99", "floor", "ratio");
    for (int i = 0; i < SIZE_COUNT; i++) {
        double ratio = measure_pages(argv, sizes[i], rounds);
        figure = sizes[i] == FIGURE_PAGES ? ratio : figure;
    }
    printf("reset ratio-to-floor-at-%d-pages: %.2f\n", FIGURE_PAGES, figure);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork-1: one more child of a 512 MiB snapshot, from the call to it being ready: from a warm server, and from
 * one with parked children, each beside its floor, in turn. Ready is the guest's first exit.
 *
 *   fork1 VMM GUEST FLOOR ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK 20 /* samples of one kind before the next kind's turn */
#define PARKED 4
#define SETTLE_US 20000 /* until the server has parked a new child */

static void our_block(struct forkd_server *server, double *samples)
{
    for (int i = 0; i < BLOCK; i++) {
        usleep(SETTLE_US);
        struct forkd_error error;
        struct forkd_child_options options = {.flags = FORKD_NO_AGENT};
        struct forkd_vm *child = NULL;
        struct forkd_vm_status status;
        double start = measure_now_ms();
        if (forkd_server_fork(server, &options, &child, &error) < 0 ||
            forkd_vm_wait(child, 60000, &status, &error) < 0)
            errx(1, "%s", error.text);
        samples[i] = measure_now_ms() - start;
        if (status.phase != FORKD_VM_READY)
            errx(1, "the child ended: %s", status.error.text);
        forkd_vm_free(child);
    }
}

static double row(const char *name, double *samples, int count)
{
    double p50 = measure_median(samples, count);
    printf("%-28s %8.2f %8.2f\n", name, p50, samples[count * 99 / 100]);
    return p50;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: fork1 VMM GUEST FLOOR ROUNDS");
    int rounds = atoi(argv[4]);
    int count = rounds * BLOCK;
    struct measure_snapshot snapshot;
    measure_snapshot_make(&snapshot, argv[1], argv[2], 1);
    struct forkd_server *warm = measure_server_start(&snapshot, argv[1], 0);
    struct forkd_server *parked = measure_server_start(&snapshot, argv[1], PARKED);
    double *samples = calloc((size_t)count * 4, sizeof *samples);
    if (samples == NULL)
        err(1, "calloc");
    double *floor_single = samples;
    double *ours_warm = samples + count;
    double *floor_parked = samples + 2 * (size_t)count;
    double *ours_parked = samples + 3 * (size_t)count;
    for (int i = 0; i < rounds; i++) {
        measure_floor(argv[3], &snapshot, "single", BLOCK, floor_single + (size_t)i * BLOCK, BLOCK);
        our_block(warm, ours_warm + (size_t)i * BLOCK);
        measure_floor(argv[3], &snapshot, "parked", BLOCK, floor_parked + (size_t)i * BLOCK, BLOCK);
        our_block(parked, ours_parked + (size_t)i * BLOCK);
    }
    forkd_server_free(warm);
    forkd_server_free(parked);
    measure_snapshot_remove(&snapshot);
    printf("%-28s %8s %8s\n", "one child, ms", "p50", "p99");
    double bare = row("floor, fork", floor_single, count);
    double ours = row("warm server", ours_warm, count);
    double bare_parked = row("floor, parked", floor_parked, count);
    double ours_with_parked = row("parked children", ours_parked, count);
    printf("warm server to floor: %.2f\n", ours / bare);
    printf("fork-1 ratio-to-floor: %.2f\n", ours_with_parked / bare_parked);
    return 0;
}

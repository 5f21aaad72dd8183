/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork-N: N children of a 512 MiB snapshot, from the call to the last child being ready, beside the floor
 * program, the two in turn. The guest is tests/native/guests/ready.S, one vCPU: ready is its first exit.
 *
 *   fork VMM GUEST FLOOR N ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 6)
        errx(2, "usage: fork VMM GUEST FLOOR N ROUNDS");
    int count = atoi(argv[4]);
    int rounds = atoi(argv[5]);
    struct measure_snapshot snapshot;
    measure_snapshot_make(&snapshot, argv[1], argv[2], 1);
    struct forkd_server *server = measure_server_start(&snapshot, argv[1], 0);
    struct forkd_vm **children = calloc((size_t)count, sizeof *children);
    double *ours = calloc((size_t)rounds, sizeof *ours);
    double *bare = calloc((size_t)rounds, sizeof *bare);
    double *ratio = calloc((size_t)rounds, sizeof *ratio);
    if (children == NULL || ours == NULL || bare == NULL || ratio == NULL)
        err(1, "calloc");
    /* Warm up: host memory that was never touched costs ten times more (see docs/benchmarks.md). */
    measure_floor_ms(argv[3], &snapshot, count);
    measure_fork_ms(server, children, count);
    printf("%-6s %10s %10s %8s\n", "round", "floor ms", "ours ms", "ratio");
    for (int i = 0; i < rounds; i++) {
        bare[i] = measure_floor_ms(argv[3], &snapshot, count);
        ours[i] = measure_fork_ms(server, children, count);
        ratio[i] = ours[i] / bare[i];
        printf("%-6d %10.1f %10.1f %8.2f\n", i + 1, bare[i], ours[i], ratio[i]);
    }
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    double floor_median = measure_median(bare, rounds);
    double ours_median = measure_median(ours, rounds);
    printf("%-6s %10.1f %10.1f %8.2f\n", "p50", floor_median, ours_median, ours_median / floor_median);
    printf("fork-%d ratio-to-floor: %.2f\n", count, ours_median / floor_median);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork-1000: 1000 children alive together, each ready, against ten times 100, in turn; the floor program of
 * both sizes beside them. Afterwards the server has no child left.
 *
 *   fork1000 VMM GUEST FLOOR ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SMALL 100
#define LARGE 1000
#define GONE_MS 10000

/* Milliseconds a child, ready; and all of them are gone when this returns. */
static double fork_all(struct forkd_server *server, struct forkd_vm **children, int *pids, int count)
{
    double start = measure_now_ms();
    measure_fork(server, children, pids, count);
    double elapsed = measure_now_ms() - start;
    for (int i = 0; i < count; i++) {
        if (kill(pids[i], 0) < 0)
            err(1, "child %d is not alive", i);
    }
    measure_free(children, count);
    double deadline = measure_now_ms() + GONE_MS;
    for (int i = 0; i < count; i++) {
        while (kill(pids[i], 0) == 0) {
            if (measure_now_ms() > deadline)
                errx(1, "child %d, process %d, is still there", i, pids[i]);
            usleep(1000);
        }
    }
    return elapsed / count;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: fork1000 VMM GUEST FLOOR ROUNDS");
    int rounds = atoi(argv[4]);
    static struct forkd_vm *children[LARGE];
    static int pids[LARGE];
    double *samples = calloc((size_t)rounds * 4, sizeof *samples);
    if (samples == NULL)
        err(1, "calloc");
    double *floor_small = samples;
    double *ours_small = samples + rounds;
    double *floor_large = samples + 2 * (size_t)rounds;
    double *ours_large = samples + 3 * (size_t)rounds;
    struct measure_snapshot snapshot;
    measure_snapshot_make(&snapshot, argv[1], argv[2], 1);
    struct forkd_server *server = measure_server_start(&snapshot, argv[1], 0);
    /* Warm up: host memory that was never touched costs ten times more (see docs/benchmarks.md). */
    fork_all(server, children, pids, LARGE);
    printf("ms a child, to ready: %d children, %d children\n", SMALL, LARGE);
    printf("%-6s %12s %12s %12s %12s\n", "round", "floor 100", "ours 100", "floor 1000", "ours 1000");
    for (int i = 0; i < rounds; i++) {
        floor_small[i] = measure_floor_ms(argv[3], &snapshot, SMALL) / SMALL;
        ours_small[i] = fork_all(server, children, pids, SMALL);
        floor_large[i] = measure_floor_ms(argv[3], &snapshot, LARGE) / LARGE;
        ours_large[i] = fork_all(server, children, pids, LARGE);
        printf("%-6d %12.3f %12.3f %12.3f %12.3f\n", i + 1, floor_small[i], ours_small[i], floor_large[i],
               ours_large[i]);
    }
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    double small = measure_median(ours_small, rounds);
    double large = measure_median(ours_large, rounds);
    printf("%-6s %12.3f %12.3f %12.3f %12.3f\n", "p50", measure_median(floor_small, rounds), small,
           measure_median(floor_large, rounds), large);
    printf("fork-1000 per-child-ratio-to-fork-100: %.2f\n", large / small);
    return 0;
}

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

static double floor_ms(const char *program, const char *memory, int count)
{
    char command[1024];
    snprintf(command, sizeof command, "'%s' '%s' all %d", program, memory, count);
    FILE *output = popen(command, "r");
    double elapsed = -1;
    if (output == NULL || fscanf(output, "%lf", &elapsed) != 1 || pclose(output) != 0)
        errx(1, "the floor program failed");
    return elapsed;
}

static double ours_ms(struct forkd_server *server, struct forkd_vm **children, int count)
{
    struct forkd_error error;
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT};
    double start = measure_now_ms();
    for (int i = 0; i < count; i++) {
        if (forkd_server_fork(server, &options, &children[i], &error) < 0)
            errx(1, "%s", error.text);
    }
    for (int i = 0; i < count; i++) {
        struct forkd_vm_status status;
        if (forkd_vm_wait(children[i], 60000, &status, &error) < 0)
            errx(1, "%s", error.text);
        if (status.phase != FORKD_VM_READY)
            errx(1, "child %d ended (%u): %s", i, status.end, status.error.text);
    }
    double elapsed = measure_now_ms() - start;
    for (int i = 0; i < count; i++)
        forkd_vm_free(children[i]);
    return elapsed;
}

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
    floor_ms(argv[3], snapshot.memory, count);
    ours_ms(server, children, count);
    printf("%-6s %10s %10s %8s\n", "round", "floor ms", "ours ms", "ratio");
    for (int i = 0; i < rounds; i++) {
        bare[i] = floor_ms(argv[3], snapshot.memory, count);
        ours[i] = ours_ms(server, children, count);
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

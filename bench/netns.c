/* SPDX-License-Identifier: Apache-2.0 */
/*
 * netns: children of a 512 MiB snapshot with a network device, from the call to the last first exit: each
 * with the tap of a namespace of its own, with a policy, from a pool that is ready; beside the same children
 * without a network, the two in turn. Started in a namespace that ends with it, in which forkd-tap0 and
 * forkd-child-1 to -N are.
 *
 *   netns VMM GUEST N...
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define TAP "forkd-tap0"

static void fork_one(struct forkd_server *server, struct forkd_vm **child, int number, bool network)
{
    struct forkd_error error;
    char path[64];
    snprintf(path, sizeof path, "/run/netns/forkd-child-%d", number);
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT};
    if (network) {
        options.tap_name = TAP;
        options.netns_path = path;
    }
    if (forkd_server_fork(server, &options, child, &error) < 0)
        errx(1, "%s", error.text);
}

static double fork_all(struct forkd_server *server, struct forkd_vm **children, int count, bool network)
{
    double start = measure_now_ms();
    for (int i = 0; i < count; i++)
        fork_one(server, &children[i], i + 1, network);
    for (int i = 0; i < count; i++) {
        struct forkd_error error;
        struct forkd_vm_status status;
        if (forkd_vm_wait(children[i], 60000, &status, &error) < 0)
            errx(1, "%s", error.text);
        if (status.phase != FORKD_VM_READY)
            errx(1, "child %d ended (%u): %s", i, status.end, status.error.text);
    }
    double elapsed = measure_now_ms() - start;
    measure_free(children, count);
    return elapsed;
}

/* The ratio of the medians. */
static double compare(struct forkd_server *server, int count)
{
    int rounds = count >= 1000 ? 5 : 15;
    struct forkd_vm **children = calloc((size_t)count, sizeof *children);
    double *plain = calloc((size_t)rounds, sizeof *plain);
    double *network = calloc((size_t)rounds, sizeof *network);
    if (children == NULL || plain == NULL || network == NULL)
        err(1, "calloc");
    /* Warm up: host memory that was never touched costs ten times more (see docs/benchmarks.md). */
    fork_all(server, children, count, false);
    fork_all(server, children, count, true);
    for (int i = 0; i < rounds; i++) {
        plain[i] = fork_all(server, children, count, false);
        network[i] = fork_all(server, children, count, true);
    }
    double without = measure_median(plain, rounds);
    double with = measure_median(network, rounds);
    printf("%-9d %10.1f %12.1f %8.2f\n", count, without, with, with / without);
    fflush(stdout);
    free(children);
    free(plain);
    free(network);
    return with / without;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        errx(2, "usage: netns VMM GUEST N...");
    const struct forkd_boot_options options = {.vmm_path = argv[1],
                                               .kernel_path = argv[2],
                                               .memory_bytes = 512ull << 20,
                                               .vcpu_count = 1,
                                               .tap_name = TAP,
                                               .flags = FORKD_NO_AGENT};
    struct measure_snapshot snapshot;
    measure_snapshot_write(&snapshot, MEASURE_DISK, &options);
    struct forkd_server *server = measure_server_start(&snapshot, argv[1], 0);
    double of_100 = 0;
    printf("%-9s %10s %12s %8s\n", "children", "plain ms", "networks ms", "ratio");
    for (int i = 3; i < argc; i++) {
        int count = atoi(argv[i]);
        double ratio = compare(server, count);
        of_100 = count == 100 ? ratio : of_100;
    }
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    printf("netns fork-100-ratio-to-plain: %.2f\n", of_100);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chain-spawn: 100 children of a snapshot that is the third link of a chain, against 100 of a flat one of the
 * same content, in turn; and what starting each server takes, with the chain's memory put together for the
 * first time.
 *
 *   chain VMM GUEST CHILDREN ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (512ull << 20)
#define LINKS 3
#define DIVERGED_MIB "32" /* in each link */

static void check(int result, const struct forkd_error *error)
{
    if (result < 0)
        errx(1, "%s", error->text);
}

/* A child of `from`, written to `to`. */
static void make_link(const char *vmm, const struct measure_snapshot *from, struct measure_snapshot *to,
                      uint32_t flags)
{
    struct forkd_error error;
    struct forkd_server *server = measure_server_start(from, vmm, 0);
    struct forkd_vm *child = NULL;
    struct forkd_server *twin = NULL;
    measure_fork(server, &child, NULL, 1);
    const struct forkd_branch_options options = {.directory = to->directory, .flags = flags};
    check(forkd_vm_branch(child, &options, &twin, NULL, &error), &error);
    check(forkd_server_wait_written(twin, -1, &error), &error);
    forkd_server_free(twin);
    forkd_vm_free(child);
    forkd_server_free(server);
}

static void make_folder(struct measure_snapshot *snapshot, const char *memory)
{
    snprintf(snapshot->directory, sizeof snapshot->directory, "/var/tmp/forkd-bench-XXXXXX");
    if (mkdtemp(snapshot->directory) == NULL)
        err(1, "%s", snapshot->directory);
    snprintf(snapshot->memory, sizeof snapshot->memory, "%s/%s", snapshot->directory, memory);
    snprintf(snapshot->vmstate, sizeof snapshot->vmstate, "%s/vmstate", snapshot->directory);
}

static double server_start_ms(const char *vmm, const struct measure_snapshot *snapshot)
{
    double start = measure_now_ms();
    forkd_server_free(measure_server_start(snapshot, vmm, 0));
    return measure_now_ms() - start;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: chain VMM GUEST CHILDREN ROUNDS");
    int children = atoi(argv[3]);
    int count = atoi(argv[4]);
    const char *vmm = argv[1];
    struct forkd_error error;
    struct measure_snapshot base;
    struct measure_snapshot chain[LINKS];
    struct measure_snapshot flat;
    char layers[LINKS][1024];
    const char *paths[LINKS];
    struct forkd_boot_options options = {.vmm_path = vmm,
                                         .kernel_path = argv[2],
                                         .command_line = DIVERGED_MIB "c",
                                         .memory_bytes = MEMORY,
                                         .vcpu_count = 1,
                                         .flags = FORKD_NO_AGENT};
    measure_snapshot_write(&base, MEASURE_DISK, &options);
    double flatten_ms = 0;
    const struct measure_snapshot *from = &base;
    for (int i = 0; i < LINKS; i++) {
        make_folder(&chain[i], "memory.flat");
        if (i == LINKS - 1) {
            make_folder(&flat, "memory.bin");
            make_link(vmm, from, &flat, 0);
        }
        make_link(vmm, from, &chain[i], FORKD_BRANCH_LAYER);
        snprintf(layers[i], sizeof layers[i], "%s/memory.layer", chain[i].directory);
        paths[i] = layers[i];
        double start = measure_now_ms();
        check(forkd_memory_flatten(base.memory, paths, (uint32_t)i + 1, chain[i].memory, &error), &error);
        flatten_ms = measure_now_ms() - start;
        from = &chain[i];
    }
    struct forkd_vm **vms = calloc((size_t)children, sizeof(struct forkd_vm *));
    double *samples = calloc((size_t)count * 4, sizeof *samples);
    if (samples == NULL || vms == NULL)
        err(1, "calloc");
    const struct measure_snapshot *kinds[] = {&flat, &chain[LINKS - 1]};
    for (int i = 0; i < count; i++) {
        for (int kind = 0; kind < 2; kind++) {
            samples[(2 + kind) * count + i] = server_start_ms(vmm, kinds[kind]);
            struct forkd_server *server = measure_server_start(kinds[kind], vmm, 0);
            samples[kind * count + i] = measure_fork_ms(server, vms, children);
            forkd_server_free(server);
        }
    }
    printf("%d children of 512 MiB, " DIVERGED_MIB " MiB of which differ in each of %d links, ms\n", children,
           LINKS);
    printf("%-28s %10s %14s\n", "", "children", "server start");
    double results[2];
    for (int kind = 0; kind < 2; kind++) {
        results[kind] = measure_median(samples + (size_t)kind * count, count);
        printf("%-28s %10.1f %14.1f\n", kind == 0 ? "flat" : "third link of a chain", results[kind],
               measure_median(samples + (size_t)(2 + kind) * count, count));
    }
    printf("putting the chain's memory together, once: %.0f ms\n", flatten_ms);
    for (int i = 0; i < LINKS; i++) {
        unlink(layers[i]);
        measure_snapshot_remove(&chain[i]);
    }
    measure_snapshot_remove(&flat);
    measure_snapshot_remove(&base);
    printf("chain-spawn depth-3-to-flat: %.2f\n", results[1] / results[0]);
    return 0;
}

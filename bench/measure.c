/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double measure_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

double measure_median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

void measure_snapshot_make(struct measure_snapshot *out, const char *vmm, const char *guest, uint32_t vcpus)
{
    snprintf(out->directory, sizeof out->directory, "/var/tmp/forkd-bench-XXXXXX");
    if (mkdtemp(out->directory) == NULL)
        err(1, "%s", out->directory);
    snprintf(out->memory, sizeof out->memory, "%s/memory.bin", out->directory);
    snprintf(out->vmstate, sizeof out->vmstate, "%s/vmstate", out->directory);
    struct forkd_error error;
    struct forkd_boot_options options = {.vmm_path = vmm,
                                         .kernel_path = guest,
                                         .memory_bytes = 512ull << 20,
                                         .vcpu_count = vcpus,
                                         .flags = FORKD_NO_AGENT};
    struct forkd_vm *vm = NULL;
    struct forkd_vm_status status;
    if (forkd_vm_boot(&vm, &options, &error) < 0 || forkd_vm_wait(vm, 60000, &status, &error) < 0 ||
        forkd_vm_snapshot(vm, out->directory, &error) < 0)
        errx(1, "%s", error.text);
    forkd_vm_free(vm);
}

struct forkd_server *measure_server_start(const struct measure_snapshot *snapshot, const char *vmm,
                                          uint32_t parked)
{
    struct forkd_error error;
    struct forkd_server_options options = {.vmm_path = vmm,
                                           .memory_path = snapshot->memory,
                                           .vmstate_path = snapshot->vmstate,
                                           .parked_count = parked};
    struct forkd_server *server = NULL;
    if (forkd_server_start(&server, &options, &error) < 0)
        errx(1, "%s", error.text);
    return server;
}

void measure_snapshot_remove(const struct measure_snapshot *snapshot)
{
    unlink(snapshot->memory);
    unlink(snapshot->vmstate);
    rmdir(snapshot->directory);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "measure.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define AGENT_PORT 8888

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

void measure_snapshot_write(struct measure_snapshot *out, const char *place,
                            const struct forkd_boot_options *options)
{
    snprintf(out->directory, sizeof out->directory, "%s/forkd-bench-XXXXXX", place);
    if (mkdtemp(out->directory) == NULL)
        err(1, "%s", out->directory);
    snprintf(out->memory, sizeof out->memory, "%s/memory.bin", out->directory);
    snprintf(out->vmstate, sizeof out->vmstate, "%s/vmstate", out->directory);
    struct forkd_error error;
    struct forkd_vm *vm = NULL;
    struct forkd_vm_status status;
    if (forkd_vm_boot(&vm, options, &error) < 0 || forkd_vm_wait(vm, 60000, &status, &error) < 0 ||
        forkd_vm_snapshot(vm, out->directory, &error) < 0)
        errx(1, "%s", error.text);
    forkd_vm_free(vm);
}

void measure_snapshot_make(struct measure_snapshot *out, const char *vmm, const char *guest, uint32_t vcpus)
{
    const struct forkd_boot_options options = {.vmm_path = vmm,
                                               .kernel_path = guest,
                                               .memory_bytes = 512ull << 20,
                                               .vcpu_count = vcpus,
                                               .flags = FORKD_NO_AGENT};
    measure_snapshot_write(out, MEASURE_DISK, &options);
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

void measure_fork(struct forkd_server *server, struct forkd_vm **children, int *pids, int count)
{
    struct forkd_error error;
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT};
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
        if (pids != NULL)
            pids[i] = status.pid;
    }
}

void measure_free(struct forkd_vm **children, int count)
{
    for (int i = 0; i < count; i++)
        forkd_vm_free(children[i]);
}

double measure_fork_ms(struct forkd_server *server, struct forkd_vm **children, int count)
{
    double start = measure_now_ms();
    measure_fork(server, children, NULL, count);
    double elapsed = measure_now_ms() - start;
    measure_free(children, count);
    return elapsed;
}

void measure_floor(const char *floor, const struct measure_snapshot *snapshot, const char *mode, int argument,
                   double *samples, int count)
{
    char command[1024];
    snprintf(command, sizeof command, "'%s' '%s' %s %d", floor, snapshot->memory, mode, argument);
    FILE *output = popen(command, "r");
    for (int i = 0; output != NULL && i < count; i++) {
        if (fscanf(output, "%lf", &samples[i]) != 1)
            errx(1, "the floor program failed");
    }
    if (output == NULL || pclose(output) != 0)
        errx(1, "the floor program failed");
}

double measure_floor_ms(const char *floor, const struct measure_snapshot *snapshot, int count)
{
    double elapsed = -1;
    measure_floor(floor, snapshot, "all", count, &elapsed, 1);
    return elapsed;
}

/* The number after `field` at the beginning of a line. */
static double field_kib(const char *path, const char *field)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        err(1, "%s", path);
    char line[256];
    double kib = -1;
    while (kib < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0)
            kib = atof(line + strlen(field));
    }
    fclose(file);
    if (kib < 0)
        errx(1, "%s has no %s", path, field);
    return kib;
}

double measure_smaps_kib(int pid, const char *field)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    return field_kib(path, field);
}

double measure_meminfo_kib(const char *field)
{
    return field_kib("/proc/meminfo", field);
}

void measure_ask(struct forkd_vm *vm, const char *question, const char *expected)
{
    char reply[4096];
    struct forkd_error error;
    int fd = -1;
    if (forkd_vm_connect(vm, AGENT_PORT, &fd, &error) < 0)
        errx(1, "%s", error.text);
    ssize_t got = write(fd, question, strlen(question));
    size_t length = 0;
    while (got > 0 && length + 1 < sizeof reply && memchr(reply, '\n', length) == NULL &&
           (got = read(fd, reply + length, sizeof reply - 1 - length)) > 0)
        length += (size_t)got;
    reply[length] = '\0';
    close(fd);
    if (length == 0 || (expected ? strstr(reply, expected) == NULL : strstr(reply, "\"error\"") != NULL))
        errx(1, "%s -> %s", question, reply);
}

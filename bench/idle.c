/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idle: what idle children cost, each: proportional and private memory from smaps_rollup, and CPU time over
 * some seconds. A child idles with its vCPU halted.
 *
 *   idle VMM GUEST N SECONDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static double smaps_kib(int pid, const char *field)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        err(1, "%s", path);
    char line[256];
    double kib = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0)
            kib += atof(line + strlen(field));
    }
    fclose(file);
    return kib;
}

static double meminfo_kib(const char *field)
{
    FILE *file = fopen("/proc/meminfo", "r");
    if (file == NULL)
        err(1, "/proc/meminfo");
    char line[256];
    double kib = -1;
    while (kib < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, field, strlen(field)) == 0)
            kib = atof(line + strlen(field));
    }
    fclose(file);
    return kib;
}

/* utime + stime, in milliseconds; fields 14 and 15 of /proc/PID/stat. */
static double cpu_ms(int pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    unsigned long user = 0;
    unsigned long system = 0;
    if (file == NULL ||
        fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        err(1, "%s", path);
    fclose(file);
    return (double)(user + system) * 1000.0 / (double)sysconf(_SC_CLK_TCK);
}

int main(int argc, char **argv)
{
    if (argc != 5)
        errx(2, "usage: idle VMM GUEST N SECONDS");
    int count = atoi(argv[3]);
    unsigned seconds = (unsigned)atoi(argv[4]);
    struct measure_snapshot snapshot;
    measure_snapshot_make(&snapshot, argv[1], argv[2], 2);
    struct forkd_server *server = measure_server_start(&snapshot, argv[1], 0);
    struct forkd_vm **children = calloc((size_t)count, sizeof *children);
    int *pids = calloc((size_t)count, sizeof *pids);
    if (children == NULL || pids == NULL)
        err(1, "calloc");
    double available = meminfo_kib("MemAvailable:");
    struct forkd_error error;
    struct forkd_child_options options = {.flags = FORKD_NO_AGENT};
    for (int i = 0; i < count; i++) {
        struct forkd_vm_status status;
        if (forkd_server_fork(server, &options, &children[i], &error) < 0 ||
            forkd_vm_wait(children[i], 60000, &status, &error) < 0)
            errx(1, "%s", error.text);
        if (status.phase != FORKD_VM_READY)
            errx(1, "child %d ended: %s", i, status.error.text);
        pids[i] = status.pid;
    }
    sleep(1);
    available -= meminfo_kib("MemAvailable:");
    double pss = 0;
    double private_kib = 0;
    double cpu = 0;
    for (int i = 0; i < count; i++) {
        pss += smaps_kib(pids[i], "Pss:");
        private_kib += smaps_kib(pids[i], "Private_Clean:") + smaps_kib(pids[i], "Private_Dirty:");
        cpu -= cpu_ms(pids[i]);
    }
    sleep(seconds);
    for (int i = 0; i < count; i++)
        cpu += cpu_ms(pids[i]);
    printf("%d idle children of a 512 MiB snapshot, 2 vCPUs, each:\n", count);
    printf("%-44s %10.1f KiB\n", "proportional memory (Pss)", pss / count);
    printf("%-44s %10.1f KiB\n", "private memory", private_kib / count);
    printf("%-44s %10.1f KiB\n", "of the machine's MemAvailable", available / count);
    printf("%-44s %10.3f ms a second\n", "CPU time", cpu / count / seconds);
    for (int i = 0; i < count; i++)
        forkd_vm_free(children[i]);
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    printf("idle private-KiB-per-child: %.1f\n", private_kib / count);
    return 0;
}

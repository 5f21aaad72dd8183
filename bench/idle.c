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
#include <unistd.h>

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
    double available = measure_meminfo_kib("MemAvailable:");
    measure_fork(server, children, pids, count);
    sleep(1);
    available -= measure_meminfo_kib("MemAvailable:");
    double pss = 0;
    double private_kib = 0;
    double cpu = 0;
    for (int i = 0; i < count; i++) {
        pss += measure_smaps_kib(pids[i], "Pss:");
        private_kib +=
            measure_smaps_kib(pids[i], "Private_Clean:") + measure_smaps_kib(pids[i], "Private_Dirty:");
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
    measure_free(children, count);
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    printf("idle private-KiB-per-child: %.1f\n", private_kib / count);
    return 0;
}

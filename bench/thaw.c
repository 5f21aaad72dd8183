/* SPDX-License-Identifier: Apache-2.0 */
/*
 * thaw: how long a frozen child takes to answer, and one that idles, in turn: from the connection to the
 * answer of a guest that ticks a hundred times a second.
 *
 *   thaw VMM GUEST ROUNDS
 */
#include "measure.h"

#include <forkd/forkd.h>

#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define AFTER_MS 100
#define SETTLE_US 250000
#define WATCH_US 50000 /* five ticks */
#define PORT 52u       /* any */

/* How often the first vCPU's thread has waited. */
static unsigned long waits(int pid)
{
    char path[64];
    char line[128];
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, pid);
    FILE *file = fopen(path, "re");
    unsigned long count = 0;
    if (file == NULL)
        err(1, "%s", path);
    while (fgets(line, sizeof line, file) != NULL &&
           sscanf(line, "voluntary_ctxt_switches: %lu", &count) != 1) {
    }
    fclose(file);
    return count;
}

static double ask_ms(struct forkd_vm *child)
{
    struct forkd_error error;
    char answer[16];
    int fd = -1;
    double start = measure_now_ms();
    if (forkd_vm_connect(child, PORT, &fd, &error) < 0)
        errx(1, "%s", error.text);
    if (write(fd, "?", 1) != 1 || read(fd, answer, sizeof answer) <= 0)
        err(1, "no answer");
    double took = measure_now_ms() - start;
    close(fd);
    return took;
}

static double row(const char *name, double *samples, int count)
{
    double p50 = measure_median(samples, count);
    printf("%-28s %8.3f %8.3f\n", name, p50, samples[count * 99 / 100]);
    return p50;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        errx(2, "usage: thaw VMM GUEST ROUNDS");
    int rounds = atoi(argv[3]);
    struct measure_snapshot snapshot;
    measure_snapshot_make(&snapshot, argv[1], argv[2], 1);
    struct forkd_server *server = measure_server_start(&snapshot, argv[1], 0);
    struct forkd_vm *children[2];
    int pids[2];
    measure_fork(server, children, pids, 2);
    struct forkd_error error;
    if (forkd_vm_freeze(children[1], AFTER_MS, &error) < 0)
        errx(1, "%s", error.text);
    double *idle = calloc((size_t)rounds * 2, sizeof *idle);
    if (idle == NULL)
        err(1, "calloc");
    double *frozen = idle + rounds;
    for (int i = 0; i < rounds; i++) {
        unsigned long before;
        do {
            usleep(SETTLE_US);
            before = waits(pids[1]);
            usleep(WATCH_US);
        } while (waits(pids[1]) != before);
        idle[i] = ask_ms(children[0]);
        frozen[i] = ask_ms(children[1]);
    }
    measure_free(children, 2);
    forkd_server_free(server);
    measure_snapshot_remove(&snapshot);
    printf("%-28s %8s %8s\n", "an answer, ms", "p50", "p99");
    double of_idle = row("of an idle child", idle, rounds);
    double of_frozen = row("of a frozen one", frozen, rounds);
    free(idle);
    printf("thaw ms: %.3f\n", of_frozen - of_idle);
    return 0;
}

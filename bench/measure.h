/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks share: a clock, medians, a snapshot of the small guest, and children of it. */
#ifndef FORKD_BENCH_MEASURE_H
#define FORKD_BENCH_MEASURE_H

#include <forkd/forkd.h>

#include <stdint.h>

struct measure_snapshot {
    char directory[64];
    char memory[96];
    char vmstate[96];
};

double measure_now_ms(void);
/* Sorts the values. */
double measure_median(double *values, int count);

/* Boot a guest without an agent and write it down in a temporary folder below `place`; measure_snapshot_make:
 * with 512 MiB, on the disk. These end the program when they fail. */
#define MEASURE_DISK "/var/tmp"
void measure_snapshot_write(struct measure_snapshot *out, const char *place,
                            const struct forkd_boot_options *options);
void measure_snapshot_make(struct measure_snapshot *out, const char *vmm, const char *guest, uint32_t vcpus);
struct forkd_server *measure_server_start(const struct measure_snapshot *snapshot, const char *vmm,
                                          uint32_t parked);
void measure_snapshot_remove(const struct measure_snapshot *snapshot);

/* Fork children and wait until each is ready; `pids` may be NULL. */
void measure_fork(struct forkd_server *server, struct forkd_vm **children, int *pids, int count);
void measure_free(struct forkd_vm **children, int count);
/* Milliseconds from the first call to the last child being ready; the children are freed. */
double measure_fork_ms(struct forkd_server *server, struct forkd_vm **children, int count);
/* `count` figures that the floor program prints in that mode, with that argument (floor.c). */
void measure_floor(const char *floor, const struct measure_snapshot *snapshot, const char *mode, int argument,
                   double *samples, int count);
/* Milliseconds as of measure_fork_ms, of the floor program. */
double measure_floor_ms(const char *floor, const struct measure_snapshot *snapshot, int count);

/* Until the guest's agent has answered this line, with that in its answer (NULL: anything but an error).
 * Something else ends the program. */
void measure_ask(struct forkd_vm *vm, const char *question, const char *expected);

/* A field such as "Pss:" of /proc/PID/smaps_rollup, and one of /proc/meminfo. */
double measure_smaps_kib(int pid, const char *field);
double measure_meminfo_kib(const char *field);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the benchmarks share: a clock, medians, and a snapshot of the small guest. */
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

/* Boot the guest with 512 MiB and write it down in a temporary folder. These end the program when they fail.
 */
void measure_snapshot_make(struct measure_snapshot *out, const char *vmm, const char *guest, uint32_t vcpus);
struct forkd_server *measure_server_start(const struct measure_snapshot *snapshot, const char *vmm,
                                          uint32_t parked);
void measure_snapshot_remove(const struct measure_snapshot *snapshot);

#endif

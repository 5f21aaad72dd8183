/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the micro-benchmarks share. Each is registered as SUBJECT/ours, beside SUBJECT/floor: bare work of the
 * same kind, in the same run. main.cpp compares the two.
 */
#ifndef FORKD_BENCH_MICRO_H
#define FORKD_BENCH_MICRO_H

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>

extern "C" {
#include "../measure.h"
}

/* A snapshot of the small guest; made before any benchmark runs. */
#define MICRO_VCPUS 2u
extern struct measure_snapshot micro_snapshot;

/* The floor of code that goes over bytes: one multiplication each, in streams that do not wait for each
 * other. So it loses as much as ordinary code does to whoever shares the core. */
static inline uint64_t micro_hash(const void *data, size_t length)
{
    const uint8_t *bytes = static_cast<const uint8_t *>(data);
    constexpr uint64_t FACTOR = 0x100000001b3u;
    uint64_t a = 1, b = 2, c = 3, d = 4;
    for (size_t i = 0; i + 4 <= length; i += 4) {
        a = (a ^ bytes[i]) * FACTOR;
        b = (b ^ bytes[i + 1]) * FACTOR;
        c = (c ^ bytes[i + 2]) * FACTOR;
        d = (d ^ bytes[i + 3]) * FACTOR;
    }
    return a ^ b ^ c ^ d;
}

#endif

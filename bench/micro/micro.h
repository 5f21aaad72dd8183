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

/* The floor of code that goes over bytes: one multiplication each, which wait for each other. */
static inline uint64_t micro_hash(const void *data, size_t length)
{
    const uint8_t *bytes = static_cast<const uint8_t *>(data);
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

#endif

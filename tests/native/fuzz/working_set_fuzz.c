/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a working set. The first byte says whether magic, version, length and checksums are made
 * right, so that what is behind them is reached; then comes the size of the memory in pages (4 bytes), then
 * the file. A set that is taken is checked against what is promised of one.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "snapshot/working_set.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PREFIX 5u

static void check_promises(const struct working_set *set, uint64_t pages)
{
    uint64_t end = 0;
    uint64_t total[2] = {0};
    for (uint32_t i = 0; i < set->count; i++) {
        const struct working_set_range *range = &set->ranges[i];
        if (i == set->start_count)
            end = 0;
        if (range->count == 0 || range->first < end || range->first > pages ||
            range->count > pages - range->first)
            abort();
        end = range->first + range->count;
        total[range->written] += range->count;
    }
    if (total[1] * WORKING_SET_PAGE > WORKING_SET_MAX_WRITTEN ||
        total[0] * WORKING_SET_PAGE > WORKING_SET_MAX_READ || set->count > WORKING_SET_MAX_RANGES ||
        set->start_count > set->count)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < PREFIX)
        return 0;
    uint64_t pages = bytes_load(data + 1, 4);
    size_t length = size - PREFIX;
    uint8_t *bytes = malloc(length + 1);
    if (bytes == NULL)
        return 0;
    memcpy(bytes, data + PREFIX, length);
    if ((data[0] & 1) != 0 && length >= WORKING_SET_HEADER_SIZE) {
        size_t ranges = length - WORKING_SET_HEADER_SIZE;
        memcpy(bytes, "FORKDWST", 8);
        bytes_store(bytes + 8, 1, 4);
        bytes_store(bytes + 12, ranges / WORKING_SET_RANGE_SIZE, 4);
        bytes_store(bytes + 16, pages * WORKING_SET_PAGE, 8);
        bytes_store(bytes + 24, crc32c(0, bytes + WORKING_SET_HEADER_SIZE, ranges), 4);
        bytes_store(bytes + 28, crc32c(0, bytes, 28), 4);
    }
    struct working_set set;
    if (working_set_decode(bytes, length, pages * WORKING_SET_PAGE, &set) == 0) {
        check_promises(&set, pages);
        working_set_free(&set);
    }
    free(bytes);
    return 0;
}

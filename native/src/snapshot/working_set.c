/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/working_set.h"

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/io.h"
#include "snapshot/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mman.h> /* MADV_POPULATE_READ: musl has none */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* docs/formats.md, "working-set". */
#define FORMAT_VERSION 1u
#define HEADER_VERSION 8u
#define HEADER_COUNT 12u
#define HEADER_MEMORY 16u
#define HEADER_RANGES_CHECKSUM 24u
#define HEADER_CHECKSUM 28u

#define RANGE_FIRST 0u
#define RANGE_COUNT 8u
#define RANGE_KIND 12u

/* Of the answer or, with KIND_START, of the start. */
#define KIND_WRITTEN 1u
#define KIND_START 2u
#define KINDS 4u

/* Holes that are smaller than the kernel's read-ahead are not worth a call. */
#define FETCH_GAP 32u

static const char magic[8] = {'F', 'O', 'R', 'K', 'D', 'W', 'S', 'T'};

/* --- reading ----------------------------------------------------------------------------------------------
 */

/* What the ranges so far come to. */
struct totals {
    uint64_t end;   /* first page after the last of this part */
    bool of_answer; /* it is that of the answer, which comes second */
    uint64_t pages[KINDS];
};

/* Note one more range; false: it breaks an order or a limit. */
static bool add_range(struct totals *totals, uint64_t memory_pages, uint64_t first, uint64_t count,
                      uint32_t kind)
{
    if (kind >= KINDS)
        return false;
    bool of_answer = (kind & KIND_START) == 0;
    if (of_answer && !totals->of_answer)
        totals->end = 0;
    if ((totals->of_answer && !of_answer) || count == 0 || first < totals->end || first > memory_pages ||
        count > memory_pages - first)
        return false;
    totals->of_answer = of_answer;
    totals->end = first + count;
    totals->pages[kind] += count;
    return totals->pages[KIND_WRITTEN] + totals->pages[KIND_WRITTEN | KIND_START] <=
               WORKING_SET_MAX_WRITTEN / WORKING_SET_PAGE &&
           totals->pages[0] + totals->pages[KIND_START] <= WORKING_SET_MAX_READ / WORKING_SET_PAGE;
}

static bool header_valid(const uint8_t *bytes, size_t length, uint64_t memory_size)
{
    if (length < WORKING_SET_HEADER_SIZE || length > WORKING_SET_MAX_BYTES)
        return false;
    size_t ranges = length - WORKING_SET_HEADER_SIZE;
    return memcmp(bytes, magic, sizeof magic) == 0 &&
           bytes_load(bytes + HEADER_VERSION, 4) == FORMAT_VERSION &&
           bytes_load(bytes + HEADER_COUNT, 4) * WORKING_SET_RANGE_SIZE == ranges &&
           bytes_load(bytes + HEADER_MEMORY, 8) == memory_size &&
           bytes_load(bytes + HEADER_RANGES_CHECKSUM, 4) ==
               crc32c(0, bytes + WORKING_SET_HEADER_SIZE, ranges) &&
           bytes_load(bytes + HEADER_CHECKSUM, 4) == crc32c(0, bytes, HEADER_CHECKSUM);
}

int working_set_decode(const uint8_t *bytes, size_t length, uint64_t memory_size, struct working_set *out)
{
    if (!header_valid(bytes, length, memory_size))
        return -EBADMSG;
    struct working_set set = {.count = (uint32_t)bytes_load(bytes + HEADER_COUNT, 4)};
    set.ranges = malloc((set.count + (size_t)1) * sizeof *set.ranges); /* an empty set has one, too */
    if (set.ranges == NULL)
        return -ENOMEM;
    struct totals totals = {0};
    for (uint32_t i = 0; i < set.count; i++) {
        const uint8_t *at = bytes + WORKING_SET_HEADER_SIZE + (size_t)i * WORKING_SET_RANGE_SIZE;
        uint64_t first = bytes_load(at + RANGE_FIRST, 8);
        uint32_t count = (uint32_t)bytes_load(at + RANGE_COUNT, 4);
        uint32_t kind = (uint32_t)bytes_load(at + RANGE_KIND, 4);
        if (!add_range(&totals, memory_size / WORKING_SET_PAGE, first, count, kind)) {
            working_set_free(&set);
            return -EBADMSG;
        }
        set.ranges[i] =
            (struct working_set_range){.first = first, .count = count, .written = (kind & KIND_WRITTEN) != 0};
        set.start_count += (kind & KIND_START) != 0;
    }
    *out = set;
    return 0;
}

int working_set_read(int fd, uint64_t memory_size, struct working_set *out)
{
    uint64_t length = 0;
    int rc = io_size(fd, &length);
    if (rc < 0 || length < WORKING_SET_HEADER_SIZE || length > WORKING_SET_MAX_BYTES)
        return rc < 0 ? rc : -EBADMSG;
    uint8_t *bytes = malloc(length);
    if (bytes == NULL)
        return -ENOMEM;
    rc = io_pread(fd, bytes, length, 0);
    if (rc == 0)
        rc = working_set_decode(bytes, length, memory_size, out);
    free(bytes);
    return rc;
}

void working_set_free(struct working_set *set)
{
    free(set->ranges);
    *set = (struct working_set){0};
}

/* --- using ------------------------------------------------------------------------------------------------
 */

/* Ranges from *index on with at most `gap` pages between them, whatever their kind: the first page after
 * them. *index becomes that of the range that follows; `count` is where those of this part end. */
static uint64_t end_of_run(const struct working_set *set, uint32_t *index, uint32_t count, uint64_t gap)
{
    uint64_t end = set->ranges[*index].first;
    for (; *index < count && set->ranges[*index].first - end <= gap; (*index)++)
        end = set->ranges[*index].first + set->ranges[*index].count;
    return end;
}

void working_set_fetch(const struct working_set *set, int memory_fd)
{
    for (uint32_t i = 0; i < set->count;) {
        uint64_t first = set->ranges[i].first;
        uint32_t count = i < set->start_count ? set->start_count : set->count;
        uint64_t end = end_of_run(set, &i, count, FETCH_GAP);
        posix_fadvise(memory_fd, (off_t)(first * WORKING_SET_PAGE), (off_t)((end - first) * WORKING_SET_PAGE),
                      POSIX_FADV_WILLNEED);
    }
}

static bool populate(void *memory, uint64_t first, uint64_t end, int advice)
{
    return madvise((uint8_t *)memory + first * WORKING_SET_PAGE, (end - first) * WORKING_SET_PAGE, advice) ==
           0;
}

void working_set_populate(const struct working_set *set, enum working_set_part part, void *memory)
{
    uint32_t from = part == WORKING_SET_START ? 0 : set->start_count;
    uint32_t to = part == WORKING_SET_START ? set->start_count : set->count;
    /* Written ones first: a read maps its neighbours as well, which would have to be undone for them. Where
     * it fails, for want of memory or of Linux 5.14, the guest takes its faults. */
    bool going = true;
    for (uint32_t i = from; i < to && going; i++) {
        const struct working_set_range *range = &set->ranges[i];
        if (range->written)
            going = populate(memory, range->first, range->first + range->count, MADV_POPULATE_WRITE);
    }
    for (uint32_t i = from; i < to && going;) {
        uint64_t first = set->ranges[i].first;
        going = populate(memory, first, end_of_run(set, &i, to, 0), MADV_POPULATE_READ);
    }
}

/* --- learning ---------------------------------------------------------------------------------------------
 */

/* One byte for each page, 0: not there. */
#define MARK(anonymous) ((uint8_t)((anonymous) ? 2 : 1))

static int note_range(void *context, uint64_t first, uint64_t count, bool anonymous)
{
    memset((uint8_t *)context + first, MARK(anonymous), count);
    return 0;
}

struct writer {
    uint8_t *bytes;        /* WORKING_SET_MAX_BYTES of them */
    const uint8_t *before; /* what was there already */
    uint64_t memory_pages;
    uint32_t count;
    struct totals totals;
};

static int put_range(struct writer *writer, uint64_t first, uint64_t count, uint32_t kind)
{
    if (writer->count == WORKING_SET_MAX_RANGES ||
        !add_range(&writer->totals, writer->memory_pages, first, count, kind))
        return -E2BIG;
    uint8_t *at = writer->bytes + WORKING_SET_HEADER_SIZE + (size_t)writer->count * WORKING_SET_RANGE_SIZE;
    bytes_store(at + RANGE_FIRST, first, 8);
    bytes_store(at + RANGE_COUNT, count, 4);
    bytes_store(at + RANGE_KIND, kind, 4);
    writer->count++;
    return 0;
}

/* Of a run of pages, those that have come or changed. */
static int put_new(void *context, uint64_t first, uint64_t count, bool anonymous)
{
    struct writer *writer = context;
    uint64_t end = first + count;
    int rc = 0;
    while (first < end && rc == 0) {
        uint64_t known = first;
        while (known < end && writer->before[known] != MARK(anonymous))
            known++;
        if (known > first)
            rc = put_range(writer, first, known - first, anonymous ? KIND_WRITTEN : 0);
        first = known + 1;
    }
    return rc;
}

/* What was there already. */
static int put_start(struct writer *writer)
{
    int rc = 0;
    for (uint64_t first = 0; first < writer->memory_pages && rc == 0;) {
        const uint8_t mark = writer->before[first];
        uint64_t end = first + 1;
        while (end < writer->memory_pages && writer->before[end] == mark)
            end++;
        if (mark != 0)
            rc = put_range(writer, first, end - first, KIND_START | (mark == MARK(true) ? KIND_WRITTEN : 0));
        first = end;
    }
    return rc;
}

/* The header comes last: a set whose writing was cut short is none. */
static int write_set(int fd, const struct writer *writer)
{
    uint8_t header[WORKING_SET_HEADER_SIZE];
    const uint8_t *ranges = writer->bytes + WORKING_SET_HEADER_SIZE;
    size_t length = (size_t)writer->count * WORKING_SET_RANGE_SIZE;
    memcpy(header, magic, sizeof magic);
    bytes_store(header + HEADER_VERSION, FORMAT_VERSION, 4);
    bytes_store(header + HEADER_COUNT, writer->count, 4);
    bytes_store(header + HEADER_MEMORY, writer->memory_pages * WORKING_SET_PAGE, 8);
    bytes_store(header + HEADER_RANGES_CHECKSUM, crc32c(0, ranges, length), 4);
    bytes_store(header + HEADER_CHECKSUM, crc32c(0, header, HEADER_CHECKSUM), 4);
    if (ftruncate(fd, 0) < 0)
        return -errno;
    int rc = io_pwrite(fd, ranges, length, WORKING_SET_HEADER_SIZE);
    return rc < 0 ? rc : io_pwrite(fd, header, sizeof header, 0);
}

/* Siblings have the same open file, so that flock(2) would not tell them apart. This lock is the process's.
 */
static int set_lock(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    return fcntl(fd, F_SETLK, &lock) < 0 ? -errno : 0;
}

uint8_t *working_set_begin(int fd, const void *memory, uint64_t size)
{
    if (set_lock(fd, F_WRLCK) < 0)
        return NULL;
    struct working_set there;
    uint8_t *before = NULL;
    if (working_set_read(fd, size, &there) == 0)
        working_set_free(&there);
    else
        before = calloc(size / WORKING_SET_PAGE, 1);
    if (before != NULL && pagemap_scan(memory, size, note_range, before) == 0)
        return before;
    free(before);
    set_lock(fd, F_UNLCK);
    return NULL;
}

int working_set_learn(int fd, uint8_t *before, const void *memory, uint64_t size)
{
    struct writer writer = {.before = before, .memory_pages = size / WORKING_SET_PAGE};
    /* Only what is used of it is ever touched. */
    void *bytes = mmap(NULL, WORKING_SET_MAX_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int rc = bytes == MAP_FAILED ? -errno : 0;
    if (rc == 0) {
        writer.bytes = bytes;
        rc = put_start(&writer);
        if (rc == 0)
            rc = pagemap_scan(memory, size, put_new, &writer);
        if (rc == -E2BIG)
            writer.count = 0;
        if (rc == 0 && writer.totals.pages[0] + writer.totals.pages[KIND_WRITTEN] < WORKING_SET_MIN_PAGES)
            rc = -ENODATA;
        if (rc == 0 || rc == -E2BIG)
            rc = write_set(fd, &writer);
        munmap(bytes, WORKING_SET_MAX_BYTES);
    }
    set_lock(fd, F_UNLCK);
    free(before);
    return rc;
}

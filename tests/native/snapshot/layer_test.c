/* SPDX-License-Identifier: Apache-2.0 */
/* Layers: what is written is read back, and a file that is not exactly a layer is refused. */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/io.h"
#include "snapshot/layer.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((uint64_t)LAYER_PAGE_SIZE)
#define ZERO UINT64_MAX
#define ENTRY 24u

/* The whole that test layers are of: page p is filled with byte p, so page 0 and every 256th is zero. */
static int pattern(void *context, uint64_t first, uint64_t pages, void *buffer, struct forkd_error *err)
{
    (void)err;
    uint64_t *calls = context;
    assert_in_range(pages, 1, 256);
    for (uint64_t i = 0; i < pages; i++)
        memset((uint8_t *)buffer + i * PAGE, (int)((first + i) & 0xff), PAGE);
    if (calls != NULL)
        (*calls)++;
    return 0;
}

static int make_file(void)
{
    int fd = memfd_create("layer-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int make_layer(uint64_t pages, const struct layer_extent *extents, uint64_t count)
{
    struct forkd_error err;
    int fd = make_file();
    assert_int_equal(layer_write(fd, "test", pages * PAGE, extents, count, pattern, NULL, &err), 0);
    return fd;
}

/* Three data pages, a zero page between them: 4 header-sized pages and a table of 3 entries. */
static int make_small_layer(void)
{
    const struct layer_extent extents[] = {{.first = 254, .count = 4}};
    return make_layer(300, extents, 1);
}
#define SMALL_TABLE (4 * PAGE)
#define SMALL_ENTRIES 3u

static uint64_t size_of(int fd)
{
    uint64_t size = 0;
    assert_int_equal(io_size(fd, &size), 0);
    return size;
}

/* Make a file with these table entries over `data_pages` pages of zero bytes; all checksums of header and
 * table right, so that only the entries can be what is wrong. */
static int forge(uint64_t whole, const uint64_t entries[][3], uint64_t count, uint64_t data_pages)
{
    uint8_t header[PAGE] = "FORKDLYR";
    uint8_t table[16 * ENTRY] = {0};
    int fd = make_file();
    assert_true(count <= 16);
    for (uint64_t i = 0; i < count; i++) {
        bytes_store(table + i * ENTRY, entries[i][0], 8);
        bytes_store(table + i * ENTRY + 8, entries[i][2], 8);
        bytes_store(table + i * ENTRY + 16, entries[i][1], 8); /* its upper half is the checksum */
    }
    bytes_store(header + 8, 1, 4);
    bytes_store(header + 12, PAGE, 4);
    bytes_store(header + 16, whole, 8);
    bytes_store(header + 24, count, 8);
    bytes_store(header + 32, (1 + data_pages) * PAGE, 8);
    bytes_store(header + 40, (1 + data_pages) * PAGE + count * ENTRY, 8);
    bytes_store(header + 48, crc32c(0, table, count * ENTRY), 4);
    bytes_store(header + PAGE - 4, crc32c(0, header, PAGE - 4), 4);
    assert_int_equal(io_pwrite(fd, table, count * ENTRY, (1 + data_pages) * PAGE), 0);
    assert_int_equal(io_pwrite(fd, header, PAGE, 0), 0);
    return fd;
}

/* Change a header field and make the checksum right again. */
static void forge_header(int fd, size_t at, uint64_t value, size_t width)
{
    uint8_t header[PAGE];
    assert_int_equal(io_pread(fd, header, PAGE, 0), 0);
    bytes_store(header + at, value, width);
    bytes_store(header + PAGE - 4, crc32c(0, header, PAGE - 4), 4);
    assert_int_equal(io_pwrite(fd, header, PAGE, 0), 0);
}

/* Open, expect the code, and close the file. */
static void expect_open(int fd, int code)
{
    struct layer layer;
    struct forkd_error err = {0};
    int rc = layer_open(fd, "the layer", &layer, &err);
    if (rc == 0)
        layer_free(&layer);
    assert_int_equal(rc, code);
    if (code != 0)
        assert_string_equal(err.object, "the layer");
    close(fd);
}

static void assert_extent(const struct layer_extent *extent, uint64_t first, uint64_t count,
                          uint64_t file_page)
{
    assert_int_equal(extent->first, first);
    assert_int_equal(extent->count, count);
    assert_true(extent->file_page == file_page);
}

static void reads_back_what_was_written(void **state)
{
    (void)state;
    const struct layer_extent extents[] = {
        {.first = 0, .count = 3}, {.first = 3, .count = 1}, {.first = 700, .count = 400}};
    int fd = make_layer(2000, extents, 3);
    struct layer layer;
    struct forkd_error err;
    uint8_t page[PAGE];
    assert_int_equal(layer_open(fd, "test", &layer, &err), 0);
    assert_int_equal(layer.size, 2000 * PAGE);
    assert_int_equal(layer.extent_count, 7);
    assert_extent(&layer.extents[0], 0, 1, ZERO);
    assert_extent(&layer.extents[1], 1, 3, 1);
    assert_extent(&layer.extents[2], 700, 68, 4); /* up to page 768, which is zero */
    assert_extent(&layer.extents[3], 768, 1, ZERO);
    assert_extent(&layer.extents[4], 769, 255, 72);
    assert_extent(&layer.extents[5], 1024, 1, ZERO);
    assert_extent(&layer.extents[6], 1025, 75, 327);
    assert_int_equal(io_pread(fd, page, PAGE, (327 + 74) * PAGE), 0);
    assert_int_equal(page[0], 1099 & 0xff);
    assert_int_equal(layer_verify_data(fd, "test", layer.size, &err), 0);
    layer_free(&layer);
    close(fd);
}

static void layer_of_nothing_opens(void **state)
{
    (void)state;
    expect_open(make_layer(10, NULL, 0), 0);
}

static void size_that_is_not_whole_pages_counts_the_last_page(void **state)
{
    (void)state;
    const struct layer_extent extents[] = {{.first = 9, .count = 1}};
    struct forkd_error err;
    int fd = make_file();
    assert_int_equal(layer_write(fd, "test", 9 * PAGE + 512, extents, 1, pattern, NULL, &err), 0);
    expect_open(fd, 0);
}

/* The worst case: no two pages are neighbours. */
static void overhead_is_below_one_percent(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    struct layer_extent *extents = calloc(COUNT, sizeof *extents);
    assert_non_null(extents);
    for (uint64_t i = 0; i < COUNT; i++)
        extents[i] = (struct layer_extent){.first = 2 * i + 1, .count = 1}; /* odd: none is zero */
    int fd = make_layer(3ull * COUNT, extents, COUNT);
    assert_true(size_of(fd) <= COUNT * PAGE / 100 * 101);
    free(extents);
    expect_open(fd, 0);
}

static void source_is_asked_in_large_pieces(void **state)
{
    (void)state;
    const struct layer_extent extents[] = {{.first = 0, .count = 256ull * 20}};
    struct forkd_error err;
    uint64_t calls = 0;
    int fd = make_file();
    assert_int_equal(layer_write(fd, "test", 256 * 20 * PAGE, extents, 1, pattern, &calls, &err), 0);
    assert_int_equal(calls, 20);
    close(fd);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    int fd = make_small_layer();
    for (uint64_t length = size_of(fd); length-- > 0;) {
        struct layer layer;
        struct forkd_error err;
        assert_int_equal(ftruncate(fd, (off_t)length), 0);
        assert_int_equal(layer_open(fd, "test", &layer, &err), -EBADMSG);
    }
    close(fd);
}

static void refuses_every_flipped_byte_of_header_and_table(void **state)
{
    (void)state;
    int fd = make_small_layer();
    uint64_t end = size_of(fd);
    assert_int_equal(end, SMALL_TABLE + SMALL_ENTRIES * ENTRY);
    for (uint64_t at = 0; at < end; at = at + 1 == PAGE ? SMALL_TABLE : at + 1) {
        struct layer layer;
        struct forkd_error err;
        uint8_t byte;
        uint8_t flipped;
        assert_int_equal(io_pread(fd, &byte, 1, at), 0);
        flipped = byte ^ 0xff;
        assert_int_equal(io_pwrite(fd, &flipped, 1, at), 0);
        assert_int_equal(layer_open(fd, "test", &layer, &err), -EBADMSG);
        assert_int_equal(io_pwrite(fd, &byte, 1, at), 0);
    }
    expect_open(fd, 0);
}

static void damaged_data_is_named_by_its_extent(void **state)
{
    (void)state;
    int fd = make_small_layer();
    struct layer layer;
    struct forkd_error err;
    assert_int_equal(layer_open(fd, "test", &layer, &err), 0);
    assert_int_equal(layer_verify_data(fd, "test", layer.size, &err), 0);
    assert_int_equal(io_pwrite(fd, "!", 1, 3 * PAGE + 17), 0);
    assert_int_equal(layer_verify_data(fd, "test", layer.size, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "extent 2 (pages 257 to 257)"));
    layer_free(&layer);
    close(fd);
}

static void refuses_extents_that_overlap_or_are_out_of_order_or_range(void **state)
{
    (void)state;
    const uint64_t good[][3] = {{1, 2, 1}, {3, 1, ZERO}, {9, 1, 3}};
    const uint64_t overlapping[][3] = {{1, 2, ZERO}, {2, 1, ZERO}};
    const uint64_t unsorted[][3] = {{5, 1, ZERO}, {2, 1, ZERO}};
    const uint64_t empty[][3] = {{5, 0, ZERO}};
    const uint64_t beyond[][3] = {{9, 2, ZERO}};
    const uint64_t far_beyond[][3] = {{UINT64_MAX, 1, ZERO}};
    const uint64_t wrapping[][3] = {{UINT64_MAX - 1, 3, ZERO}};
    const uint64_t in_header[][3] = {{1, 1, 0}};
    const uint64_t data_twice[][3] = {{1, 1, 1}, {3, 1, 1}};
    const uint64_t data_beyond[][3] = {{1, 2, 1}};
    const uint64_t data_wrapping[][3] = {{1, 1, UINT64_MAX - 1}};
    const uint64_t zero_with_checksum[][3] = {{1, 1 | 1ull << 32, ZERO}};
    const uint64_t data_unnamed[][3] = {{1, 1, 1}};
    expect_open(forge(10 * PAGE, good, 3, 3), 0);
    expect_open(forge(10 * PAGE, overlapping, 2, 0), -EBADMSG);
    expect_open(forge(10 * PAGE, unsorted, 2, 0), -EBADMSG);
    expect_open(forge(10 * PAGE, empty, 1, 0), -EBADMSG);
    expect_open(forge(10 * PAGE, beyond, 1, 0), -EBADMSG);
    expect_open(forge(10 * PAGE, far_beyond, 1, 0), -EBADMSG);
    expect_open(forge(10 * PAGE, wrapping, 1, 0), -EBADMSG);
    expect_open(forge(10 * PAGE, in_header, 1, 1), -EBADMSG);
    expect_open(forge(10 * PAGE, data_twice, 2, 2), -EBADMSG);
    expect_open(forge(10 * PAGE, data_beyond, 1, 1), -EBADMSG);
    expect_open(forge(10 * PAGE, data_wrapping, 1, 1), -EBADMSG);
    expect_open(forge(10 * PAGE, zero_with_checksum, 1, 0), -EBADMSG);
    expect_open(forge(10 * PAGE, data_unnamed, 1, 2), -EBADMSG);
}

static void refuses_a_header_that_contradicts_itself(void **state)
{
    (void)state;
    const struct {
        size_t at;
        size_t width;
        uint64_t value;
        int code;
    } cases[] = {
        {8, 4, 2, -ENOTSUP},           /* format version */
        {12, 4, 8192, -ENOTSUP},       /* page size */
        {16, 8, UINT64_MAX, -EBADMSG}, /* size of the whole */
        {24, 8, UINT64_MAX, -EBADMSG}, /* extents */
        {24, 8, 2, -EBADMSG},
        {32, 8, 0, -EBADMSG}, /* table */
        {32, 8, SMALL_TABLE + 1, -EBADMSG},
        {32, 8, UINT64_MAX - 4095, -EBADMSG},
        {40, 8, 0, -EBADMSG}, /* length */
        {52, 1, 1, -EBADMSG}, /* reserved */
        {4091, 1, 1, -EBADMSG},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int fd = make_small_layer();
        forge_header(fd, cases[i].at, cases[i].value, cases[i].width);
        expect_open(fd, cases[i].code);
    }
}

/* A file that costs its maker nothing, and says that its table has 2^26 entries. */
static void a_huge_sparse_table_costs_no_memory(void **state)
{
    (void)state;
    const uint64_t count = 1ull << 26;
    int fd = make_small_layer();
    uint64_t length = SMALL_TABLE + count * ENTRY;
    assert_int_equal(io_zero(fd, SMALL_TABLE, SMALL_ENTRIES * ENTRY), 0);
    assert_int_equal(ftruncate(fd, (off_t)length), 0);
    forge_header(fd, 24, count, 8);
    forge_header(fd, 40, length, 8);
    expect_open(fd, -EBADMSG);
}

static void refuses_bytes_after_the_end(void **state)
{
    (void)state;
    int fd = make_small_layer();
    assert_int_equal(io_pwrite(fd, "", 1, size_of(fd)), 0);
    expect_open(fd, -EBADMSG);
}

static void writing_refuses_bad_ranges(void **state)
{
    (void)state;
    const struct layer_extent cases[][2] = {
        {{.first = 5, .count = 1}, {.first = 4, .count = 1}},
        {{.first = 5, .count = 2}, {.first = 6, .count = 1}},
        {{.first = 5, .count = 0}, {.first = 6, .count = 1}},
        {{.first = 5, .count = 1}, {.first = 10, .count = 1}},
        {{.first = 5, .count = 1}, {.first = 9, .count = UINT64_MAX}},
        {{.first = 5, .count = 1}, {.first = UINT64_MAX, .count = 1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct forkd_error err;
        int fd = make_file();
        assert_int_equal(layer_write(fd, "test", 10 * PAGE, cases[i], 2, pattern, NULL, &err), -EINVAL);
        close(fd);
    }
}

static int failing_source(void *context, uint64_t first, uint64_t pages, void *buffer,
                          struct forkd_error *err)
{
    return first >= 5000 ? error_set(err, EIO, "read", "source", NULL)
                         : pattern(context, first, pages, buffer, err);
}

static void a_source_that_fails_leaves_no_layer(void **state)
{
    (void)state;
    const struct layer_extent extents[] = {{.first = 0, .count = 6000}};
    struct forkd_error err;
    int fd = make_file();
    assert_int_equal(layer_write(fd, "test", 6000 * PAGE, extents, 1, failing_source, NULL, &err), -EIO);
    assert_string_equal(err.object, "source");
    assert_true(size_of(fd) > 0); /* data had gone out */
    expect_open(fd, -EBADMSG);
}

static void full_disk_is_an_error(void **state)
{
    (void)state;
    const struct layer_extent extents[] = {{.first = 1, .count = 1}};
    struct forkd_error err;
    int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(layer_write(fd, "test", 6000 * PAGE, extents, 1, pattern, NULL, &err), -ENOSPC);
    assert_string_equal(err.object, "test");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_written),
        cmocka_unit_test(layer_of_nothing_opens),
        cmocka_unit_test(size_that_is_not_whole_pages_counts_the_last_page),
        cmocka_unit_test(overhead_is_below_one_percent),
        cmocka_unit_test(source_is_asked_in_large_pieces),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_every_flipped_byte_of_header_and_table),
        cmocka_unit_test(damaged_data_is_named_by_its_extent),
        cmocka_unit_test(refuses_extents_that_overlap_or_are_out_of_order_or_range),
        cmocka_unit_test(refuses_a_header_that_contradicts_itself),
        cmocka_unit_test(a_huge_sparse_table_costs_no_memory),
        cmocka_unit_test(refuses_bytes_after_the_end),
        cmocka_unit_test(writing_refuses_bad_ranges),
        cmocka_unit_test(a_source_that_fails_leaves_no_layer),
        cmocka_unit_test(full_disk_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

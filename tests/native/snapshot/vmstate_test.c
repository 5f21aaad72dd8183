/* SPDX-License-Identifier: Apache-2.0 */
/* vmstate: what is written is byte for byte what docs/formats.md says, and nothing else is read. */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "snapshot/vmstate.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Made by a program other than ours: section cpu 1 (version 2, 18 bytes), section empty 0 (version 1, none).
 */
static const uint8_t golden[] = {
    0x46, 0x4f, 0x52, 0x4b, 0x44, 0x56, 0x4d, 0x53, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x98,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x4d, 0x21, 0x11, 0xf3, 0x63, 0x70,
    0x75, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x12, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x9c, 0xf7, 0xe1, 0x57, 0xa1, 0xf4, 0x8c, 0x6d, 0x11, 0x33, 0x22, 0x77, 0x66,
    0x55, 0x44, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99, 0x88, 0x78, 0x79, 0x7a, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x65, 0x6d, 0x70, 0x74, 0x79, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x90, 0xcf, 0xec, 0x32,
};
#define CPU_HEADER 32u
#define CPU_PAYLOAD 80u
#define EMPTY_HEADER 104u

/* A copy of the golden file in a block of exactly its length, so that reads beyond it are seen. */
static uint8_t *copy_of_golden(size_t length)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);
    assert_non_null(copy);
    memcpy(copy, golden, length);
    return copy;
}

static void seal_header(uint8_t *file)
{
    bytes_store(file + 28, crc32c(0, file, 28), 4);
}

static void seal_section(uint8_t *section)
{
    bytes_store(section + 44, crc32c(0, section, 44), 4);
}

/* What a section is called in the error about damage at a byte of the golden file. */
static const char *culprit_at(size_t offset)
{
    if (offset < CPU_HEADER)
        return "vmstate header";
    if (offset < CPU_PAYLOAD)
        return "vmstate section number 0 at byte 32";
    if (offset < EMPTY_HEADER)
        return "vmstate section cpu 1";
    return "vmstate section number 1 at byte 104";
}

static void read_golden(struct vmstate_reader *reader)
{
    struct forkd_error err;
    assert_int_equal(vmstate_reader_init(reader, golden, sizeof golden, &err), 0);
}

static void writes_the_golden_bytes(void **state)
{
    (void)state;
    struct vmstate_writer writer;
    struct forkd_error err;
    vmstate_writer_init(&writer);
    vmstate_begin(&writer, "cpu", 1, 2);
    vmstate_put_u8(&writer, 0x11);
    vmstate_put_u16(&writer, 0x2233);
    vmstate_put_u32(&writer, 0x44556677);
    vmstate_put_u64(&writer, 0x8899aabbccddeeff);
    vmstate_put_bytes(&writer, "xyz", 3);
    vmstate_end(&writer);
    vmstate_begin(&writer, "empty", 0, 1);
    vmstate_put_bytes(&writer, NULL, 0);
    vmstate_end(&writer);
    assert_int_equal(vmstate_writer_finish(&writer, &err), 0);
    assert_int_equal(writer.length, sizeof golden);
    assert_memory_equal(writer.data, golden, sizeof golden);
    vmstate_writer_free(&writer);
}

static void reads_the_golden_bytes(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    char text[3];
    read_golden(&reader);
    assert_int_equal(vmstate_open(&reader, "cpu", 1, 2, &section, &err), 0);
    assert_int_equal(section.version, 2);
    assert_int_equal(vmstate_left(&section), 18);
    assert_int_equal(vmstate_get_u8(&section), 0x11);
    assert_int_equal(vmstate_get_u16(&section), 0x2233);
    assert_int_equal(vmstate_get_u32(&section), 0x44556677);
    assert_true(vmstate_get_u64(&section) == 0x8899aabbccddeeff);
    vmstate_get_bytes(&section, text, sizeof text);
    assert_memory_equal(text, "xyz", 3);
    assert_int_equal(vmstate_close(&section, &err), 0);
    assert_int_equal(vmstate_open(&reader, "empty", 0, 1, &section, &err), 0);
    assert_int_equal(vmstate_close(&section, &err), 0);
}

static void refuses_every_truncation(void **state)
{
    (void)state;
    for (size_t length = 0; length < sizeof golden; length++) {
        uint8_t *file = copy_of_golden(length);
        struct vmstate_reader reader;
        struct forkd_error err;
        assert_int_equal(vmstate_reader_init(&reader, file, length, &err), -EBADMSG);
        assert_string_equal(err.object, culprit_at(length));
        free(file);
    }
}

static void refuses_every_flipped_bit_and_names_the_section(void **state)
{
    (void)state;
    for (size_t bit = 0; bit < sizeof golden * 8; bit++) {
        uint8_t *file = copy_of_golden(sizeof golden);
        struct vmstate_reader reader;
        struct forkd_error err;
        file[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_int_equal(vmstate_reader_init(&reader, file, sizeof golden, &err), -EBADMSG);
        assert_string_equal(err.object, culprit_at(bit / 8));
        free(file);
    }
}

static void refuses_bytes_after_the_end(void **state)
{
    (void)state;
    uint8_t file[sizeof golden + 1] = {0};
    struct vmstate_reader reader;
    struct forkd_error err;
    memcpy(file, golden, sizeof golden);
    assert_int_equal(vmstate_reader_init(&reader, file, sizeof golden + 1, &err), -EBADMSG);
}

static void newer_format_returns_enotsup(void **state)
{
    (void)state;
    uint8_t *file = copy_of_golden(sizeof golden);
    struct vmstate_reader reader;
    struct forkd_error err;
    bytes_store(file + 8, 2, 4);
    seal_header(file);
    assert_int_equal(vmstate_reader_init(&reader, file, sizeof golden, &err), -ENOTSUP);
    free(file);
}

static void newer_section_returns_enotsup_and_names_it(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    read_golden(&reader);
    assert_int_equal(vmstate_open(&reader, "cpu", 1, 1, &section, &err), -ENOTSUP);
    assert_string_equal(err.object, "vmstate section cpu 1");
}

static void missing_section_returns_enoent_and_names_it(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    read_golden(&reader);
    assert_int_equal(vmstate_open(&reader, "cpu", 0, 2, &section, &err), -ENOENT);
    assert_string_equal(err.object, "vmstate section cpu 0");
}

/* A file whose checksums are right and whose content is not: `width` bytes at `at` become `value`. */
static int init_forged(size_t at, uint64_t value, size_t width, struct forkd_error *err)
{
    uint8_t *file = copy_of_golden(sizeof golden);
    struct vmstate_reader reader;
    bytes_store(file + at, value, width);
    seal_section(file + CPU_HEADER);
    seal_section(file + EMPTY_HEADER);
    seal_header(file);
    int rc = vmstate_reader_init(&reader, file, sizeof golden, err);
    free(file);
    return rc;
}

static void refuses_forged_fields(void **state)
{
    (void)state;
    struct forkd_error err;
    assert_int_equal(init_forged(12, UINT32_MAX, 4, &err), -EBADMSG);       /* section count */
    assert_int_equal(init_forged(12, 3, 4, &err), -EBADMSG);                /* one too many */
    assert_int_equal(init_forged(12, 1, 4, &err), -EBADMSG);                /* one too few */
    assert_int_equal(init_forged(16, 1, 8, &err), -EBADMSG);                /* total length */
    assert_int_equal(init_forged(24, 1, 4, &err), -EBADMSG);                /* reserved */
    assert_int_equal(init_forged(CPU_HEADER, 0, 1, &err), -EBADMSG);        /* empty name */
    assert_int_equal(init_forged(CPU_HEADER + 4, 'x', 1, &err), -EBADMSG);  /* name goes on after its end */
    assert_int_equal(init_forged(CPU_HEADER + 1, '\n', 1, &err), -EBADMSG); /* not printable */
    assert_int_equal(init_forged(CPU_HEADER + 28, 0, 4, &err), -EBADMSG);   /* version 0 */
    assert_int_equal(init_forged(CPU_HEADER + 32, UINT64_MAX, 8, &err),
                     -EBADMSG);                                             /* payload length overflows */
    assert_int_equal(init_forged(EMPTY_HEADER + 32, 1, 8, &err), -EBADMSG); /* payload beyond the end */
    assert_string_equal(err.object, "vmstate section empty 0");
}

static void refuses_a_name_without_end(void **state)
{
    (void)state;
    uint8_t *file = copy_of_golden(sizeof golden);
    struct vmstate_reader reader;
    struct forkd_error err;
    memset(file + CPU_HEADER, 'a', VMSTATE_NAME_SIZE);
    seal_section(file + CPU_HEADER);
    assert_int_equal(vmstate_reader_init(&reader, file, sizeof golden, &err), -EBADMSG);
    free(file);
}

/* The checksums are right, and the file ends where the padding of its last section would begin. */
static void refuses_a_section_without_its_padding(void **state)
{
    (void)state;
    enum { LENGTH = EMPTY_HEADER - 6 };
    uint8_t *file = copy_of_golden(LENGTH);
    struct vmstate_reader reader;
    struct forkd_error err;
    bytes_store(file + 12, 1, 4);
    bytes_store(file + 16, LENGTH, 8);
    seal_header(file);
    assert_int_equal(vmstate_reader_init(&reader, file, LENGTH, &err), -EBADMSG);
    assert_string_equal(err.object, "vmstate section cpu 1");
    free(file);
}

static void refuses_a_section_that_is_there_twice(void **state)
{
    (void)state;
    uint8_t *file = copy_of_golden(sizeof golden);
    struct vmstate_reader reader;
    struct forkd_error err;
    memcpy(file + EMPTY_HEADER, file + CPU_HEADER, 28);
    seal_section(file + EMPTY_HEADER);
    assert_int_equal(vmstate_reader_init(&reader, file, sizeof golden, &err), -EBADMSG);
    assert_string_equal(err.object, "vmstate section cpu 1");
    free(file);
}

static void refuses_a_file_larger_than_the_limit(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct forkd_error err;
    assert_int_equal(vmstate_reader_init(&reader, golden, (size_t)VMSTATE_MAX_BYTES + 1, &err), -EBADMSG);
}

static void short_read_returns_zeroes_and_fails_at_close(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    uint8_t bytes[19];
    memset(bytes, 0xff, sizeof bytes);
    read_golden(&reader);
    assert_int_equal(vmstate_open(&reader, "cpu", 1, 2, &section, &err), 0);
    vmstate_get_bytes(&section, bytes, sizeof bytes);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(bytes[18], 0);
    /* What is left would do for this one: but nothing after the first short read can be trusted. */
    assert_int_equal(vmstate_get_u8(&section), 0);
    assert_int_equal(vmstate_left(&section), 0);
    assert_int_equal(vmstate_close(&section, &err), -EBADMSG);
    assert_string_equal(err.object, "vmstate section cpu 1");
}

static void unread_bytes_fail_at_close(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    read_golden(&reader);
    assert_int_equal(vmstate_open(&reader, "cpu", 1, 2, &section, &err), 0);
    vmstate_get_u64(&section);
    assert_int_equal(vmstate_close(&section, &err), -EBADMSG);
    assert_string_equal(err.object, "vmstate section cpu 1");
}

static void rejected_section_fails_at_close(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    read_golden(&reader);
    assert_int_equal(vmstate_open(&reader, "empty", 0, 1, &section, &err), 0);
    vmstate_reject(&section);
    assert_int_equal(vmstate_close(&section, &err), -EBADMSG);
    assert_string_equal(err.object, "vmstate section empty 0");
}

static void next_goes_through_all_sections(void **state)
{
    (void)state;
    struct vmstate_reader reader;
    struct vmstate_section section;
    size_t cursor = 0;
    read_golden(&reader);
    assert_true(vmstate_next(&reader, &cursor, &section));
    assert_string_equal(section.name, "cpu");
    assert_true(vmstate_next(&reader, &cursor, &section));
    assert_string_equal(section.name, "empty");
    assert_false(vmstate_next(&reader, &cursor, &section));
}

static int finish_and_free(struct vmstate_writer *writer)
{
    struct forkd_error err;
    int rc = vmstate_writer_finish(writer, &err);
    vmstate_writer_free(writer);
    return rc;
}

static void writer_remembers_misuse(void **state)
{
    (void)state;
    struct vmstate_writer writer;
    vmstate_writer_init(&writer);
    vmstate_put_u8(&writer, 1); /* no section is open */
    assert_int_equal(finish_and_free(&writer), -EINVAL);
    vmstate_writer_init(&writer);
    vmstate_begin(&writer, "twice", 1, 1);
    vmstate_end(&writer);
    vmstate_begin(&writer, "twice", 1, 1);
    vmstate_end(&writer);
    assert_int_equal(finish_and_free(&writer), -EEXIST);
    vmstate_writer_init(&writer);
    vmstate_begin(&writer, "not-closed", 0, 1);
    assert_int_equal(finish_and_free(&writer), -EINVAL);
    vmstate_writer_init(&writer);
    vmstate_begin(&writer, "a-name-of-24-characters-", 0, 1);
    vmstate_end(&writer);
    assert_int_equal(finish_and_free(&writer), -EINVAL);
}

static void writer_refuses_more_than_the_reader_takes(void **state)
{
    (void)state;
    struct vmstate_writer writer;
    char *bytes = calloc(1, VMSTATE_MAX_BYTES);
    assert_non_null(bytes);
    vmstate_writer_init(&writer);
    vmstate_begin(&writer, "large", 0, 1);
    vmstate_put_bytes(&writer, bytes, VMSTATE_MAX_BYTES);
    vmstate_end(&writer);
    assert_int_equal(finish_and_free(&writer), -EFBIG);
    free(bytes);
}

static void many_large_sections_survive_a_round_trip(void **state)
{
    (void)state;
    enum { COUNT = 200, SIZE = 5000 }; /* past several doublings of the writer's buffer */
    struct vmstate_writer writer;
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    static uint8_t bytes[SIZE];
    vmstate_writer_init(&writer);
    for (uint32_t i = 0; i < COUNT; i++) {
        memset(bytes, (int)i, sizeof bytes);
        vmstate_begin(&writer, "many", i, 1);
        vmstate_put_bytes(&writer, bytes, sizeof bytes - i);
        vmstate_end(&writer);
    }
    assert_int_equal(vmstate_writer_finish(&writer, &err), 0);
    assert_int_equal(vmstate_reader_init(&reader, writer.data, writer.length, &err), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(vmstate_open(&reader, "many", i, 1, &section, &err), 0);
        assert_int_equal(vmstate_left(&section), SIZE - i);
        assert_int_equal(vmstate_get_u8(&section), (uint8_t)i);
    }
    vmstate_writer_free(&writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_golden_bytes),
        cmocka_unit_test(reads_the_golden_bytes),
        cmocka_unit_test(refuses_every_truncation),
        cmocka_unit_test(refuses_every_flipped_bit_and_names_the_section),
        cmocka_unit_test(refuses_bytes_after_the_end),
        cmocka_unit_test(newer_format_returns_enotsup),
        cmocka_unit_test(newer_section_returns_enotsup_and_names_it),
        cmocka_unit_test(missing_section_returns_enoent_and_names_it),
        cmocka_unit_test(refuses_forged_fields),
        cmocka_unit_test(refuses_a_name_without_end),
        cmocka_unit_test(refuses_a_section_without_its_padding),
        cmocka_unit_test(refuses_a_section_that_is_there_twice),
        cmocka_unit_test(refuses_a_file_larger_than_the_limit),
        cmocka_unit_test(short_read_returns_zeroes_and_fails_at_close),
        cmocka_unit_test(unread_bytes_fail_at_close),
        cmocka_unit_test(rejected_section_fails_at_close),
        cmocka_unit_test(next_goes_through_all_sections),
        cmocka_unit_test(writer_remembers_misuse),
        cmocka_unit_test(writer_refuses_more_than_the_reader_takes),
        cmocka_unit_test(many_large_sections_survive_a_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

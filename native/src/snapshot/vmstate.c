/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/vmstate.h"

#include "base/array.h"
#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* docs/formats.md, "vmstate". */
#define FORMAT_VERSION 1u
#define HEADER_SIZE 32u
#define HEADER_VERSION 8u
#define HEADER_COUNT 12u
#define HEADER_LENGTH 16u
#define HEADER_RESERVED 24u
#define HEADER_CHECKSUM 28u

#define SECTION_HEADER_SIZE 48u
#define SECTION_INSTANCE 24u
#define SECTION_VERSION 28u
#define SECTION_LENGTH 32u
#define SECTION_PAYLOAD_CHECKSUM 40u
#define SECTION_CHECKSUM 44u
#define SECTION_ALIGNMENT 8u

static const char magic[8] = {'F', 'O', 'R', 'K', 'D', 'V', 'M', 'S'};

static size_t padding_of(uint64_t length)
{
    return (size_t)(-length & (SECTION_ALIGNMENT - 1));
}

/* Writing. */

static void fail(struct vmstate_writer *writer, int code)
{
    if (writer->failed == 0)
        writer->failed = code;
}

/* `length` more bytes at the end, zeroed; NULL once anything has failed. */
static uint8_t *extend(struct vmstate_writer *writer, size_t length)
{
    if (writer->failed != 0)
        return NULL;
    if (length > VMSTATE_MAX_BYTES - writer->length) {
        fail(writer, -EFBIG);
        return NULL;
    }
    uint8_t *data = array_room(writer->data, writer->length + length, &writer->capacity, 1);
    if (data == NULL) {
        fail(writer, -ENOMEM);
        return NULL;
    }
    writer->data = data;
    uint8_t *at = writer->data + writer->length;
    memset(at, 0, length);
    writer->length += length;
    return at;
}

void vmstate_writer_init(struct vmstate_writer *writer)
{
    memset(writer, 0, sizeof *writer);
    (void)extend(writer, HEADER_SIZE);
}

void vmstate_writer_free(struct vmstate_writer *writer)
{
    free(writer->data);
    memset(writer, 0, sizeof *writer);
}

static bool written_before(const struct vmstate_writer *writer, const uint8_t *header)
{
    size_t at = HEADER_SIZE;
    while (writer->data + at < header) {
        const uint8_t *other = writer->data + at;
        if (memcmp(other, header, SECTION_VERSION) == 0)
            return true;
        uint64_t length = bytes_load(other + SECTION_LENGTH, 8);
        at += SECTION_HEADER_SIZE + (size_t)length + padding_of(length);
    }
    return false;
}

void vmstate_begin(struct vmstate_writer *writer, const char *name, uint32_t instance, uint32_t version)
{
    size_t name_length = strlen(name);
    if (writer->section != 0 || name_length == 0 || name_length >= VMSTATE_NAME_SIZE || version == 0 ||
        writer->section_count == VMSTATE_MAX_SECTIONS) {
        fail(writer, -EINVAL);
        return;
    }
    size_t start = writer->length;
    uint8_t *header = extend(writer, SECTION_HEADER_SIZE);
    if (header == NULL)
        return;
    memcpy(header, name, name_length + 1);
    bytes_store(header + SECTION_INSTANCE, instance, 4);
    bytes_store(header + SECTION_VERSION, version, 4);
    if (written_before(writer, header)) {
        fail(writer, -EEXIST);
        return;
    }
    writer->section = start;
    writer->section_count++;
}

void vmstate_end(struct vmstate_writer *writer)
{
    if (writer->failed != 0)
        return;
    if (writer->section == 0) {
        fail(writer, -EINVAL);
        return;
    }
    size_t payload = writer->section + SECTION_HEADER_SIZE;
    size_t length = writer->length - payload;
    if (extend(writer, padding_of(length)) == NULL)
        return;
    uint8_t *header = writer->data + writer->section;
    bytes_store(header + SECTION_LENGTH, length, 8);
    bytes_store(header + SECTION_PAYLOAD_CHECKSUM, crc32c(0, writer->data + payload, length), 4);
    bytes_store(header + SECTION_CHECKSUM, crc32c(0, header, SECTION_CHECKSUM), 4);
    writer->section = 0;
}

static uint8_t *put(struct vmstate_writer *writer, size_t length)
{
    if (writer->section == 0)
        fail(writer, -EINVAL);
    return extend(writer, length);
}

static void put_integer(struct vmstate_writer *writer, uint64_t value, size_t width)
{
    uint8_t *at = put(writer, width);
    if (at != NULL)
        bytes_store(at, value, width);
}

void vmstate_put_u8(struct vmstate_writer *writer, uint8_t value)
{
    put_integer(writer, value, 1);
}

void vmstate_put_u16(struct vmstate_writer *writer, uint16_t value)
{
    put_integer(writer, value, 2);
}

void vmstate_put_u32(struct vmstate_writer *writer, uint32_t value)
{
    put_integer(writer, value, 4);
}

void vmstate_put_u64(struct vmstate_writer *writer, uint64_t value)
{
    put_integer(writer, value, 8);
}

void vmstate_put_bytes(struct vmstate_writer *writer, const void *data, size_t length)
{
    uint8_t *at = put(writer, length);
    if (at != NULL && length > 0)
        memcpy(at, data, length);
}

int vmstate_writer_finish(struct vmstate_writer *writer, struct forkd_error *err)
{
    if (writer->section != 0)
        fail(writer, -EINVAL);
    if (writer->failed != 0)
        return error_set(err, writer->failed, "encode", "vmstate", NULL);
    memcpy(writer->data, magic, sizeof magic);
    bytes_store(writer->data + HEADER_VERSION, FORMAT_VERSION, 4);
    bytes_store(writer->data + HEADER_COUNT, writer->section_count, 4);
    bytes_store(writer->data + HEADER_LENGTH, writer->length, 8);
    bytes_store(writer->data + HEADER_CHECKSUM, crc32c(0, writer->data, HEADER_CHECKSUM), 4);
    return 0;
}

/* Reading. */

static int bad_header(struct forkd_error *err, int code, const char *reason)
{
    return error_set(err, code, "decode", "vmstate header", "%s", reason);
}

/* How a section is called in errors. */
struct label {
    char text[96];
};

static struct label label_of(const char *name, uint32_t instance)
{
    struct label label;
    snprintf(label.text, sizeof label.text, "vmstate section %.*s %u", VMSTATE_NAME_SIZE, name, instance);
    return label;
}

/* A name is printable, not empty, and padded with zero bytes. */
static bool name_is_valid(const uint8_t *name)
{
    size_t length = 0;
    while (length < VMSTATE_NAME_SIZE && name[length] > ' ' && name[length] < 0x7f)
        length++;
    if (length == 0)
        return false;
    size_t padding = length;
    while (padding < VMSTATE_NAME_SIZE && name[padding] == 0)
        padding++;
    return length < VMSTATE_NAME_SIZE && padding == VMSTATE_NAME_SIZE;
}

/* The section at `offset`, which was checked; returns the offset of the next. */
static size_t section_at(const struct vmstate_reader *reader, size_t offset, struct vmstate_section *section)
{
    const uint8_t *header = reader->data + offset;
    memcpy(section->name, header, VMSTATE_NAME_SIZE);
    section->instance = (uint32_t)bytes_load(header + SECTION_INSTANCE, 4);
    section->version = (uint32_t)bytes_load(header + SECTION_VERSION, 4);
    section->data = header + SECTION_HEADER_SIZE;
    section->length = (size_t)bytes_load(header + SECTION_LENGTH, 8);
    section->position = 0;
    section->failed = 0;
    return offset + SECTION_HEADER_SIZE + section->length + padding_of(section->length);
}

/* Check the section at *offset and move to the next. A damaged header has no name that could be trusted, so
 * it is named by its place. */
static int check_section(const struct vmstate_reader *reader, uint32_t index, size_t *offset,
                         struct forkd_error *err)
{
    struct label label;
    snprintf(label.text, sizeof label.text, "vmstate section number %u at byte %zu", index, *offset);
    const uint8_t *header = reader->data + *offset;
    size_t left = reader->length - *offset;
    if (left < SECTION_HEADER_SIZE)
        return error_set(err, EBADMSG, "decode", label.text, "the file ends in its header");
    if (bytes_load(header + SECTION_CHECKSUM, 4) != crc32c(0, header, SECTION_CHECKSUM))
        return error_set(err, EBADMSG, "decode", label.text, "wrong checksum of its header");
    if (!name_is_valid(header))
        return error_set(err, EBADMSG, "decode", label.text, "its name is not valid");
    label = label_of((const char *)header, (uint32_t)bytes_load(header + SECTION_INSTANCE, 4));
    if (bytes_load(header + SECTION_VERSION, 4) == 0)
        return error_set(err, EBADMSG, "decode", label.text, "its version is 0");
    left -= SECTION_HEADER_SIZE;
    uint64_t length = bytes_load(header + SECTION_LENGTH, 8);
    if (length > left || padding_of(length) > left - length)
        return error_set(err, EBADMSG, "decode", label.text, "%llu bytes, of which the file has %zu",
                         (unsigned long long)length, left);
    struct vmstate_section section;
    *offset = section_at(reader, *offset, &section);
    if (bytes_load(header + SECTION_PAYLOAD_CHECKSUM, 4) != crc32c(0, section.data, section.length))
        return error_set(err, EBADMSG, "decode", label.text, "wrong checksum");
    for (size_t i = 0; i < padding_of(length); i++) {
        if (section.data[length + i] != 0)
            return error_set(err, EBADMSG, "decode", label.text, "its padding is not zero");
    }
    return 0;
}

/* Name and instance stand first in a section's header. */
static int compare_identity(const void *a, const void *b)
{
    return memcmp(*(const uint8_t *const *)a, *(const uint8_t *const *)b, SECTION_VERSION);
}

static int check_unique(const struct vmstate_reader *reader, struct forkd_error *err)
{
    const uint8_t **headers = calloc((size_t)reader->section_count + 1, sizeof *headers);
    if (headers == NULL)
        return error_set(err, ENOMEM, "decode", "vmstate", NULL);
    size_t offset = HEADER_SIZE;
    struct vmstate_section section;
    for (uint32_t i = 0; i < reader->section_count; i++) {
        headers[i] = reader->data + offset;
        offset = section_at(reader, offset, &section);
    }
    qsort(headers, reader->section_count, sizeof *headers, compare_identity);
    int rc = 0;
    for (uint32_t i = 1; i < reader->section_count && rc == 0; i++) {
        if (compare_identity(&headers[i - 1], &headers[i]) == 0) {
            struct label label =
                label_of((const char *)headers[i], (uint32_t)bytes_load(headers[i] + SECTION_INSTANCE, 4));
            rc = error_set(err, EBADMSG, "decode", label.text, "it is there twice");
        }
    }
    free(headers);
    return rc;
}

int vmstate_reader_init(struct vmstate_reader *reader, const void *data, size_t length,
                        struct forkd_error *err)
{
    const uint8_t *header = data;
    if (length > VMSTATE_MAX_BYTES)
        return bad_header(err, EBADMSG, "the file is larger than any vmstate");
    if (length < HEADER_SIZE)
        return bad_header(err, EBADMSG, "the file ends in it");
    if (memcmp(header, magic, sizeof magic) != 0)
        return bad_header(err, EBADMSG, "this is not a vmstate file");
    /* The checksum's place and meaning stay in all versions, so that damage is not taken for a version. */
    if (bytes_load(header + HEADER_CHECKSUM, 4) != crc32c(0, header, HEADER_CHECKSUM))
        return bad_header(err, EBADMSG, "wrong checksum");
    uint32_t version = (uint32_t)bytes_load(header + HEADER_VERSION, 4);
    if (version != FORMAT_VERSION)
        return error_set(err, ENOTSUP, "decode", "vmstate header", "format version %u; this program knows %u",
                         version, FORMAT_VERSION);
    if (bytes_load(header + HEADER_RESERVED, 4) != 0)
        return bad_header(err, EBADMSG, "a reserved field is not zero");
    uint64_t total = bytes_load(header + HEADER_LENGTH, 8);
    struct vmstate_reader checked = {
        .data = data, .length = length, .section_count = (uint32_t)bytes_load(header + HEADER_COUNT, 4)};
    if (checked.section_count > VMSTATE_MAX_SECTIONS)
        return bad_header(err, EBADMSG, "more sections than any vmstate has");
    size_t offset = HEADER_SIZE;
    /* Sections before the total length: in a file that was cut short, the error is to name what is missing.
     */
    for (uint32_t i = 0; i < checked.section_count; i++) {
        int rc = check_section(&checked, i, &offset, err);
        if (rc < 0)
            return rc;
    }
    if (total != length || offset != length)
        return error_set(err, EBADMSG, "decode", "vmstate header",
                         "it says %llu bytes, its sections take %zu, the file has %zu",
                         (unsigned long long)total, offset, length);
    int rc = check_unique(&checked, err);
    if (rc < 0)
        return rc;
    *reader = checked;
    return 0;
}

bool vmstate_next(const struct vmstate_reader *reader, size_t *cursor, struct vmstate_section *section)
{
    size_t offset = *cursor == 0 ? HEADER_SIZE : *cursor;
    if (offset >= reader->length)
        return false;
    *cursor = section_at(reader, offset, section);
    return true;
}

int vmstate_open(const struct vmstate_reader *reader, const char *name, uint32_t instance,
                 uint32_t newest_version, struct vmstate_section *section, struct forkd_error *err)
{
    struct vmstate_section found;
    size_t cursor = 0;
    struct label label = label_of(name, instance);
    while (vmstate_next(reader, &cursor, &found)) {
        if (found.instance != instance || strcmp(found.name, name) != 0)
            continue;
        if (found.version > newest_version)
            return error_set(err, ENOTSUP, "decode", label.text, "version %u; this program knows up to %u",
                             found.version, newest_version);
        *section = found;
        return 0;
    }
    return error_set(err, ENOENT, "decode", label.text, "it is not in the file");
}

static const uint8_t *take(struct vmstate_section *section, size_t length)
{
    if (section->failed != 0 || length > section->length - section->position) {
        section->failed = -EBADMSG;
        return NULL;
    }
    const uint8_t *at = section->data + section->position;
    section->position += length;
    return at;
}

static uint64_t get_integer(struct vmstate_section *section, size_t width)
{
    const uint8_t *at = take(section, width);
    return at == NULL ? 0 : bytes_load(at, width);
}

uint8_t vmstate_get_u8(struct vmstate_section *section)
{
    return (uint8_t)get_integer(section, 1);
}

uint16_t vmstate_get_u16(struct vmstate_section *section)
{
    return (uint16_t)get_integer(section, 2);
}

uint32_t vmstate_get_u32(struct vmstate_section *section)
{
    return (uint32_t)get_integer(section, 4);
}

uint64_t vmstate_get_u64(struct vmstate_section *section)
{
    return get_integer(section, 8);
}

void vmstate_get_bytes(struct vmstate_section *section, void *out, size_t length)
{
    if (length == 0)
        return;
    const uint8_t *at = take(section, length);
    if (at == NULL)
        memset(out, 0, length);
    else
        memcpy(out, at, length);
}

size_t vmstate_left(const struct vmstate_section *section)
{
    return section->failed != 0 ? 0 : section->length - section->position;
}

void vmstate_reject(struct vmstate_section *section)
{
    section->failed = -EBADMSG;
}

int vmstate_close(struct vmstate_section *section, struct forkd_error *err)
{
    struct label label = label_of(section->name, section->instance);
    if (section->failed != 0)
        return error_set(err, section->failed, "decode", label.text,
                         "too short, or a value is out of range, near byte %zu of %zu", section->position,
                         section->length);
    if (section->position != section->length)
        return error_set(err, EBADMSG, "decode", label.text, "%zu bytes too long",
                         section->length - section->position);
    return 0;
}

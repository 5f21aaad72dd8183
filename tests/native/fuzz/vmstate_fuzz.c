/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a vmstate file. The first byte of the input says whether the checksums are made right before
 * the file is read: without that no input would get past them.
 */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "snapshot/vmstate.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER_SIZE 32u
#define SECTION_HEADER_SIZE 48u

static const uint8_t magic[8] = {'F', 'O', 'R', 'K', 'D', 'V', 'M', 'S'};

static void seal(uint8_t *file, size_t length)
{
    if (length < HEADER_SIZE)
        return;
    memcpy(file, magic, sizeof magic);
    bytes_store(file + 28, crc32c(0, file, 28), 4);
    for (size_t at = HEADER_SIZE; length - at >= SECTION_HEADER_SIZE;) {
        uint8_t *section = file + at;
        uint64_t payload = bytes_load(section + 32, 8);
        at += SECTION_HEADER_SIZE;
        if (payload <= length - at)
            bytes_store(section + 40, crc32c(0, file + at, payload), 4);
        bytes_store(section + 44, crc32c(0, section, 44), 4);
        if (payload > length - at)
            return;
        at += payload;
        at = at + 7 < length ? (at + 7) / 8 * 8 : length;
    }
}

/* Read a section the way devices do: values, a length that counts, bytes of that length. */
static void read_section(struct vmstate_section *section)
{
    uint8_t bytes[64];
    struct forkd_error err;
    uint32_t count = vmstate_get_u32(section);
    while (count-- > 0 && vmstate_left(section) > 0) {
        size_t length = vmstate_get_u8(section) % sizeof bytes;
        vmstate_get_bytes(section, bytes, length);
        vmstate_get_u16(section);
        vmstate_get_u64(section);
    }
    (void)vmstate_close(section, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vmstate_reader reader;
    struct vmstate_section section;
    struct forkd_error err;
    size_t cursor = 0;
    if (size < 1)
        return 0;
    size_t length = size - 1;
    uint8_t *file = malloc(length + (length == 0));
    if (file == NULL)
        return 0;
    memcpy(file, data + 1, length);
    if ((data[0] & 1) != 0)
        seal(file, length);
    if (vmstate_reader_init(&reader, file, length, &err) == 0) {
        while (vmstate_next(&reader, &cursor, &section)) {
            struct vmstate_section found;
            /* What the list has can be opened by name, and is the same. */
            if (vmstate_open(&reader, section.name, section.instance, UINT32_MAX, &found, &err) != 0 ||
                found.data != section.data)
                abort();
            read_section(&section);
        }
        if (cursor != length && reader.section_count > 0)
            abort();
    } else if (err.code >= 0 || err.object[0] == 0) {
        abort();
    }
    free(file);
    return 0;
}

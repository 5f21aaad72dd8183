/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoding of `vmstate`: a header, then sections. Each section has a name, an instance, a version, a
 * length and checksums; fields are fixed-width little-endian. docs/formats.md has the layout byte by byte.
 * The file is hostile input: everything is checked before it is used, and errors name the section.
 */
#ifndef FORKD_SNAPSHOT_VMSTATE_H
#define FORKD_SNAPSHOT_VMSTATE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VMSTATE_NAME_SIZE 24
/* Far above what a machine needs; they bound what a hostile file can cost. */
#define VMSTATE_MAX_SECTIONS 4096u
#define VMSTATE_MAX_BYTES (64u << 20)

/* Writing: into a growing buffer. A failed allocation is remembered and reported by vmstate_writer_finish. */
struct vmstate_writer {
    uint8_t *data;
    size_t length;
    uint64_t capacity;
    size_t section; /* offset of the open section's header; 0: none open */
    uint32_t section_count;
    int failed; /* negative errno of the first failure */
};

void vmstate_writer_init(struct vmstate_writer *writer);
void vmstate_writer_free(struct vmstate_writer *writer);
/* Open a section; `name` is shorter than VMSTATE_NAME_SIZE, (name, instance) unique in the file, `version`
 * from 1. */
void vmstate_begin(struct vmstate_writer *writer, const char *name, uint32_t instance, uint32_t version);
void vmstate_end(struct vmstate_writer *writer);
void vmstate_put_u8(struct vmstate_writer *writer, uint8_t value);
void vmstate_put_u16(struct vmstate_writer *writer, uint16_t value);
void vmstate_put_u32(struct vmstate_writer *writer, uint32_t value);
void vmstate_put_u64(struct vmstate_writer *writer, uint64_t value);
void vmstate_put_bytes(struct vmstate_writer *writer, const void *data, size_t length);
/* Complete the header. The bytes stay in writer->data[0 .. writer->length). */
int vmstate_writer_finish(struct vmstate_writer *writer, struct forkd_error *err);

/* Reading: over a buffer that the caller keeps. */
struct vmstate_reader {
    const uint8_t *data;
    size_t length;
    uint32_t section_count;
};

/* One section's payload and how far it was read. After the first short read every get returns zero. */
struct vmstate_section {
    char name[VMSTATE_NAME_SIZE];
    uint32_t instance;
    uint32_t version;
    const uint8_t *data;
    size_t length;
    size_t position;
    int failed; /* -EBADMSG once something did not fit */
};

/* Check header, every section's header and every checksum. -EBADMSG (damaged, cut short) or -ENOTSUP
 * (format). */
int vmstate_reader_init(struct vmstate_reader *reader, const void *data, size_t length,
                        struct forkd_error *err);
/*
 * Find a section and open it. -ENOENT when it is not there (*err says which), -ENOTSUP when its version is
 * above newest_version.
 */
int vmstate_open(const struct vmstate_reader *reader, const char *name, uint32_t instance,
                 uint32_t newest_version, struct vmstate_section *section, struct forkd_error *err);
/*
 * Go through all sections: start with *cursor = 0; true while there is one, which is then open at its start.
 * For the owner of the machine, who refuses sections that nobody knows.
 */
bool vmstate_next(const struct vmstate_reader *reader, size_t *cursor, struct vmstate_section *section);
uint8_t vmstate_get_u8(struct vmstate_section *section);
uint16_t vmstate_get_u16(struct vmstate_section *section);
uint32_t vmstate_get_u32(struct vmstate_section *section);
uint64_t vmstate_get_u64(struct vmstate_section *section);
void vmstate_get_bytes(struct vmstate_section *section, void *out, size_t length);
size_t vmstate_left(const struct vmstate_section *section);
/* Mark the section as wrong for a reason found by its owner (a value out of range). */
void vmstate_reject(struct vmstate_section *section);
/* 0 when everything was read and nothing was rejected; -EBADMSG naming the section otherwise. */
int vmstate_close(struct vmstate_section *section, struct forkd_error *err);

#endif

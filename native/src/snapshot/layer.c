/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/layer.h"

#include "base/array.h"
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/io.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* docs/formats.md, "Layers". */
#define FORMAT_VERSION 1u
#define HEADER_SIZE LAYER_PAGE_SIZE
#define HEADER_VERSION 8u
#define HEADER_PAGE_SIZE 12u
#define HEADER_WHOLE 16u
#define HEADER_EXTENTS 24u
#define HEADER_TABLE 32u
#define HEADER_LENGTH 40u
#define HEADER_TABLE_CHECKSUM 48u
#define HEADER_RESERVED 52u
#define HEADER_CHECKSUM (HEADER_SIZE - 4u)

#define ENTRY_SIZE 24u
#define ENTRY_FIRST 0u
#define ENTRY_FILE_PAGE 8u
#define ENTRY_COUNT 16u
#define ENTRY_CHECKSUM 20u

/* A table of this many entries takes 1.6 GB; it covers 256 GiB of pages of which no two are neighbours. */
#define MAX_EXTENTS (1ull << 26)
/* So that neither a byte offset nor a page count can overflow. */
#define MAX_WHOLE ((uint64_t)INT64_MAX - LAYER_PAGE_SIZE)
#define ZERO UINT64_MAX

#define SOURCE_PAGES 256u
#define BUFFER_PAGES 1024u
#define TABLE_CHUNK 4096u /* entries */

static const char magic[8] = {'F', 'O', 'R', 'K', 'D', 'L', 'Y', 'R'};

static uint64_t pages_of(uint64_t size)
{
    return size / LAYER_PAGE_SIZE + (size % LAYER_PAGE_SIZE != 0);
}

/* Writing. */

struct entry {
    uint64_t first;
    uint64_t file_page;
    uint32_t count;
    uint32_t checksum; /* of the data; 0 when there is none */
};

struct writer {
    int fd;
    const char *name;
    uint8_t *buffer;  /* BUFFER_PAGES pages, of which `pending` wait to be written */
    uint64_t pending; /* pages */
    uint64_t written; /* pages of the file that are written, with the header's */
    struct entry *entries;
    uint64_t entry_count;
    uint64_t entry_capacity;
};

static int flush(struct writer *writer, struct forkd_error *err)
{
    int rc = io_pwrite(writer->fd, writer->buffer, writer->pending * LAYER_PAGE_SIZE,
                       writer->written * LAYER_PAGE_SIZE);
    if (rc < 0)
        return error_set(err, rc, "write", writer->name, "layer data");
    writer->written += writer->pending;
    writer->pending = 0;
    return 0;
}

/* Note one page; it joins the last entry where it can. `data` is NULL for a zero page. */
static int note_page(struct writer *writer, uint64_t page, const uint8_t *data, struct forkd_error *err)
{
    uint64_t file_page = data == NULL ? ZERO : writer->written + writer->pending;
    struct entry *last = writer->entry_count == 0 ? NULL : &writer->entries[writer->entry_count - 1];
    bool joins = last != NULL && last->first + last->count == page && last->count < UINT32_MAX &&
                 (last->file_page == ZERO) == (data == NULL);
    if (!joins) {
        if (writer->entry_count == MAX_EXTENTS)
            return error_set(err, EFBIG, "write", writer->name, "more than %llu extents", MAX_EXTENTS);
        struct entry *entries =
            array_room(writer->entries, writer->entry_count + 1, &writer->entry_capacity, sizeof *entries);
        if (entries == NULL)
            return error_set(err, ENOMEM, "write", writer->name, "extent table");
        writer->entries = entries;
        last = &writer->entries[writer->entry_count++];
        *last = (struct entry){.first = page, .file_page = file_page};
    }
    last->count++;
    if (data != NULL)
        last->checksum = crc32c(last->checksum, data, LAYER_PAGE_SIZE);
    return 0;
}

/* Read up to SOURCE_PAGES pages behind the pending ones, and close the gaps that zero pages leave. */
static int take_pages(struct writer *writer, uint64_t first, uint64_t pages, layer_source source,
                      void *context, struct forkd_error *err)
{
    if (BUFFER_PAGES - writer->pending < SOURCE_PAGES) {
        int rc = flush(writer, err);
        if (rc < 0)
            return rc;
    }
    uint8_t *fresh = writer->buffer + writer->pending * LAYER_PAGE_SIZE;
    int rc = source(context, first, pages, fresh, err);
    for (uint64_t i = 0; i < pages && rc == 0; i++) {
        const uint8_t *page = fresh + i * LAYER_PAGE_SIZE;
        if (io_is_zero(page, LAYER_PAGE_SIZE)) {
            rc = note_page(writer, first + i, NULL, err);
            continue;
        }
        uint8_t *place = writer->buffer + writer->pending * LAYER_PAGE_SIZE;
        if (place != page)
            memcpy(place, page, LAYER_PAGE_SIZE);
        rc = note_page(writer, first + i, place, err);
        writer->pending++;
    }
    return rc;
}

static int write_table(struct writer *writer, uint32_t *checksum, struct forkd_error *err)
{
    uint64_t offset = writer->written * LAYER_PAGE_SIZE;
    *checksum = 0;
    for (uint64_t i = 0; i < writer->entry_count;) {
        /* The data has gone out: its buffer serves the table. */
        size_t length = 0;
        for (uint32_t j = 0; j < TABLE_CHUNK && i < writer->entry_count; i++, j++, length += ENTRY_SIZE) {
            const struct entry *entry = &writer->entries[i];
            uint8_t *at = writer->buffer + length;
            bytes_store(at + ENTRY_FIRST, entry->first, 8);
            bytes_store(at + ENTRY_FILE_PAGE, entry->file_page, 8);
            bytes_store(at + ENTRY_COUNT, entry->count, 4);
            bytes_store(at + ENTRY_CHECKSUM, entry->checksum, 4);
        }
        *checksum = crc32c(*checksum, writer->buffer, length);
        int rc = io_pwrite(writer->fd, writer->buffer, length, offset);
        if (rc < 0)
            return error_set(err, rc, "write", writer->name, "extent table");
        offset += length;
    }
    return 0;
}

static int write_header(struct writer *writer, uint64_t size, uint32_t table_checksum,
                        struct forkd_error *err)
{
    uint8_t *header = writer->buffer;
    uint64_t table = writer->written * LAYER_PAGE_SIZE;
    memset(header, 0, HEADER_SIZE);
    memcpy(header, magic, sizeof magic);
    bytes_store(header + HEADER_VERSION, FORMAT_VERSION, 4);
    bytes_store(header + HEADER_PAGE_SIZE, LAYER_PAGE_SIZE, 4);
    bytes_store(header + HEADER_WHOLE, size, 8);
    bytes_store(header + HEADER_EXTENTS, writer->entry_count, 8);
    bytes_store(header + HEADER_TABLE, table, 8);
    bytes_store(header + HEADER_LENGTH, table + writer->entry_count * ENTRY_SIZE, 8);
    bytes_store(header + HEADER_TABLE_CHECKSUM, table_checksum, 4);
    bytes_store(header + HEADER_CHECKSUM, crc32c(0, header, HEADER_CHECKSUM), 4);
    int rc = io_pwrite(writer->fd, header, HEADER_SIZE, 0);
    return rc < 0 ? error_set(err, rc, "write", writer->name, "layer header") : 0;
}

/* The caller's ranges: sorted, not overlapping, within the whole. */
static int check_ranges(const char *name, uint64_t size, const struct layer_extent *extents,
                        uint64_t extent_count, struct forkd_error *err)
{
    uint64_t end = 0;
    uint64_t pages = pages_of(size);
    if (size > MAX_WHOLE)
        return error_set(err, EINVAL, "write", name, "a layer cannot be over %llu bytes",
                         (unsigned long long)size);
    for (uint64_t i = 0; i < extent_count; i++) {
        if (extents[i].first < end || extents[i].first > pages || extents[i].count == 0 ||
            extents[i].count > pages - extents[i].first)
            return error_set(err, EINVAL, "write", name, "extent %llu is out of order or out of range",
                             (unsigned long long)i);
        end = extents[i].first + extents[i].count;
    }
    return 0;
}

int layer_write(int fd, const char *name, uint64_t size, const struct layer_extent *extents,
                uint64_t extent_count, layer_source source, void *context, struct forkd_error *err)
{
    int rc = check_ranges(name, size, extents, extent_count, err);
    if (rc < 0)
        return rc;
    struct writer writer = {.fd = fd, .name = name, .written = HEADER_SIZE / LAYER_PAGE_SIZE};
    writer.buffer = malloc((size_t)BUFFER_PAGES * LAYER_PAGE_SIZE);
    if (writer.buffer == NULL)
        return error_set(err, ENOMEM, "write", name, NULL);
    for (uint64_t i = 0; i < extent_count && rc == 0; i++) {
        for (uint64_t done = 0; done < extents[i].count && rc == 0;) {
            uint64_t left = extents[i].count - done;
            uint64_t pages = left < SOURCE_PAGES ? left : SOURCE_PAGES;
            rc = take_pages(&writer, extents[i].first + done, pages, source, context, err);
            done += pages;
        }
    }
    uint32_t table_checksum = 0;
    if (rc == 0)
        rc = flush(&writer, err);
    if (rc == 0)
        rc = write_table(&writer, &table_checksum, err);
    /* Last, so that a layer whose writing was cut short is none. */
    if (rc == 0)
        rc = write_header(&writer, size, table_checksum, err);
    free(writer.entries);
    free(writer.buffer);
    return rc;
}

/* Reading. */

struct header {
    uint64_t whole;
    uint64_t extent_count;
    uint64_t table;
    uint32_t table_checksum;
};

static int damaged(struct forkd_error *err, const char *name, const char *reason)
{
    return error_set(err, EBADMSG, "read layer", name, "%s", reason);
}

static int parse_header(const uint8_t *bytes, uint64_t file_size, const char *name, struct header *out,
                        struct forkd_error *err)
{
    if (memcmp(bytes, magic, sizeof magic) != 0)
        return damaged(err, name, "this is not a layer file, or it was not completed");
    /* The checksum's place and meaning stay in all versions, so that damage is not taken for a version. */
    if (bytes_load(bytes + HEADER_CHECKSUM, 4) != crc32c(0, bytes, HEADER_CHECKSUM))
        return damaged(err, name, "wrong checksum of the header");
    uint32_t version = (uint32_t)bytes_load(bytes + HEADER_VERSION, 4);
    if (version != FORMAT_VERSION)
        return error_set(err, ENOTSUP, "read layer", name, "format version %u; this program knows %u",
                         version, FORMAT_VERSION);
    if (bytes_load(bytes + HEADER_PAGE_SIZE, 4) != LAYER_PAGE_SIZE)
        return error_set(err, ENOTSUP, "read layer", name, "pages that are not of %u bytes", LAYER_PAGE_SIZE);
    if (!io_is_zero(bytes + HEADER_RESERVED, HEADER_CHECKSUM - HEADER_RESERVED))
        return damaged(err, name, "a reserved field is not zero");
    out->whole = bytes_load(bytes + HEADER_WHOLE, 8);
    out->extent_count = bytes_load(bytes + HEADER_EXTENTS, 8);
    out->table = bytes_load(bytes + HEADER_TABLE, 8);
    out->table_checksum = (uint32_t)bytes_load(bytes + HEADER_TABLE_CHECKSUM, 4);
    uint64_t length = bytes_load(bytes + HEADER_LENGTH, 8);
    if (length != file_size)
        return error_set(err, EBADMSG, "read layer", name, "%llu bytes, of which the file has %llu",
                         (unsigned long long)length, (unsigned long long)file_size);
    if (out->whole > MAX_WHOLE || out->extent_count > MAX_EXTENTS || out->table > length ||
        out->table < HEADER_SIZE || out->table % LAYER_PAGE_SIZE != 0 ||
        length - out->table != out->extent_count * ENTRY_SIZE)
        return damaged(err, name, "sizes in the header contradict each other");
    return 0;
}

/* What one walk over the table does with each entry. */
typedef int (*entry_visitor)(void *context, uint64_t index, const struct entry *entry,
                             struct forkd_error *err);

/* Where the walk is: what the next entry has to fit to. */
struct walk {
    uint64_t end;       /* first page after the last extent */
    uint64_t pages;     /* of the whole */
    uint64_t file_page; /* where the next data has to be */
    uint64_t file_end;  /* first page after all data */
};

static bool entry_fits(struct walk *walk, const struct entry *entry)
{
    if (entry->count == 0 || entry->first < walk->end || entry->first > walk->pages ||
        entry->count > walk->pages - entry->first)
        return false;
    walk->end = entry->first + entry->count;
    if (entry->file_page == ZERO)
        return entry->checksum == 0;
    /* Data stands in the order of the table, without gaps: nothing in the file is unaccounted for. */
    if (entry->file_page != walk->file_page || entry->count > walk->file_end - walk->file_page)
        return false;
    walk->file_page += entry->count;
    return true;
}

/*
 * Read header and table, checking all of both, and hand each entry to the visitor as it comes: the memory
 * that is used grows with entries that are valid, not with what a header claims. An entry may be visited and
 * the table's checksum found wrong afterwards.
 */
static int walk_table(int fd, const char *name, struct header *header, entry_visitor visit, void *context,
                      struct forkd_error *err)
{
    uint64_t file_size = 0;
    int rc = io_size(fd, &file_size);
    if (rc < 0)
        return error_set(err, rc, "read layer", name, "no regular file");
    if (file_size < HEADER_SIZE)
        return damaged(err, name, "the file ends in the header");
    size_t chunk = (size_t)TABLE_CHUNK * ENTRY_SIZE;
    uint8_t *buffer = malloc(chunk);
    if (buffer == NULL)
        return error_set(err, ENOMEM, "read layer", name, NULL);
    rc = io_pread(fd, buffer, HEADER_SIZE, 0);
    if (rc < 0)
        rc = error_set(err, rc, "read layer", name, "header");
    else
        rc = parse_header(buffer, file_size, name, header, err);
    struct walk walk = {.pages = rc == 0 ? pages_of(header->whole) : 0,
                        .file_page = HEADER_SIZE / LAYER_PAGE_SIZE,
                        .file_end = rc == 0 ? header->table / LAYER_PAGE_SIZE : 0};
    uint32_t checksum = 0;
    for (uint64_t index = 0; rc == 0 && index < header->extent_count;) {
        uint64_t left = (header->extent_count - index) * ENTRY_SIZE;
        size_t length = left < chunk ? (size_t)left : chunk;
        rc = io_pread(fd, buffer, length, header->table + index * ENTRY_SIZE);
        if (rc < 0)
            rc = error_set(err, rc, "read layer", name, "extent table");
        checksum = rc < 0 ? 0 : crc32c(checksum, buffer, length);
        for (size_t at = 0; rc == 0 && at < length; at += ENTRY_SIZE, index++) {
            struct entry entry = {.first = bytes_load(buffer + at + ENTRY_FIRST, 8),
                                  .file_page = bytes_load(buffer + at + ENTRY_FILE_PAGE, 8),
                                  .count = (uint32_t)bytes_load(buffer + at + ENTRY_COUNT, 4),
                                  .checksum = (uint32_t)bytes_load(buffer + at + ENTRY_CHECKSUM, 4)};
            if (!entry_fits(&walk, &entry))
                rc = error_set(err, EBADMSG, "read layer", name, "extent %llu of the table is not valid",
                               (unsigned long long)index);
            else
                rc = visit(context, index, &entry, err);
        }
    }
    if (rc == 0 && checksum != header->table_checksum)
        rc = damaged(err, name, "wrong checksum of the extent table");
    if (rc == 0 && walk.file_page != walk.file_end)
        rc = damaged(err, name, "data that no extent names");
    free(buffer);
    return rc;
}

struct collector {
    const char *name;
    struct layer *layer;
    uint64_t capacity;
};

static int collect(void *context, uint64_t index, const struct entry *entry, struct forkd_error *err)
{
    (void)index;
    struct collector *collector = context;
    struct layer *layer = collector->layer;
    struct layer_extent *last = layer->extent_count == 0 ? NULL : &layer->extents[layer->extent_count - 1];
    if (last != NULL && last->first + last->count == entry->first &&
        (entry->file_page == ZERO
             ? last->file_page == ZERO
             : last->file_page != ZERO && last->file_page + last->count == entry->file_page)) {
        last->count += entry->count;
        return 0;
    }
    struct layer_extent *extents =
        array_room(layer->extents, layer->extent_count + 1, &collector->capacity, sizeof *extents);
    if (extents == NULL)
        return error_set(err, ENOMEM, "read layer", collector->name, "extent table");
    layer->extents = extents;
    layer->extents[layer->extent_count++] =
        (struct layer_extent){.first = entry->first, .count = entry->count, .file_page = entry->file_page};
    return 0;
}

int layer_open(int fd, const char *name, struct layer *out, struct forkd_error *err)
{
    struct layer layer = {0};
    struct header header = {0};
    struct collector collector = {.name = name, .layer = &layer};
    int rc = walk_table(fd, name, &header, collect, &collector, err);
    if (rc < 0) {
        layer_free(&layer);
        return rc;
    }
    layer.size = header.whole;
    *out = layer;
    return 0;
}

void layer_free(struct layer *layer)
{
    free(layer->extents);
    memset(layer, 0, sizeof *layer);
}

struct verifier {
    int fd;
    const char *name;
    uint8_t *buffer;
};

static int verify_entry(void *context, uint64_t index, const struct entry *entry, struct forkd_error *err)
{
    const struct verifier *verifier = context;
    uint32_t checksum = 0;
    if (entry->file_page == ZERO)
        return 0;
    for (uint64_t done = 0; done < entry->count;) {
        uint64_t left = entry->count - done;
        uint64_t pages = left < BUFFER_PAGES ? left : BUFFER_PAGES;
        int rc = io_pread(verifier->fd, verifier->buffer, pages * LAYER_PAGE_SIZE,
                          (entry->file_page + done) * LAYER_PAGE_SIZE);
        if (rc < 0)
            return error_set(err, rc, "read layer", verifier->name, "data of extent %llu",
                             (unsigned long long)index);
        checksum = crc32c(checksum, verifier->buffer, pages * LAYER_PAGE_SIZE);
        done += pages;
    }
    if (checksum != entry->checksum)
        return error_set(err, EBADMSG, "read layer", verifier->name,
                         "wrong checksum of extent %llu (pages %llu to %llu)", (unsigned long long)index,
                         (unsigned long long)entry->first,
                         (unsigned long long)(entry->first + entry->count - 1));
    return 0;
}

int layer_verify_data(int fd, const char *name, uint64_t size, struct forkd_error *err)
{
    struct header header = {0};
    struct verifier verifier = {.fd = fd, .name = name};
    verifier.buffer = malloc((size_t)BUFFER_PAGES * LAYER_PAGE_SIZE);
    if (verifier.buffer == NULL)
        return error_set(err, ENOMEM, "read layer", name, NULL);
    /* The checksums are in the file only: who has the layer open does not need them in memory. */
    int rc = walk_table(fd, name, &header, verify_entry, &verifier, err);
    free(verifier.buffer);
    if (rc == 0 && header.whole != size)
        return damaged(err, name, "the file was replaced");
    return rc;
}

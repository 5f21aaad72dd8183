/* SPDX-License-Identifier: Apache-2.0 */
#include "mkfs/build.h"

#include "mkfs/fail.h"
#include "mkfs/stream.h"
#include "mkfs/volume.h"

#include <string.h>
#include <sys/stat.h>

#define MAGIC "FORKDFS1"

/* More files than any image has. What is kept for each index must not outgrow memory, or wrap around. */
#define INDEX_MAX (1u << 24)

/* What ext4 can hold in an inode of 256 bytes: 1901-12-13 to 2446-05-10. */
#define TIME_MIN (-(INT64_C(1) << 31))
#define TIME_MAX ((INT64_C(3) << 32) + INT32_MAX)
#define NSEC_PER_SEC 1000000000u

static char text[STREAM_TEXT_MAX + 1];

static struct volume *begin(const char *path)
{
    char magic[sizeof MAGIC - 1];
    struct volume_options options = {0};
    stream_bytes(magic, sizeof magic);
    if (memcmp(magic, MAGIC, sizeof magic) != 0)
        fail("not a description of a file system");
    options.bytes = stream_u64();
    options.bytes_per_inode = stream_u32();
    options.time = stream_u32();
    stream_bytes(options.uuid, sizeof options.uuid);
    stream_bytes(options.hash_seed, sizeof options.hash_seed);
    stream_bytes(options.label, sizeof options.label - 1);
    if (options.bytes_per_inode == 0)
        fail("bytes per inode: 0");
    return volume_create(path, &options);
}

static uint32_t read_index(void)
{
    uint32_t index = stream_u32();
    if (index > INDEX_MAX)
        fail("inode %u: there are at most %u", index, INDEX_MAX);
    return index;
}

/* One of a directory: a path could lead anywhere. */
static void require_name(uint32_t index, const char *name, size_t length)
{
    if (length == 0 || strlen(name) != length || strchr(name, '/') || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        fail_inode(index, "its name is none that a file can have");
}

static void read_directory(struct volume *v, const struct volume_inode *inode)
{
    volume_begin_directory(v, inode->index, read_index());
    for (uint32_t count = stream_u32(); count > 0; count--) {
        uint32_t index = read_index();
        uint32_t mode = stream_u32();
        size_t length = stream_text(text);
        require_name(index, text, length);
        volume_add_entry(v, index, mode, text, length);
    }
    volume_end_directory(v, inode);
}

static void read_xattrs(struct volume *v, uint32_t index)
{
    static char value[STREAM_TEXT_MAX + 1];
    uint32_t count = stream_u32();
    if (count == 0)
        return;
    volume_xattrs_begin(v, index);
    for (; count > 0; count--) {
        stream_text(text);
        size_t length = stream_text(value);
        volume_xattr(v, text, value, length);
    }
    volume_xattrs_end(v);
}

/* Archives are known with times of the year 1, and of 5138: such a file gets the nearest time that it can
 * have. */
static void read_time(struct volume_inode *inode)
{
    inode->mtime = (int64_t)stream_u64();
    inode->mtime_nsec = stream_u32();
    if (inode->mtime_nsec >= NSEC_PER_SEC)
        fail_inode(inode->index, "its time has %u nanoseconds", inode->mtime_nsec);
    if (inode->mtime < TIME_MIN || inode->mtime > TIME_MAX) {
        inode->mtime = inode->mtime < TIME_MIN ? TIME_MIN : TIME_MAX;
        inode->mtime_nsec = 0;
    }
}

static void read_inode(struct volume *v)
{
    struct volume_inode inode;
    inode.index = read_index();
    inode.mode = stream_u32();
    inode.uid = stream_u32();
    inode.gid = stream_u32();
    read_time(&inode);
    inode.links = stream_u32();
    if (!S_ISDIR(inode.mode) && inode.links > VOLUME_LINKS_MAX)
        fail_inode(inode.index, "it has %u names, and ext4 takes %u of one file", inode.links,
                   VOLUME_LINKS_MAX);
    if (S_ISDIR(inode.mode)) {
        read_directory(v, &inode);
    } else if (S_ISREG(inode.mode)) {
        volume_file(v, &inode, stream_u32());
    } else if (S_ISLNK(inode.mode)) {
        size_t length = stream_text(text);
        volume_symlink(v, &inode, text, length);
    } else {
        uint32_t major = stream_u32();
        volume_special(v, &inode, major, stream_u32());
    }
    read_xattrs(v, inode.index);
}

void build(const char *path, struct build_result *out)
{
    struct volume *v = begin(path);
    for (;;) {
        uint8_t kind = stream_u8();
        switch (kind) {
        case 'B':
            volume_add_blob(v, stream_u64());
            break;
        case 'D':
            volume_drop_blob(v, stream_u32());
            break;
        case 'I':
            read_inode(v);
            break;
        case 'E':
            out->complete = volume_finish(v, stream_u8() != 0, &out->used, &out->needed);
            return;
        default:
            fail("unknown record %u", kind);
        }
    }
}

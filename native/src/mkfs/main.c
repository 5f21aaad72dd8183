/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forkd-mkfs FILE: makes FILE, an ext4 file system, of the description on standard input. Needs no
 * privileges: nothing is mounted. docs/images.md tells what comes in and what is answered.
 */
#include "mkfs/fail.h"
#include "mkfs/stream.h"
#include "mkfs/volume.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "FORKDFS1"
#define PIPE_BYTES (1 << 20)

_Noreturn static void answer(const char *kind, const char *format, va_list arguments)
{
    printf("%s ", kind);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    _exit(1);
}

void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    answer("error", format, arguments);
}

void fail_inode(uint32_t index, const char *format, ...)
{
    char kind[32];
    snprintf(kind, sizeof kind, "inode %u", index);
    va_list arguments;
    va_start(arguments, format);
    answer(kind, format, arguments);
}

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

static void read_directory(struct volume *v, const struct volume_inode *inode)
{
    volume_begin_directory(v, inode->index, stream_u32());
    for (uint32_t count = stream_u32(); count > 0; count--) {
        uint32_t index = stream_u32();
        uint32_t mode = stream_u32();
        size_t length = stream_text(text);
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

static void read_inode(struct volume *v)
{
    struct volume_inode inode;
    inode.index = stream_u32();
    inode.mode = stream_u32();
    inode.uid = stream_u32();
    inode.gid = stream_u32();
    inode.mtime = (int64_t)stream_u64();
    inode.mtime_nsec = stream_u32();
    inode.links = stream_u32();
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

static int finish(struct volume *v)
{
    bool sync = stream_u8() != 0;
    uint64_t used;
    uint64_t needed;
    bool complete = volume_finish(v, sync, &used, &needed);
    if (complete)
        printf("ok %llu\n", (unsigned long long)used);
    else
        printf("full %llu\n", (unsigned long long)needed);
    return complete ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: forkd-mkfs FILE < DESCRIPTION\n");
        return 2;
    }
    fcntl(STDIN_FILENO, F_SETPIPE_SZ, PIPE_BYTES);
    struct volume *v = begin(argv[1]);
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
            return finish(v);
        default:
            fail("unknown record %u", kind);
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "mkfs/volume.h"

#include "base/io.h"
#include "mkfs/fail.h"
#include "mkfs/stream.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096u
#define CHUNK_BLOCKS 256u
#define WRITEBACK_BLOCKS 4096u
#define EXTENT_BLOCKS 32768u /* the most that ext4 lets one extent have */
#define INODE_SIZE 256u
#define INLINE_EXTENTS 4u
#define FAST_SYMLINK 60u
#define FIRST_INODE EXT2_GOOD_OLD_FIRST_INO

struct extent {
    uint64_t physical;
    uint32_t logical;
    uint32_t blocks;
};

struct blob {
    struct extent *extents;
    uint32_t count;
    uint32_t room;
    uint64_t size;
    uint64_t blocks; /* that are not holes */
};

struct volume {
    ext2_filsys fs;
    int fd;
    uint32_t bytes_per_inode;
    blk64_t cursor;

    struct blob *blobs;
    uint32_t blob_count;
    uint32_t blob_room;

    uint64_t unsynced; /* blocks written since the disk was last asked to begin */

    bool full;
    uint64_t base;   /* blocks that the empty file system takes */
    uint64_t live;   /* blocks beyond those */
    uint64_t inodes; /* seen */

    uint8_t *chunk; /* CHUNK_BLOCKS */

    struct blob directory;
    uint32_t directory_index;
    uint8_t *block; /* of the directory, being filled */
    size_t at;      /* where the next entry goes */
    size_t last;    /* where the last entry is */

    struct ext2_xattr_handle *xattrs;
    uint32_t xattrs_index;
};

static void must(errcode_t status, const char *what)
{
    if (status)
        fail("%s: %s", what, error_message(status));
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

static ext2_ino_t number(uint32_t index)
{
    return index == 0 ? EXT2_ROOT_INO : FIRST_INODE + index - 1;
}

/* Making it. */

static void set_features(struct ext2_super_block *super)
{
    ext2fs_set_feature_xattr(super);
    ext2fs_set_feature_resize_inode(super);
    ext2fs_set_feature_dir_index(super);
    ext2fs_set_feature_filetype(super);
    ext2fs_set_feature_sparse_super(super);
    ext2fs_set_feature_large_file(super);
    ext2fs_set_feature_huge_file(super);
    ext2fs_set_feature_dir_nlink(super);
    ext2fs_set_feature_extra_isize(super);
    ext2fs_set_feature_metadata_csum(super);
    ext2fs_set_feature_extents(super);
    ext2fs_set_feature_flex_bg(super);
    ext2fs_set_feature_64bit(super);
}

static void set_identity(ext2_filsys fs, const struct volume_options *options)
{
    struct ext2_super_block *super = fs->super;
    fs->now = options->time;
    super->s_mkfs_time = options->time;
    super->s_lastcheck = options->time;
    super->s_wtime = options->time;
    super->s_checkinterval = 0;
    super->s_max_mnt_count = -1;
    super->s_min_extra_isize = super->s_want_extra_isize = sizeof(struct ext2_inode_large) - 128;
    super->s_default_mount_opts = EXT2_DEFM_XATTR_USER | EXT2_DEFM_ACL;
    super->s_def_hash_version = EXT2_HASH_HALF_MD4;
    super->s_flags |= EXT2_FLAGS_SIGNED_HASH;
    super->s_checksum_type = EXT2_CRC32C_CHKSUM;
    memcpy(super->s_uuid, options->uuid, sizeof super->s_uuid);
    memcpy(super->s_hash_seed, options->hash_seed, sizeof options->hash_seed);
    memcpy(super->s_volume_name, options->label, sizeof super->s_volume_name);
    ext2fs_init_csum_seed(fs);
}

static void reserve_inodes(ext2_filsys fs)
{
    for (ext2_ino_t i = EXT2_ROOT_INO; i < FIRST_INODE; i++)
        ext2fs_inode_alloc_stats2(fs, i, +1, i == EXT2_ROOT_INO);
    /* The list of bad blocks is never allocated explicitly, and always there. */
    ext2fs_inode_alloc_stats2(fs, EXT2_BAD_INO, +1, 0);
    must(ext2fs_update_bb_inode(fs, NULL), "cannot write the list of bad blocks");
}

static void add_journal(ext2_filsys fs)
{
    int blocks = ext2fs_default_journal_size(ext2fs_blocks_count(fs->super));
    if (blocks < 0)
        return;
    struct ext2fs_journal_params journal = {.num_journal_blocks = (blk_t)blocks};
    ext2fs_set_feature_journal(fs->super);
    /* The blocks need not be written: the file is sparse, so they are zero. */
    must(
        ext2fs_add_journal_inode3(fs, &journal, ~0ull, EXT2_MKJOURNAL_NO_MNT_CHECK | EXT2_MKJOURNAL_LAZYINIT),
        "cannot make the journal");
}

struct volume *volume_create(const char *path, const struct volume_options *options)
{
    struct volume *v = allocate(1, sizeof *v);
    v->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (v->fd < 0 || ftruncate(v->fd, (off_t)options->bytes) < 0)
        fail("cannot make %s: %s", path, strerror(errno));

    struct ext2_super_block wanted = {0};
    wanted.s_rev_level = EXT2_DYNAMIC_REV;
    wanted.s_log_block_size = wanted.s_log_cluster_size = 2;
    wanted.s_inode_size = INODE_SIZE;
    wanted.s_desc_size = EXT2_MIN_DESC_SIZE_64BIT;
    wanted.s_log_groups_per_flex = 4;
    uint64_t inodes = options->bytes / options->bytes_per_inode;
    wanted.s_inodes_count = inodes > UINT32_MAX ? UINT32_MAX : (uint32_t)inodes;
    ext2fs_blocks_count_set(&wanted, options->bytes / BLOCK);
    set_features(&wanted);

    must(ext2fs_initialize(path, EXT2_FLAG_64BITS, &wanted, unix_io_manager, &v->fs),
         "cannot lay out the file system");
    set_identity(v->fs, options);
    must(ext2fs_allocate_tables(v->fs), "cannot lay out the file system");
    /* The inode tables are zero as they are; a kernel need not write zeroes to them after the mount. */
    for (dgrp_t group = 0; group < v->fs->group_desc_count; group++) {
        ext2fs_bg_flags_set(v->fs, group, EXT2_BG_INODE_ZEROED);
        ext2fs_group_desc_csum_set(v->fs, group);
    }
    reserve_inodes(v->fs);
    must(ext2fs_create_resize_inode(v->fs), "cannot reserve room to grow");
    add_journal(v->fs);

    v->bytes_per_inode = options->bytes_per_inode;
    v->cursor = v->fs->super->s_first_data_block;
    v->base = ext2fs_blocks_count(v->fs->super) - ext2fs_free_blocks_count(v->fs->super);
    v->chunk = allocate(CHUNK_BLOCKS, BLOCK);
    v->block = allocate(1, BLOCK);
    return v;
}

/* Contents. */

/* Takes up to `want` blocks that lie together; 0 when there are none at all. */
static uint32_t take(struct volume *v, uint32_t want, blk64_t *start)
{
    blk64_t end = ext2fs_blocks_count(v->fs->super) - 1;
    ext2fs_block_bitmap map = v->fs->block_map;
    if (v->cursor > end || ext2fs_find_first_zero_block_bitmap2(map, v->cursor, end, start)) {
        v->cursor = v->fs->super->s_first_data_block;
        if (ext2fs_find_first_zero_block_bitmap2(map, v->cursor, end, start))
            return 0;
    }
    blk64_t most = *start + want - 1 > end ? end : *start + want - 1;
    blk64_t taken;
    uint32_t got = ext2fs_find_first_set_block_bitmap2(map, *start, most, &taken) == 0
                       ? (uint32_t)(taken - *start)
                       : (uint32_t)(most - *start + 1);
    ext2fs_block_alloc_stats_range(v->fs, *start, got, +1);
    v->cursor = *start + got;
    return got;
}

static void extend(struct blob *blob, uint32_t logical, blk64_t physical, uint32_t blocks)
{
    struct extent *last = blob->count ? &blob->extents[blob->count - 1] : NULL;
    if (last && last->physical + last->blocks == physical && last->logical + last->blocks == logical &&
        last->blocks + blocks <= EXTENT_BLOCKS) {
        last->blocks += blocks;
        return;
    }
    if (blob->count == blob->room) {
        uint32_t room = blob->room ? 2 * blob->room : 1;
        struct extent *more = realloc(blob->extents, room * sizeof *more);
        if (!more)
            fail("out of memory");
        blob->extents = more;
        blob->room = room;
    }
    blob->extents[blob->count++] = (struct extent){physical, logical, blocks};
}

/* Lets the disk work while layers are still being unpacked, so that the sync at the end finds little left. */
static void begin_writeback(struct volume *v, uint32_t blocks)
{
    v->unsynced += blocks;
    if (v->unsynced < WRITEBACK_BLOCKS)
        return;
    v->unsynced = 0;
    /* Only asks; what cannot be written is reported by the sync. */
    (void)sync_file_range(v->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

/* Writes blocks that are not zero to wherever there is room. */
static void put(struct volume *v, struct blob *blob, uint32_t logical, const uint8_t *data, uint32_t blocks)
{
    v->live += blocks;
    blob->blocks += blocks;
    while (blocks > 0 && !v->full) {
        blk64_t start;
        uint32_t got = take(v, blocks, &start);
        if (got == 0) {
            v->full = true;
            return;
        }
        int status = io_pwrite(v->fd, data, (size_t)got * BLOCK, start * BLOCK);
        if (status < 0)
            fail("cannot write the image: %s", strerror(-status));
        begin_writeback(v, got);
        extend(blob, logical, start, got);
        logical += got;
        data += (size_t)got * BLOCK;
        blocks -= got;
    }
}

static void put_chunk(struct volume *v, struct blob *blob, uint32_t logical, uint32_t blocks)
{
    for (uint32_t i = 0; i < blocks;) {
        uint32_t first = i;
        bool zero = io_is_zero(v->chunk + (size_t)i * BLOCK, BLOCK);
        do {
            i++;
        } while (i < blocks && io_is_zero(v->chunk + (size_t)i * BLOCK, BLOCK) == zero);
        if (!zero)
            put(v, blob, logical + first, v->chunk + (size_t)first * BLOCK, i - first);
    }
}

void volume_add_blob(struct volume *v, uint64_t size)
{
    if (v->blob_count == v->blob_room) {
        uint32_t room = v->blob_room ? 2 * v->blob_room : 4096;
        struct blob *more = realloc(v->blobs, room * sizeof *more);
        if (!more)
            fail("out of memory");
        v->blobs = more;
        v->blob_room = room;
    }
    if (size > (uint64_t)UINT32_MAX * BLOCK)
        fail("a file of %llu bytes is too large for ext4", (unsigned long long)size);
    struct blob *blob = &v->blobs[v->blob_count++];
    *blob = (struct blob){.size = size};
    for (uint64_t done = 0; done < size;) {
        size_t length = size - done < CHUNK_BLOCKS * BLOCK ? (size_t)(size - done) : CHUNK_BLOCKS * BLOCK;
        uint32_t blocks = (uint32_t)((length + BLOCK - 1) / BLOCK);
        stream_bytes(v->chunk, length);
        memset(v->chunk + length, 0, (size_t)blocks * BLOCK - length);
        put_chunk(v, blob, (uint32_t)(done / BLOCK), blocks);
        done += length;
    }
}

static struct blob *known(struct volume *v, uint32_t index)
{
    if (index >= v->blob_count)
        fail("there is no blob %u", index);
    return &v->blobs[index];
}

void volume_drop_blob(struct volume *v, uint32_t index)
{
    struct blob *blob = known(v, index);
    for (uint32_t i = 0; i < blob->count; i++) {
        const struct extent *extent = &blob->extents[i];
        ext2fs_block_alloc_stats_range(v->fs, extent->physical, extent->blocks, -1);
        int status = io_zero(v->fd, extent->physical * BLOCK, (uint64_t)extent->blocks * BLOCK);
        if (status < 0)
            fail("cannot give back space of the image: %s", strerror(-status));
    }
    v->live -= blob->blocks;
    free(blob->extents);
    *blob = (struct blob){0};
}

/* Inodes. */

static struct ext2_inode_large basic(const struct volume_inode *inode)
{
    struct ext2_inode_large raw = {0};
    int64_t seconds = inode->mtime;
    uint32_t epoch = (uint32_t)((uint64_t)(seconds - (int32_t)seconds) >> 32) & 3;
    uint32_t extra = epoch | inode->mtime_nsec << 2;
    raw.i_mode = (__u16)inode->mode;
    raw.i_uid = (__u16)inode->uid;
    raw.osd2.linux2.l_i_uid_high = (__u16)(inode->uid >> 16);
    raw.i_gid = (__u16)inode->gid;
    raw.osd2.linux2.l_i_gid_high = (__u16)(inode->gid >> 16);
    raw.i_atime = raw.i_ctime = raw.i_mtime = raw.i_crtime = (__u32)seconds;
    raw.i_atime_extra = raw.i_ctime_extra = raw.i_mtime_extra = raw.i_crtime_extra = extra;
    raw.i_links_count = (__u16)inode->links;
    raw.i_extra_isize = sizeof raw - 128;
    return raw;
}

static void write_inode(struct volume *v, const struct volume_inode *inode, struct ext2_inode_large *raw)
{
    ext2_ino_t ino = number(inode->index);
    if (inode->index != 0)
        ext2fs_inode_alloc_stats2(v->fs, ino, +1, S_ISDIR(inode->mode));
    must(ext2fs_write_inode_full(v->fs, ino, (struct ext2_inode *)raw, sizeof *raw), "cannot write an inode");
}

/* An inode and its data. More extents than fit into the inode are put into a tree, by the library. */
static void write_with_data(struct volume *v, const struct volume_inode *inode, const struct blob *blob,
                            uint64_t size)
{
    struct ext2_inode_large raw = basic(inode);
    raw.i_flags = EXT4_EXTENTS_FL;
    raw.i_size = (__u32)size;
    raw.i_size_high = (__u32)(size >> 32);
    struct ext3_extent_header *header = (struct ext3_extent_header *)raw.i_block;
    header->eh_magic = EXT3_EXT_MAGIC;
    header->eh_max = INLINE_EXTENTS;
    must(ext2fs_iblk_set(v->fs, (struct ext2_inode *)&raw, blob->blocks), "cannot set a file's blocks");
    if (blob->count <= INLINE_EXTENTS) {
        struct ext3_extent *at = (struct ext3_extent *)(header + 1);
        header->eh_entries = (__u16)blob->count;
        for (uint32_t i = 0; i < blob->count; i++) {
            at[i].ee_block = blob->extents[i].logical;
            at[i].ee_len = (__u16)blob->extents[i].blocks;
            at[i].ee_start = (__u32)blob->extents[i].physical;
            at[i].ee_start_hi = (__u16)(blob->extents[i].physical >> 32);
        }
        write_inode(v, inode, &raw);
        return;
    }
    write_inode(v, inode, &raw);
    ext2_ino_t ino = number(inode->index);
    ext2_extent_handle_t handle;
    must(ext2fs_extent_open2(v->fs, ino, (struct ext2_inode *)&raw, &handle),
         "cannot write a file's extents");
    for (uint32_t i = 0; i < blob->count; i++) {
        struct ext2fs_extent extent = {.e_pblk = blob->extents[i].physical,
                                       .e_lblk = blob->extents[i].logical,
                                       .e_len = blob->extents[i].blocks};
        errcode_t status = ext2fs_extent_insert(handle, i ? EXT2_EXTENT_INSERT_AFTER : 0, &extent);
        if (status == EXT2_ET_BLOCK_ALLOC_FAIL) {
            v->full = true;
            break;
        }
        must(status, "cannot write a file's extents");
        must(ext2fs_extent_fix_parents(handle), "cannot write a file's extents");
    }
    ext2fs_extent_free(handle);
    must(ext2fs_write_inode_full(v->fs, ino, (struct ext2_inode *)&raw, sizeof raw), "cannot write an inode");
}

/* Whether there is still something to write, or only to count. */
static bool begin_inode(struct volume *v, uint32_t index)
{
    v->inodes++;
    if (number(index) > v->fs->super->s_inodes_count)
        v->full = true;
    return !v->full;
}

void volume_file(struct volume *v, const struct volume_inode *inode, uint32_t index)
{
    static const struct blob empty;
    const struct blob *blob = index == VOLUME_NO_BLOB ? &empty : known(v, index);
    if (begin_inode(v, inode->index))
        write_with_data(v, inode, blob, blob->size);
}

void volume_symlink(struct volume *v, const struct volume_inode *inode, const char *target, size_t length)
{
    if (length == 0 || length >= BLOCK)
        fail_inode(inode->index, "a symlink's target of %zu bytes does not fit", length);
    if (!begin_inode(v, inode->index))
        return;
    if (length < FAST_SYMLINK) {
        struct ext2_inode_large raw = basic(inode);
        raw.i_size = (__u32)length;
        memcpy(raw.i_block, target, length);
        write_inode(v, inode, &raw);
        return;
    }
    struct blob blob = {0};
    memset(v->chunk, 0, BLOCK);
    memcpy(v->chunk, target, length);
    put(v, &blob, 0, v->chunk, 1);
    if (!v->full)
        write_with_data(v, inode, &blob, length);
    free(blob.extents);
}

void volume_special(struct volume *v, const struct volume_inode *inode, uint32_t major, uint32_t minor)
{
    if (!begin_inode(v, inode->index))
        return;
    struct ext2_inode_large raw = basic(inode);
    if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) {
        if (major < 256 && minor < 256)
            raw.i_block[0] = major << 8 | minor;
        else
            raw.i_block[1] = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
    }
    write_inode(v, inode, &raw);
}

/* Directories. */

static const size_t usable = BLOCK - sizeof(struct ext2_dir_entry_tail);

static struct ext2_dir_entry *entry_at(struct volume *v, size_t offset)
{
    return (struct ext2_dir_entry *)(v->block + offset);
}

static void flush_directory(struct volume *v)
{
    entry_at(v, v->last)->rec_len = (__u16)(usable - v->last);
    ext2fs_initialize_dirent_tail(v->fs, EXT2_DIRENT_TAIL(v->block, BLOCK));
    uint32_t logical = (uint32_t)(v->directory.size / BLOCK);
    blk64_t start = 0;
    v->directory.size += BLOCK;
    v->directory.blocks++;
    v->live++;
    if (!v->full && take(v, 1, &start) == 0)
        v->full = true;
    if (!v->full) {
        extend(&v->directory, logical, start, 1);
        must(ext2fs_write_dir_block4(v->fs, start, v->block, 0, number(v->directory_index)),
             "cannot write a directory");
    }
    memset(v->block, 0, BLOCK);
    v->at = v->last = 0;
}

static void add_entry(struct volume *v, ext2_ino_t ino, uint8_t type, const char *name, size_t length)
{
    size_t room = (sizeof(struct ext2_dir_entry) - EXT2_NAME_LEN + length + 3) & ~(size_t)3;
    if (v->at + room > usable)
        flush_directory(v);
    struct ext2_dir_entry *entry = entry_at(v, v->at);
    entry->inode = ino;
    entry->rec_len = (__u16)room;
    ext2fs_dirent_set_name_len(entry, (int)length);
    ext2fs_dirent_set_file_type(entry, type);
    memcpy(entry->name, name, length);
    v->last = v->at;
    v->at += room;
}

static uint8_t type_of(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return EXT2_FT_REG_FILE;
    case S_IFDIR:
        return EXT2_FT_DIR;
    case S_IFLNK:
        return EXT2_FT_SYMLINK;
    case S_IFCHR:
        return EXT2_FT_CHRDEV;
    case S_IFBLK:
        return EXT2_FT_BLKDEV;
    case S_IFIFO:
        return EXT2_FT_FIFO;
    case S_IFSOCK:
        return EXT2_FT_SOCK;
    default:
        fail("a file of unknown type: mode %o", mode);
    }
}

void volume_begin_directory(struct volume *v, uint32_t index, uint32_t parent)
{
    begin_inode(v, index);
    free(v->directory.extents);
    v->directory = (struct blob){0};
    v->directory_index = index;
    memset(v->block, 0, BLOCK);
    v->at = v->last = 0;
    add_entry(v, number(index), EXT2_FT_DIR, ".", 1);
    add_entry(v, number(parent), EXT2_FT_DIR, "..", 2);
}

void volume_add_entry(struct volume *v, uint32_t index, uint32_t mode, const char *name, size_t length)
{
    if (length == 0 || length > EXT2_NAME_LEN)
        fail_inode(index, "a name of %zu bytes does not fit into ext4, which takes %u", length,
                   EXT2_NAME_LEN);
    add_entry(v, number(index), type_of(mode), name, length);
}

void volume_end_directory(struct volume *v, const struct volume_inode *inode)
{
    flush_directory(v);
    if (v->full)
        return;
    struct volume_inode mine = *inode;
    mine.links = inode->links >= VOLUME_LINKS_MAX ? 1 : inode->links;
    write_with_data(v, &mine, &v->directory, v->directory.size);
}

/* Extended attributes. */

void volume_xattrs_begin(struct volume *v, uint32_t index)
{
    v->xattrs_index = index;
    if (v->full)
        return;
    must(ext2fs_xattrs_open(v->fs, number(index), &v->xattrs), "cannot open extended attributes");
}

void volume_xattr(struct volume *v, const char *name, const void *value, size_t length)
{
    if (v->full)
        return;
    errcode_t status = ext2fs_xattr_set(v->xattrs, name, value, length);
    if (status == EXT2_ET_BLOCK_ALLOC_FAIL)
        v->full = true;
    else if (status == EXT2_ET_EA_NO_SPACE)
        fail_inode(v->xattrs_index, "its extended attributes do not fit into ext4: %s has %zu bytes", name,
                   length);
    else if (status)
        fail_inode(v->xattrs_index, "extended attribute %s: %s", name, error_message(status));
}

void volume_xattrs_end(struct volume *v)
{
    v->live++; /* the block that they may need */
    if (v->xattrs)
        ext2fs_xattrs_close(&v->xattrs);
    v->xattrs = NULL;
}

/* The end. */

static uint64_t enough(const struct volume *v)
{
    uint64_t blocks = ext2fs_blocks_count(v->fs->super);
    /* What an empty file system takes grows with its size; the rest is for extent trees and rounding. */
    uint64_t needed = (v->live + v->live / 64 + 64) * blocks / (blocks - v->base) * BLOCK;
    uint64_t for_inodes = (v->inodes + FIRST_INODE) * v->bytes_per_inode;
    const uint64_t step = 16ull << 20;
    return ((needed > for_inodes ? needed : for_inodes) + step) / step * step;
}

bool volume_finish(struct volume *v, bool sync, uint64_t *used, uint64_t *needed)
{
    *used = (v->base + v->live) * BLOCK;
    *needed = enough(v);
    if (v->full)
        return false;
    must(ext2fs_close_free(&v->fs), "cannot complete the file system");
    int status = sync ? io_sync(v->fd) : 0;
    if (status < 0)
        fail("cannot write the image: %s", strerror(-status));
    return true;
}

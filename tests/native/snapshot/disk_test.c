/* SPDX-License-Identifier: Apache-2.0 */
/* Disks: whatever is stacked, written, zeroed, frozen and saved, reads are those of a plain array of bytes.
 */
#include "base/crc32c.h"
#include "base/io.h"
#include "snapshot/disk.h"
#include "snapshot/layer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define BLOCK ((uint64_t)DISK_BLOCK_SIZE)
#define SECTOR ((uint64_t)DISK_SECTOR_SIZE)
#define MIB (1ull << 20)
/* Over two of disk.c's regions of 8 MiB, and neither whole blocks nor whole regions. */
#define SIZE (17 * MIB + 3 * SECTOR)

/* A scratch directory that is gone after the test. */
static char scratch_path[] = "/tmp/forkd-disk-test-XXXXXX";
static int scratch_fd;

static uint64_t random_state;

/* xorshift64: the same sequence for the same seed everywhere. */
static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t below(uint64_t bound)
{
    return next_random() % bound;
}

static void fill_random(uint8_t *bytes, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(next_random() >> 32);
}

static int make_file(uint64_t size)
{
    int fd = memfd_create("disk-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

/* A base image with data and holes, and the same bytes in memory. */
static int make_base(uint64_t size, uint8_t *model)
{
    int fd = make_file(size);
    memset(model, 0, size);
    for (int i = 0; i < 12; i++) {
        uint64_t start = below(size);
        uint64_t length = below(size / 16 + 1);
        length = length < size - start ? length : size - start;
        fill_random(model + start, length);
        assert_int_equal(io_pwrite(fd, model + start, length, start), 0);
    }
    return fd;
}

struct layer_content {
    uint8_t *model;
    uint64_t size;
};

static int read_model(void *context, uint64_t first, uint64_t pages, void *buffer, struct forkd_error *err)
{
    (void)err;
    const struct layer_content *content = context;
    uint64_t start = first * BLOCK;
    uint64_t end = start + pages * BLOCK;
    memset(buffer, 0, pages * BLOCK);
    end = end < content->size ? end : content->size;
    memcpy(buffer, content->model + start, end - start);
    return 0;
}

/* A layer of random extents, of new data and of zeroes, which are put into the model too. */
static int make_random_layer(uint64_t size, uint8_t *model)
{
    struct layer_extent extents[64];
    struct layer_content content = {.model = model, .size = size};
    struct forkd_error err;
    uint64_t blocks = (size + BLOCK - 1) / BLOCK;
    uint64_t next = 0;
    uint64_t count = 0;
    while (count < 64) {
        uint64_t first = next + below(blocks / 32 + 1);
        uint64_t length = 1 + below(blocks / 32 + 1);
        if (first + length > blocks)
            break;
        extents[count++] = (struct layer_extent){.first = first, .count = length};
        next = first + length;
        uint64_t start = first * BLOCK;
        uint64_t end = next * BLOCK < size ? next * BLOCK : size;
        if (below(3) == 0)
            memset(model + start, 0, end - start);
        else
            fill_random(model + start, end - start);
    }
    int fd = make_file(0);
    assert_int_equal(layer_write(fd, "layer", size, extents, count, read_model, &content, &err), 0);
    return fd;
}

static int duplicate(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_true(copy >= 0);
    return copy;
}

static struct disk *open_disk(uint32_t mode, int base_fd, const int *layers, uint32_t layer_count)
{
    struct disk *disk = NULL;
    struct forkd_error err = {0};
    int fds[8];
    for (uint32_t i = 0; i < layer_count; i++)
        fds[i] = duplicate(layers[i]);
    if (disk_open(&disk, "disk", mode, duplicate(base_fd), fds, layer_count, scratch_fd, &err) != 0)
        fail_msg("%s", err.text);
    return disk;
}

static int read_at(struct disk *disk, void *buffer, uint64_t length, uint64_t offset)
{
    struct iovec iov = {.iov_base = buffer, .iov_len = length};
    return disk_read(disk, &iov, 1, offset);
}

static int write_at(struct disk *disk, void *buffer, uint64_t length, uint64_t offset)
{
    struct iovec iov = {.iov_base = buffer, .iov_len = length};
    return disk_write(disk, &iov, 1, offset);
}

static void assert_reads(struct disk *disk, const uint8_t *model, uint64_t offset, uint64_t length)
{
    uint8_t *buffer = malloc(length);
    assert_non_null(buffer);
    assert_int_equal(read_at(disk, buffer, length, offset), 0);
    for (uint64_t i = 0; i < length; i++) {
        if (buffer[i] != model[offset + i])
            fail_msg("byte %llu is %u, not %u", (unsigned long long)(offset + i), buffer[i],
                     model[offset + i]);
    }
    free(buffer);
}

/* A range of sectors, short ones more often than long ones, often at a border of regions or the disk's end.
 */
static void random_range(uint64_t size, uint64_t *offset, uint64_t *length)
{
    const uint64_t longest[] = {8, 64, 2048};
    uint64_t sectors = size / SECTOR;
    uint64_t start = below(sectors);
    if (below(4) == 0)
        start = below(2) == 0 ? sectors - 1 - below(sectors < 16 ? sectors : 16)
                              : (8 * MIB / SECTOR - below(16)) % sectors;
    uint64_t count = 1 + below(longest[below(3)]);
    count = count < sectors - start ? count : sectors - start;
    *offset = start * SECTOR;
    *length = count * SECTOR;
}

/* Cut a buffer into up to 300 pieces of any length, some of them empty. */
static int random_pieces(uint8_t *buffer, uint64_t length, struct iovec *iov)
{
    uint64_t done = 0;
    int count = 0;
    uint64_t largest = below(2) == 0 ? length : length / 200 + 1;
    for (; count < 299 && done < length; count++) {
        uint64_t some = below(largest + 1);
        some = some < length - done ? some : length - done;
        iov[count] = (struct iovec){.iov_base = buffer + done, .iov_len = some};
        done += some;
    }
    iov[count++] = (struct iovec){.iov_base = buffer + done, .iov_len = length - done};
    return count;
}

static void random_step(struct disk *disk, uint8_t *model, uint8_t *buffer)
{
    static struct iovec iov[300];
    struct forkd_error err;
    uint64_t offset;
    uint64_t length;
    random_range(disk_size(disk), &offset, &length);
    int pieces = random_pieces(buffer, length, iov);
    switch (below(13)) {
    case 0:
        assert_int_equal(disk_freeze_top(disk, &err), 0);
        break;
    case 12:
        for (uint64_t i = below(40); i > 0; i--)
            disk_merge_step(disk);
        break;
    case 1:
    case 2:
        assert_int_equal(disk_write_zeroes(disk, offset, length), 0);
        memset(model + offset, 0, length);
        break;
    case 3:
    case 4:
    case 5:
    case 6:
        fill_random(buffer, length);
        memcpy(model + offset, buffer, length);
        assert_int_equal(disk_write(disk, iov, pieces, offset), 0);
        break;
    default:
        memset(buffer, 0xa5, length);
        assert_int_equal(disk_read(disk, iov, pieces, offset), 0);
        assert_memory_equal(buffer, model + offset, length);
        break;
    }
}

/* Random steps over a random stack, which are all undone twice; then the whole is saved as a layer, opened
 * again over the base, and equal. */
static void run_against_model(uint64_t size, uint32_t layer_count, int steps)
{
    uint8_t *model = malloc(size);
    uint8_t *buffer = malloc(2048 * SECTOR);
    int layers[8];
    bool written = false;
    struct forkd_error err;
    assert_non_null(model);
    assert_non_null(buffer);
    int base = make_base(size, model);
    uint32_t checksum = crc32c(0, model, size);
    for (uint32_t i = 0; i < layer_count; i++)
        layers[i] = make_random_layer(size, model);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, layers, layer_count);
    assert_int_equal(disk_size(disk), size);
    assert_reads(disk, model, 0, size);
    uint8_t *first = malloc(size);
    assert_non_null(first);
    memcpy(first, model, size);
    for (int i = 0; i < 3 * steps; i++) {
        if (i == steps || i == 2 * steps) {
            disk_reset(disk);
            memcpy(model, first, size);
            assert_reads(disk, model, 0, size);
        }
        random_step(disk, model, buffer);
    }
    free(first);
    assert_reads(disk, model, 0, size);

    int saved = make_file(0);
    assert_int_equal(disk_save_layer(disk, saved, false, &written, &err), 0);
    disk_close(disk);
    assert_true(written);
    disk = open_disk(FORKD_DISK_READ_ONLY, base, &saved, 1);
    assert_reads(disk, model, 0, size);
    disk_close(disk);

    assert_int_equal(io_pread(base, model, size, 0), 0);
    assert_int_equal(crc32c(0, model, size), checksum);
    for (uint32_t i = 0; i < layer_count; i++)
        close(layers[i]);
    close(saved);
    close(base);
    free(buffer);
    free(model);
}

static void behaves_like_plain_memory(void **state)
{
    (void)state;
    for (uint32_t layers = 0; layers < 5; layers++)
        run_against_model(SIZE, layers, 500);
}

static void small_and_odd_sizes_behave_like_plain_memory(void **state)
{
    (void)state;
    const uint64_t sizes[] = {SECTOR, 7 * SECTOR, BLOCK, BLOCK + SECTOR, 33 * BLOCK - SECTOR, 8 * MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        run_against_model(sizes[i], 2, 200);
}

/* Holes are in no file: a disk may have nothing else. */
static void reset_forgets_holes(void **state)
{
    (void)state;
    uint8_t model[4 * BLOCK];
    fill_random(model, sizeof model);
    int base = make_file(sizeof model);
    assert_int_equal(io_pwrite(base, model, sizeof model, 0), 0);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    assert_int_equal(disk_discard(disk, BLOCK, 2 * BLOCK), 0);
    disk_reset(disk);
    assert_reads(disk, model, 0, sizeof model);
    disk_close(disk);
    close(base);
}

static void writes_of_part_of_a_block_keep_the_rest(void **state)
{
    (void)state;
    uint8_t model[4 * BLOCK];
    uint8_t sector[512];
    fill_random(model, sizeof model);
    int base = make_file(sizeof model);
    assert_int_equal(io_pwrite(base, model, sizeof model, 0), 0);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    for (uint64_t at = SECTOR; at < sizeof model; at += 3 * SECTOR) {
        fill_random(sector, sizeof sector);
        memcpy(model + at, sector, sizeof sector);
        assert_int_equal(write_at(disk, sector, sizeof sector, at), 0);
        assert_reads(disk, model, 0, sizeof model);
    }
    disk_close(disk);
    close(base);
}

static void nothing_written_saves_nothing(void **state)
{
    (void)state;
    struct forkd_error err;
    bool written = true;
    int base = make_file(SIZE);
    int out = make_file(0);
    uint64_t length = 1;
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    assert_int_equal(disk_save_layer(disk, out, false, &written, &err), 0);
    assert_false(written);
    assert_int_equal(io_size(out, &length), 0);
    assert_int_equal(length, 0);
    disk_close(disk);
    close(out);
    close(base);
}

static void last_short_block_is_filled_up_with_zeroes(void **state)
{
    (void)state;
    struct forkd_error err;
    bool written = false;
    uint8_t page[DISK_BLOCK_SIZE];
    int base = make_file(BLOCK + SECTOR);
    int out = make_file(0);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    memset(page, 8, sizeof page);
    assert_int_equal(write_at(disk, page, SECTOR, BLOCK), 0);
    assert_int_equal(disk_save_layer(disk, out, false, &written, &err), 0);
    assert_int_equal(io_pread(out, page, sizeof page, BLOCK), 0); /* page 1 of a layer is its first data */
    assert_int_equal(page[SECTOR - 1], 8);
    assert_true(io_is_zero(page + SECTOR, BLOCK - SECTOR));
    disk_close(disk);
    close(out);
    close(base);
}

static uint64_t space_of(int fd)
{
    struct stat status = {0};
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    return (uint64_t)status.st_blocks * 512;
}

/* A trim of a whole large disk that holds one block. */
static void zeroing_what_is_zero_costs_nothing(void **state)
{
    (void)state;
    const uint64_t size = 1ull << 40;
    uint8_t block[BLOCK];
    uint8_t zeroes[BLOCK] = {0};
    struct forkd_error err;
    bool written = false;
    memset(block, 7, sizeof block);
    int base = make_file(size);
    assert_int_equal(io_pwrite(base, block, sizeof block, size / 2), 0);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    assert_int_equal(disk_write_zeroes(disk, 0, size), 0);
    assert_int_equal(read_at(disk, block, sizeof block, size / 2), 0);
    assert_memory_equal(block, zeroes, sizeof block);

    int out = make_file(0);
    assert_int_equal(disk_save_layer(disk, out, false, &written, &err), 0);
    assert_true(written);
    assert_true(space_of(out) <= 3 * BLOCK);
    disk_close(disk);
    close(out);
    close(base);
}

static void zeroing_gives_space_back(void **state)
{
    (void)state;
    static uint8_t bytes[4 * MIB];
    memset(bytes, 1, sizeof bytes);
    int base = make_file(sizeof bytes);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    int top = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(top); /* the number that the top's descriptor is going to have */
    assert_int_equal(write_at(disk, bytes, sizeof bytes, 0), 0);
    assert_true(space_of(top) >= sizeof bytes);
    assert_int_equal(disk_write_zeroes(disk, 0, sizeof bytes), 0);
    assert_true(space_of(top) < MIB);
    disk_close(disk);
    close(base);
}

/* Run in a child process; its exit status is how many of its checks failed. */
static int wait_for(pid_t pid)
{
    int status = -1;
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static bool block_is(struct disk *disk, uint64_t block, uint8_t value)
{
    uint8_t bytes[BLOCK];
    uint8_t expected[BLOCK];
    memset(expected, value, sizeof expected);
    return read_at(disk, bytes, sizeof bytes, block * BLOCK) == 0 &&
           memcmp(bytes, expected, sizeof bytes) == 0;
}

static int write_block(struct disk *disk, uint64_t block, uint8_t value)
{
    uint8_t bytes[BLOCK];
    memset(bytes, value, sizeof bytes);
    return write_at(disk, bytes, sizeof bytes, block * BLOCK);
}

static void forked_children_do_not_see_each_other(void **state)
{
    (void)state;
    int base = make_file(SIZE);
    pid_t children[3];
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    for (uint8_t i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            bool good = true;
            for (uint64_t block = i; block < 64; block++)
                good = good && block_is(disk, block, 0) && write_block(disk, block, 10 + i) == 0;
            for (uint64_t block = 0; block < 64; block++)
                good = good && block_is(disk, block, block < i ? 0 : 10 + i);
            _exit(good ? 0 : 1);
        }
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(wait_for(children[i]), 0);
    assert_true(block_is(disk, 5, 0));
    disk_close(disk);
    close(base);
}

/* A branch: frozen, forked, and both sides go on, again and again. */
static void both_sides_of_a_branch_keep_what_was_frozen(void **state)
{
    (void)state;
    enum { BRANCHES = 40 };
    int base = make_file(SIZE);
    pid_t children[BRANCHES];
    struct forkd_error err;
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    for (int i = 0; i < BRANCHES; i++) {
        assert_int_equal(write_block(disk, (uint64_t)i, 100), 0);
        assert_int_equal(write_block(disk, 50, (uint8_t)i), 0);
        assert_int_equal(disk_freeze_top(disk, &err), 0);
        children[i] = fork();
        if (children[i] == 0) {
            usleep(1000); /* so that the source writes meanwhile */
            bool good = block_is(disk, 50, (uint8_t)i) && block_is(disk, (uint64_t)i, 100) &&
                        block_is(disk, (uint64_t)i + 1, 0);
            good = good && write_block(disk, 50, 200) == 0 && disk_freeze_top(disk, &err) == 0;
            good = good && write_block(disk, 51, 201) == 0;
            _exit(good && block_is(disk, 50, 200) && block_is(disk, 51, 201) ? 0 : 1);
        }
    }
    for (int i = 0; i < BRANCHES; i++)
        assert_int_equal(wait_for(children[i]), 0);
    assert_true(block_is(disk, 50, BRANCHES - 1));
    assert_true(block_is(disk, 51, 0));
    disk_close(disk);
    close(base);
}

static void freezing_an_unwritten_disk_adds_nothing(void **state)
{
    (void)state;
    int base = make_file(SIZE);
    struct forkd_error err;
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    /* More often than there are stages. */
    for (int i = 0; i < 70000; i++)
        assert_int_equal(disk_freeze_top(disk, &err), 0);
    assert_int_equal(write_block(disk, 1, 1), 0);
    disk_close(disk);
    close(base);
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (directory != NULL && readdir(directory) != NULL)
        count++;
    if (directory != NULL)
        closedir(directory);
    return count;
}

struct files {
    int count;
    uint64_t space;
};

static void add_file(void *context, int fd)
{
    struct files *files = context;
    files->count++;
    files->space += space_of(fd);
}

/* The base and the scratch folder among them. */
static struct files files_of(struct disk *disk)
{
    struct files files = {0};
    disk_each_fd(disk, add_file, &files);
    return files;
}

static void merge_all(struct disk *disk)
{
    for (int i = 0; disk_merge_step(disk); i++)
        assert_true(i < 100000);
}

static uint8_t value_of(uint64_t block, int round)
{
    return (uint8_t)(1 + (block * 7 + (uint64_t)round) % 251);
}

/* Of a disk that is frozen after every few blocks, the same ones and new ones. */
static void many_freezes_leave_few_files(void **state)
{
    (void)state;
    enum { FREEZES = 3000, NEW = 2 };
    uint64_t blocks = FREEZES * NEW;
    int base = make_file(blocks * BLOCK);
    struct forkd_error err;
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    int before = files_of(disk).count;
    int most = 0;
    for (int i = 0; i < FREEZES; i++) {
        assert_int_equal(write_block(disk, 0, value_of(0, i)), 0);
        for (uint64_t block = 1 + (uint64_t)i * NEW; block < 1 + (uint64_t)(i + 1) * NEW && block < blocks;
             block++)
            assert_int_equal(write_block(disk, block, value_of(block, 0)), 0);
        assert_int_equal(disk_freeze_top(disk, &err), 0);
        merge_all(disk);
        struct files files = files_of(disk);
        most = files.count > most ? files.count : most;
    }
    assert_in_range(most - before, 1, 20);
    assert_true(block_is(disk, 0, value_of(0, FREEZES - 1)));
    for (uint64_t block = 1; block < blocks; block++)
        assert_true(block_is(disk, block, value_of(block, 0)));
    /* No more than once what is there, and the file systems' own. */
    assert_true(files_of(disk).space < blocks * BLOCK * 2);
    disk_close(disk);
    close(base);
}

static void what_was_overwritten_gives_its_space_back(void **state)
{
    (void)state;
    enum { BLOCKS = 4096, LEFT = 100 };
    int base = make_file((uint64_t)BLOCKS * BLOCK);
    struct forkd_error err;
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    for (int round = 0; round < 3; round++) {
        for (uint64_t block = 0; block < BLOCKS; block++) {
            if (round == 0 || block % LEFT != 0)
                assert_int_equal(write_block(disk, block, value_of(block, round)), 0);
        }
        assert_int_equal(disk_freeze_top(disk, &err), 0);
        merge_all(disk);
        assert_true(files_of(disk).space < (uint64_t)BLOCKS * BLOCK * 5 / 4);
    }
    for (uint64_t block = 0; block < BLOCKS; block++)
        assert_true(block_is(disk, block, value_of(block, block % LEFT == 0 ? 0 : 2)));
    disk_close(disk);
    close(base);
}

/* One that was forked while its source was merging, and goes on, merging too, when the source has ended that.
 */
static _Noreturn void be_twin(struct disk *disk, int round, int go, uint64_t blocks)
{
    struct forkd_error err;
    char byte;
    disk_inherit(disk);
    if (read(go, &byte, 1) != 0)
        _exit(2);
    for (int pass = 0; pass < 2; pass++) {
        for (uint64_t block = 0; block < blocks; block++) {
            int written = round - (round - (int)(block % 40) % 40 + 40) % 40;
            if (!block_is(disk, block, written < 0 ? 0 : value_of(block, written)))
                _exit(3);
        }
        if (write_block(disk, blocks, (uint8_t)pass) < 0 || disk_freeze_top(disk, &err) < 0)
            _exit(4);
        for (int i = 0; i < 10000 && disk_merge_step(disk); i++)
            ;
        if (!block_is(disk, blocks, (uint8_t)pass))
            _exit(5);
    }
    _exit(0);
}

/* Round i writes the blocks that are i modulo 40. */
static void a_fork_while_tops_are_merged_is_of_one_instant(void **state)
{
    (void)state;
    enum { ROUNDS = 120, BLOCKS = 4000 };
    int base = make_file((uint64_t)(BLOCKS + 1) * BLOCK);
    struct forkd_error err;
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    pid_t twins[ROUNDS];
    int ways[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t block = (uint64_t)round % 40; block < BLOCKS; block += 40)
            assert_int_equal(write_block(disk, block, value_of(block, round)), 0);
        /* As far as it gets, mostly into the midst. */
        for (uint64_t i = below(4); i > 0; i--)
            disk_merge_step(disk);
        assert_int_equal(disk_freeze_top(disk, &err), 0);
        int way[2];
        assert_int_equal(pipe2(way, O_CLOEXEC), 0);
        twins[round] = fork();
        if (twins[round] == 0) {
            for (int i = 0; i < round; i++)
                close(ways[i]);
            close(way[1]);
            be_twin(disk, round, way[0], BLOCKS);
        }
        close(way[0]);
        ways[round] = way[1];
    }
    merge_all(disk);
    for (int round = 0; round < ROUNDS; round++) {
        close(ways[round]);
        assert_int_equal(wait_for(twins[round]), 0);
    }
    for (uint64_t block = 0; block < BLOCKS; block++)
        assert_true(block_is(disk, block, value_of(block, ROUNDS - 40 + (int)(block % 40))));
    disk_close(disk);
    close(base);
}

/* Of two disks together; what is overwritten costs nothing, frozen or not. */
static void writes_past_the_quota_fail_and_others_do_not(void **state)
{
    (void)state;
    enum { MOST = 10 };
    struct forkd_error err;
    struct disk_quota quota = {.most = MOST};
    int base = make_file(64 * BLOCK);
    struct disk *disks[2];
    for (int i = 0; i < 2; i++) {
        disks[i] = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
        disk_set_quota(disks[i], &quota);
    }
    for (uint64_t block = 0; block < MOST; block++)
        assert_int_equal(write_block(disks[block % 2], block, 1), 0);
    assert_int_equal(quota.blocks, MOST);
    assert_false(quota.reached);
    for (int i = 0; i < 2; i++) {
        for (uint64_t block = 0; block < 64; block++) {
            bool had = block < MOST && block % 2 == (uint64_t)i;
            assert_int_equal(write_block(disks[i], block, 2), had ? 0 : -ENOSPC);
            assert_true(block_is(disks[i], block, had ? 2 : 0));
            assert_int_equal(disk_write_zeroes(disks[i], block * BLOCK + SECTOR, SECTOR), had ? 0 : -ENOSPC);
        }
        assert_false(disk_host_full(disks[i]));
        assert_int_equal(disk_freeze_top(disks[i], &err), 0);
    }
    assert_true(quota.reached);
    assert_int_equal(write_block(disks[1], 1, 3), 0);
    assert_int_equal(write_block(disks[1], 2, 3), -ENOSPC);
    assert_int_equal(quota.blocks, MOST);
    /* What a child had when it was forked is not its own: all of it can be written again, and no more. */
    assert_int_equal(disk_freeze_top(disks[1], &err), 0);
    disk_inherit(disks[1]);
    quota = (struct disk_quota){.most = 5};
    for (uint64_t block = 1; block < MOST; block += 2)
        assert_int_equal(write_block(disks[1], block, 4), 0);
    assert_int_equal(write_block(disks[1], 63, 4), -ENOSPC);
    for (int i = 0; i < 2; i++)
        disk_close(disks[i]);
    close(base);
}

/* Also when a branch was made in between, of what is below and of what was on top. */
static void what_is_discarded_is_gone_and_goes_back(void **state)
{
    (void)state;
    enum { BLOCKS = 2048 };
    struct forkd_error err;
    struct disk_quota quota = {.most = BLOCKS};
    uint8_t *model = calloc(BLOCKS, BLOCK);
    assert_non_null(model);
    int base = make_file(BLOCKS * BLOCK);
    fill_random(model, BLOCKS * BLOCK);
    assert_int_equal(io_pwrite(base, model, BLOCKS * BLOCK, 0), 0);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    disk_set_quota(disk, &quota);
    uint64_t without = files_of(disk).space;
    for (uint64_t block = 0; block < BLOCKS; block++)
        assert_int_equal(write_block(disk, block, value_of(block, 0)), 0);
    assert_int_equal(quota.blocks, BLOCKS);
    assert_true(files_of(disk).space >= without + BLOCKS * BLOCK);
    /* Whole blocks only. */
    assert_int_equal(disk_discard(disk, 10 * BLOCK + SECTOR, BLOCK), 0);
    assert_true(block_is(disk, 10, value_of(10, 0)) && block_is(disk, 11, value_of(11, 0)));
    assert_int_equal(disk_discard(disk, 0, BLOCKS / 2 * BLOCK), 0);
    assert_int_equal(quota.blocks, BLOCKS / 2);
    assert_true(files_of(disk).space <= without + BLOCKS * BLOCK * 5 / 8);
    for (uint64_t block = 0; block < BLOCKS / 2; block++)
        assert_true(block_is(disk, block, 0));
    assert_int_equal(disk_freeze_top(disk, &err), 0);
    assert_int_equal(disk_discard(disk, BLOCKS / 2 * BLOCK, BLOCKS / 2 * BLOCK), 0);
    assert_int_equal(quota.blocks, 0);
    for (uint64_t block = 0; block < BLOCKS; block++)
        assert_true(block_is(disk, block, 0));
    /* A frozen file that is the newest of nothing is closed. */
    assert_true(files_of(disk).space <= without + BLOCKS * BLOCK / 8);
    disk_inherit(disk);
    for (uint64_t block = 0; block < BLOCKS; block++)
        assert_true(block_is(disk, block, 0));
    /* A write over a part of it finds zeroes around. */
    assert_int_equal(write_at(disk, model, SECTOR, 3 * BLOCK + SECTOR), 0);
    uint8_t bytes[BLOCK];
    uint8_t expected[BLOCK] = {0};
    memcpy(expected + SECTOR, model, SECTOR);
    assert_int_equal(read_at(disk, bytes, BLOCK, 3 * BLOCK), 0);
    assert_memory_equal(bytes, expected, BLOCK);
    int file = make_file(0);
    bool written = false;
    assert_int_equal(disk_save_layer(disk, file, false, &written, &err), 0);
    assert_true(written);
    disk_close(disk);
    disk = open_disk(FORKD_DISK_PRIVATE, base, &file, 1);
    for (uint64_t block = 0; block < BLOCKS; block++)
        assert_true(block == 3 || block_is(disk, block, 0));
    disk_close(disk);
    close(file);
    close(base);
    free(model);
}

static void a_reset_forgets_what_was_only_discarded(void **state)
{
    (void)state;
    int base = make_file(64 * BLOCK);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    uint8_t bytes[BLOCK];
    memset(bytes, 7, sizeof bytes);
    assert_int_equal(io_pwrite(base, bytes, sizeof bytes, 5 * BLOCK), 0);
    assert_int_equal(disk_discard(disk, 0, 64 * BLOCK), 0);
    assert_true(block_is(disk, 5, 0));
    disk_reset(disk);
    assert_true(block_is(disk, 5, 7));
    disk_close(disk);
    close(base);
}

/* Threads that each have every fourth sector of all blocks, so that most writes are to blocks that others
 * write to at the same time. */
enum { WRITERS = 4, SHARED_BLOCKS = 256, WRITES = 3000 };

struct writer {
    struct disk *disk;
    uint64_t number;
    uint64_t state;
    uint8_t sectors[SHARED_BLOCKS * DISK_BLOCK_SIZE / DISK_SECTOR_SIZE]; /* what is in them */
    bool failed;
};

static void *write_and_check(void *argument)
{
    struct writer *writer = argument;
    uint8_t bytes[DISK_SECTOR_SIZE];
    uint8_t expected[DISK_SECTOR_SIZE];
    for (int i = 0; i < WRITES && !writer->failed; i++) {
        writer->state = writer->state * 6364136223846793005ull + 1442695040888963407ull;
        uint64_t sector =
            (writer->state >> 33) % (sizeof writer->sectors / WRITERS) * WRITERS + writer->number;
        memset(expected, writer->sectors[sector], sizeof expected);
        writer->failed =
            read_at(writer->disk, bytes, SECTOR, sector * SECTOR) < 0 || memcmp(bytes, expected, SECTOR) != 0;
        uint8_t value = (uint8_t)(writer->state >> 20);
        memset(bytes, value, sizeof bytes);
        int rc = value < 32 ? disk_write_zeroes(writer->disk, sector * SECTOR, SECTOR)
                            : write_at(writer->disk, bytes, SECTOR, sector * SECTOR);
        writer->sectors[sector] = value < 32 ? 0 : value;
        writer->failed = writer->failed || rc < 0;
    }
    return NULL;
}

static void *merge_in_between(void *argument)
{
    for (int i = 0; i < 200; i++)
        disk_merge_step(argument);
    return NULL;
}

static void threads_find_what_they_wrote(void **state)
{
    (void)state;
    enum { ROUNDS = 40 };
    static struct writer writers[WRITERS];
    struct forkd_error err;
    struct disk_quota quota = {.most = SHARED_BLOCKS};
    int base = make_file(SHARED_BLOCKS * BLOCK);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    disk_set_quota(disk, &quota);
    for (uint64_t i = 0; i < WRITERS; i++)
        writers[i] = (struct writer){.disk = disk, .number = i, .state = i};
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[WRITERS];
        pthread_t merger;
        for (int i = 0; i < WRITERS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, write_and_check, &writers[i]), 0);
        assert_int_equal(pthread_create(&merger, NULL, merge_in_between, disk), 0);
        for (int i = 0; i < WRITERS; i++) {
            pthread_join(threads[i], NULL);
            assert_false(writers[i].failed);
        }
        pthread_join(merger, NULL);
        assert_int_equal(quota.blocks, SHARED_BLOCKS);
        assert_int_equal(disk_freeze_top(disk, &err), 0);
    }
    assert_in_range(files_of(disk).count, 1, 25);
    disk_close(disk);
    close(base);
}

static void closing_leaves_no_descriptor_and_no_file(void **state)
{
    (void)state;
    struct forkd_error err;
    uint8_t *model = malloc(SIZE);
    assert_non_null(model);
    int base = make_base(SIZE, model);
    int layer = make_random_layer(SIZE, model);
    int before = count_descriptors();
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, &layer, 1);
    assert_int_equal(write_block(disk, 1, 1), 0);
    assert_int_equal(disk_freeze_top(disk, &err), 0);
    assert_int_equal(write_block(disk, 1, 2), 0);
    disk_close(disk);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(rmdir(scratch_path), 0);
    assert_int_equal(mkdir(scratch_path, 0700), 0);
    close(scratch_fd);
    scratch_fd = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(layer);
    close(base);
    free(model);
}

static void refuses_ranges_outside_or_not_of_sectors(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    int base = make_file(SIZE);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    const uint64_t cases[][2] = {{0, 511},
                                 {1, 512},
                                 {SIZE, 512},
                                 {SIZE - 512, 1024},
                                 {256, 256},
                                 {SIZE + 512, 0},
                                 {UINT64_MAX - 511, 512}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(read_at(disk, bytes, cases[i][1], cases[i][0]), -EINVAL);
        assert_int_equal(write_at(disk, bytes, cases[i][1], cases[i][0]), -EINVAL);
        assert_int_equal(disk_write_zeroes(disk, cases[i][0], cases[i][1]), -EINVAL);
    }
    /* Lengths whose sum wraps around to 512. */
    const struct iovec wrapping[] = {{.iov_base = bytes, .iov_len = SIZE_MAX - 511},
                                     {.iov_base = bytes, .iov_len = 1024}};
    assert_int_equal(disk_read(disk, wrapping, 2, 0), -EINVAL);
    assert_int_equal(disk_write(disk, wrapping, 2, 0), -EINVAL);
    assert_int_equal(disk_write_zeroes(disk, 512, UINT64_MAX - 511), -EINVAL);
    assert_int_equal(read_at(disk, bytes, 0, SIZE), 0);
    assert_int_equal(write_at(disk, bytes, 0, SIZE), 0);
    assert_int_equal(disk_write_zeroes(disk, SIZE, 0), 0);
    disk_close(disk);
    close(base);
}

static void read_only_disk_refuses_writes(void **state)
{
    (void)state;
    uint8_t bytes[512] = {0};
    int base = make_file(SIZE);
    struct disk *disk = open_disk(FORKD_DISK_READ_ONLY, base, NULL, 0);
    assert_true(disk_read_only(disk));
    assert_int_equal(write_at(disk, bytes, sizeof bytes, 0), -EROFS);
    assert_int_equal(disk_write_zeroes(disk, 0, 512), -EROFS);
    assert_int_equal(disk_flush(disk), 0);
    disk_close(disk);
    close(base);
}

static int expect_no_disk(uint32_t mode, int base, const int *layers, uint32_t count)
{
    struct disk *disk = NULL;
    struct forkd_error err = {0};
    int rc = disk_open(&disk, "disk", mode, base, layers, count, scratch_fd, &err);
    assert_null(disk);
    assert_int_equal(err.code, rc);
    /* After a failure the descriptor is still the caller's. */
    assert_true(fcntl(base, F_GETFD) >= 0);
    return rc;
}

static void shared_disk_writes_through(void **state)
{
    (void)state;
    char path[64];
    uint8_t sector[512];
    uint8_t found[512];
    snprintf(path, sizeof path, "%s/shared", scratch_path);
    int first = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int second = open(path, O_RDWR | O_CLOEXEC);
    int reader = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    assert_int_equal(ftruncate(first, (off_t)SIZE), 0);
    struct disk *disk = open_disk(FORKD_DISK_SHARED, first, NULL, 0);
    assert_int_equal(expect_no_disk(FORKD_DISK_SHARED, reader, NULL, 0), -EACCES);
    memset(sector, 3, sizeof sector);
    assert_int_equal(write_at(disk, sector, sizeof sector, 512), 0);
    assert_int_equal(disk_flush(disk), 0);
    assert_int_equal(io_pread(second, found, sizeof found, 512), 0);
    assert_memory_equal(found, sector, sizeof sector);
    assert_int_equal(disk_write_zeroes(disk, 512, 512), 0);
    assert_int_equal(io_pread(second, found, sizeof found, 512), 0);
    assert_int_equal(found[0], 0);
    disk_close(disk);
    close(first);
    close(second);
    close(reader);
}

static void refuses_what_is_no_disk(void **state)
{
    (void)state;
    uint8_t *model = malloc(SIZE);
    assert_non_null(model);
    int empty = make_file(0);
    int odd = make_file(513);
    int base = make_base(SIZE, model);
    int layer = make_random_layer(SIZE, model);
    int other = make_random_layer(SIZE - 512, model);
    int stacked[] = {layer, other};
    assert_int_equal(expect_no_disk(FORKD_DISK_PRIVATE, empty, NULL, 0), -EINVAL);
    assert_int_equal(expect_no_disk(FORKD_DISK_PRIVATE, odd, NULL, 0), -EINVAL);
    assert_int_equal(expect_no_disk(3, base, NULL, 0), -EINVAL);
    assert_int_equal(expect_no_disk(FORKD_DISK_SHARED, base, &layer, 1), -EINVAL);
    assert_int_equal(expect_no_disk(FORKD_DISK_PRIVATE, base, stacked, 2), -EINVAL);
    assert_int_equal(io_pwrite(layer, "!", 1, 20), 0);
    assert_int_equal(expect_no_disk(FORKD_DISK_PRIVATE, base, &layer, 1), -EBADMSG);
    close(empty);
    close(odd);
    close(base);
    close(layer);
    close(other);
    free(model);
}

static void base_that_became_shorter_is_an_error(void **state)
{
    (void)state;
    uint8_t bytes[512];
    int base = make_file(SIZE);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    assert_int_equal(ftruncate(base, 4096), 0);
    assert_int_equal(read_at(disk, bytes, sizeof bytes, 8192), -EIO);
    disk_close(disk);
    close(base);
}

/* A scratch directory of 256 KiB, in a process of its own so that the mount is gone with it. */
static int mount_tiny_scratch(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", scratch_path, "tmpfs", 0, "size=256k") < 0) {
        print_error("this test mounts a tmpfs and has to run as root: %s\n", strerror(errno));
        return -1;
    }
    return open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Fill until the disk is full; what was there is there, what failed reads as before, space can be given back.
 */
static bool survives_a_full_scratch_directory(void)
{
    enum { RUN = 8 };
    static uint8_t model[4 * MIB];
    static uint8_t bytes[RUN * DISK_BLOCK_SIZE];
    struct forkd_error err;
    bool written = false;
    fill_random(model, sizeof model);
    int base = make_file(sizeof model);
    if (io_pwrite(base, model, sizeof model, 0) < 0)
        return false;
    scratch_fd = mount_tiny_scratch();
    if (scratch_fd < 0)
        return false;
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    /* More than there is room for, in whole blocks: some are written before it fails. They are not kept. */
    static uint8_t large[MIB];
    memset(large, 1, sizeof large);
    if (disk_host_full(disk) || write_at(disk, large, sizeof large, 0) != -ENOSPC || !disk_host_full(disk))
        return false;
    assert_reads(disk, model, 0, sizeof model);
    struct statvfs space;
    if (fstatvfs(scratch_fd, &space) < 0 || space.f_bfree + 2 < space.f_blocks)
        return false;
    int rc = 0;
    uint64_t at = 512; /* so that both edges are copied up */
    for (; rc == 0 && at + sizeof bytes <= sizeof model; at += sizeof bytes + BLOCK) {
        fill_random(bytes, sizeof bytes);
        rc = write_at(disk, bytes, sizeof bytes, at);
        if (rc == 0)
            memcpy(model + at, bytes, sizeof bytes);
    }
    if (rc != -ENOSPC || !disk_host_full(disk))
        return false;
    assert_reads(disk, model, 0, sizeof model);
    /* Over blocks that the top has and such that it has not: each is old or new afterwards, as on any disk.
     */
    if (write_at(disk, large, sizeof large, 0) != -ENOSPC)
        return false;
    for (uint64_t block = 0; block < sizeof large / BLOCK; block++) {
        if (block_is(disk, block, 1))
            memset(model + block * BLOCK, 1, BLOCK);
    }
    assert_reads(disk, model, 0, sizeof model);
    /* A frozen top gives no space back, the one in use does. */
    if (disk_write_zeroes(disk, 0, 128 * 1024) < 0)
        return false;
    memset(model, 0, 128 * 1024);
    if (write_at(disk, bytes, sizeof bytes, 2 * MIB) < 0)
        return false;
    memcpy(model + 2 * MIB, bytes, sizeof bytes);
    assert_reads(disk, model, 0, sizeof model);
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    if (disk_save_layer(disk, full, false, &written, &err) != -ENOSPC || written)
        return false;
    assert_reads(disk, model, 0, sizeof model);
    disk_close(disk);
    return true;
}

static void full_scratch_directory_is_an_error_and_damages_nothing(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        _exit(survives_a_full_scratch_directory() ? 0 : 1);
    assert_int_equal(wait_for(pid), 0);
}

/* Make openat(2) fail with EOPNOTSUPP when it is asked for a nameless file, as some file systems do. */
static bool forbid_nameless_files(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, __O_TMPFILE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void works_where_files_need_names(void **state)
{
    (void)state;
    int base = make_file(SIZE);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    pid_t pid = fork();
    if (pid == 0)
        _exit(forbid_nameless_files() && write_block(disk, 9, 9) == 0 && block_is(disk, 9, 9) ? 0 : 1);
    assert_int_equal(wait_for(pid), 0);
    /* No name is left: an empty directory can be removed. */
    assert_int_equal(rmdir(scratch_path), 0);
    assert_int_equal(mkdir(scratch_path, 0700), 0);
    close(scratch_fd);
    scratch_fd = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    disk_close(disk);
    close(base);
}

static void missing_scratch_directory_is_an_error_of_the_write(void **state)
{
    (void)state;
    int base = make_file(SIZE);
    struct disk *disk = open_disk(FORKD_DISK_PRIVATE, base, NULL, 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(scratch_fd);
        _exit(write_block(disk, 1, 1) == -EBADF && block_is(disk, 1, 0) ? 0 : 1);
    }
    assert_int_equal(wait_for(pid), 0);
    disk_close(disk);
    close(base);
}

static int set_up(void **state)
{
    (void)state;
    const char *seed = getenv("FORKD_TEST_SEED");
    random_state = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL);
    print_message("FORKD_TEST_SEED=%llu\n", (unsigned long long)random_state);
    if (random_state == 0 || mkdtemp(scratch_path) == NULL)
        return -1;
    scratch_fd = open(scratch_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return scratch_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(scratch_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_like_plain_memory),
        cmocka_unit_test(small_and_odd_sizes_behave_like_plain_memory),
        cmocka_unit_test(reset_forgets_holes),
        cmocka_unit_test(writes_of_part_of_a_block_keep_the_rest),
        cmocka_unit_test(nothing_written_saves_nothing),
        cmocka_unit_test(last_short_block_is_filled_up_with_zeroes),
        cmocka_unit_test(zeroing_what_is_zero_costs_nothing),
        cmocka_unit_test(zeroing_gives_space_back),
        cmocka_unit_test(forked_children_do_not_see_each_other),
        cmocka_unit_test(both_sides_of_a_branch_keep_what_was_frozen),
        cmocka_unit_test(freezing_an_unwritten_disk_adds_nothing),
        cmocka_unit_test(many_freezes_leave_few_files),
        cmocka_unit_test(what_was_overwritten_gives_its_space_back),
        cmocka_unit_test(a_fork_while_tops_are_merged_is_of_one_instant),
        cmocka_unit_test(writes_past_the_quota_fail_and_others_do_not),
        cmocka_unit_test(what_is_discarded_is_gone_and_goes_back),
        cmocka_unit_test(a_reset_forgets_what_was_only_discarded),
        cmocka_unit_test(threads_find_what_they_wrote),
        cmocka_unit_test(closing_leaves_no_descriptor_and_no_file),
        cmocka_unit_test(refuses_ranges_outside_or_not_of_sectors),
        cmocka_unit_test(read_only_disk_refuses_writes),
        cmocka_unit_test(shared_disk_writes_through),
        cmocka_unit_test(refuses_what_is_no_disk),
        cmocka_unit_test(base_that_became_shorter_is_an_error),
        cmocka_unit_test(full_scratch_directory_is_an_error_and_damages_nothing),
        cmocka_unit_test(works_where_files_need_names),
        cmocka_unit_test(missing_scratch_directory_is_an_error_of_the_write),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

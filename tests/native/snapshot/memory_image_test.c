/* SPDX-License-Identifier: Apache-2.0 */
/* memory.bin: every byte of the memory is in the file, of which zeroes are holes; memory.layer: what differs
 * from such a file, and no more. */
#include "base/io.h"
#include "snapshot/memory_image.h"

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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096ull
#define PAGES 10000ull /* over two batches of page table entries */
#define SIZE (PAGES * PAGE)

static int make_file(uint64_t size)
{
    /* On a file system with holes, not in memory: what is sparse is to be sparse there. */
    char path[] = "/tmp/forkd-memory-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static uint8_t *map_anonymous(void)
{
    void *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(map != MAP_FAILED);
    /* What is resident is to be what the test touches. */
    madvise(map, SIZE, MADV_NOHUGEPAGE);
    return map;
}

static uint8_t *map_image(int fd)
{
    void *map = NULL;
    struct forkd_error err;
    assert_int_equal(memory_image_map(fd, SIZE, &map, &err), 0);
    return map;
}

/* Write the image, read it back, compare it with the memory. */
static int write_and_compare(const uint8_t *memory, int base_fd)
{
    struct forkd_error err;
    uint8_t *found = malloc(SIZE);
    int fd = make_file(0);
    assert_non_null(found);
    assert_int_equal(memory_image_write(fd, memory, SIZE, base_fd, &err), 0);
    assert_int_equal(io_pread(fd, found, SIZE, 0), 0);
    assert_memory_equal(found, memory, SIZE);
    free(found);
    return fd;
}

static uint64_t pages_on_disk(int fd)
{
    struct stat status = {0};
    assert_int_equal(io_sync(fd), 0);
    assert_true(fd >= 0 && fstat(fd, &status) == 0);
    return (uint64_t)status.st_blocks * 512 / PAGE;
}

static uint64_t resident_pages(const uint8_t *memory)
{
    static uint64_t entries[PAGES];
    uint64_t count = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(io_pread(fd, entries, sizeof entries, (uintptr_t)memory / PAGE * 8), 0);
    close(fd);
    for (uint64_t i = 0; i < PAGES; i++)
        count += entries[i] >> 63;
    return count;
}

static void anonymous_memory_is_written_without_its_zero_pages(void **state)
{
    (void)state;
    uint8_t *memory = map_anonymous();
    memory[0] = 1;
    memory[5 * PAGE + 4095] = 1;
    memset(memory + 4090 * PAGE, 2, 20 * PAGE); /* across two batches */
    memory[5000 * PAGE] = 0;                    /* touched, zero */
    memory[SIZE - 1] = 3;
    int fd = write_and_compare(memory, -1);
    assert_true(pages_on_disk(fd) <= 23 + 8);
    close(fd);
    munmap(memory, SIZE);
}

static void memory_that_was_never_touched_stays_so(void **state)
{
    (void)state;
    struct forkd_error err;
    uint8_t *memory = map_anonymous();
    int fd = make_file(0);
    memory[77 * PAGE] = 1;
    assert_int_equal(memory_image_write(fd, memory, SIZE, -1, &err), 0);
    assert_int_equal(resident_pages(memory), 1);
    close(fd);
    munmap(memory, SIZE);
}

static void untouched_memory_of_only_zeroes_gives_a_file_of_its_size(void **state)
{
    (void)state;
    uint8_t *memory = map_anonymous();
    close(write_and_compare(memory, -1));
    munmap(memory, SIZE);
}

/* Pages of a file mapping that are absent from the page tables are not zero: they are the file's. */
static void private_file_mapping_is_written_whole(void **state)
{
    (void)state;
    int source = make_file(SIZE);
    uint8_t page[PAGE];
    memset(page, 5, sizeof page);
    for (uint64_t i = 0; i < PAGES; i += 3)
        assert_int_equal(io_pwrite(source, page, sizeof page, i * PAGE), 0);
    uint8_t *memory = map_image(source);
    memory[3 * PAGE] = 9;               /* diverged */
    memory[4 * PAGE] = 9;               /* diverged from a hole */
    memset(memory + 6 * PAGE, 0, PAGE); /* diverged and zero */
    madvise(memory, SIZE, MADV_COLD);
    close(write_and_compare(memory, source));
    munmap(memory, SIZE);
    close(source);
}

static int write_layer(const uint8_t *memory)
{
    struct forkd_error err;
    int fd = make_file(0);
    assert_int_equal(memory_layer_write(fd, memory, SIZE, &err), 0);
    return fd;
}

/* Two links over a base: what the second restores to is what was in its memory, byte for byte. */
static void layers_over_a_base_give_the_memory_back(void **state)
{
    (void)state;
    struct forkd_error err;
    int base = make_file(SIZE);
    uint8_t page[PAGE];
    memset(page, 5, sizeof page);
    for (uint64_t i = 0; i < PAGES; i += 3)
        assert_int_equal(io_pwrite(base, page, sizeof page, i * PAGE), 0);
    uint8_t *first = map_image(base);
    memset(first, 1, 10 * PAGE);
    memset(first + 300 * PAGE, 0, PAGE); /* was not zero: zero is what differs */
    first[SIZE - 1] = 8;
    int layers[2] = {write_layer(first), -1};
    const char *const names[] = {"one", "two"};
    int middle = make_file(0);
    assert_int_equal(memory_image_flatten(middle, base, layers, names, 1, &err), 0);
    uint8_t *second = map_image(middle);
    assert_memory_equal(second, first, SIZE);
    memset(second + 4 * PAGE, 2, PAGE);
    memset(second + 300 * PAGE, 3, 2 * PAGE);
    memset(second + 5 * PAGE, 0, PAGE);
    layers[1] = write_layer(second);
    int flat = make_file(0);
    assert_int_equal(memory_image_flatten(flat, base, layers, names, 2, &err), 0);
    uint8_t *found = map_image(flat);
    assert_memory_equal(found, second, SIZE);
    munmap(first, SIZE);
    munmap(second, SIZE);
    munmap(found, SIZE);
    close(base);
    close(middle);
    close(flat);
    close(layers[0]);
    close(layers[1]);
}

static void a_layer_is_what_differs_and_less_than_one_percent(void **state)
{
    (void)state;
    int base = make_file(SIZE);
    uint8_t *memory = map_image(base);
    for (uint64_t i = 0; i < 2000; i++)
        memory[i * 5 * PAGE] = 1; /* the worst case: no two adjacent */
    volatile uint8_t seen = 0;
    for (uint64_t i = 0; i < PAGES; i++)
        seen += memory[i * PAGE]; /* present, and the same as in the file */
    int fd = write_layer(memory);
    uint64_t size = 0;
    assert_int_equal(io_size(fd, &size), 0);
    assert_in_range(size, 2000 * PAGE, 2000 * PAGE * 101 / 100);
    close(fd);
    munmap(memory, SIZE);
    close(base);
}

static void flattening_a_damaged_or_foreign_layer_names_it(void **state)
{
    (void)state;
    struct forkd_error err;
    int base = make_file(SIZE);
    uint8_t *memory = map_image(base);
    memset(memory, 7, PAGE);
    int layer = write_layer(memory);
    const char *const names[] = {"that one"};
    int small = make_file(SIZE - PAGE);
    int out = make_file(0);
    assert_int_equal(memory_image_flatten(out, small, &layer, names, 1, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "that one"));
    assert_int_equal(io_pwrite(layer, "x", 1, PAGE + 100), 0); /* in the data */
    assert_int_equal(memory_image_flatten(out, base, &layer, names, 1, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "that one"));
    munmap(memory, SIZE);
    close(base);
    close(small);
    close(layer);
    close(out);
}

/* The twin of a branch writes memory that it inherited. */
static void memory_is_the_same_in_a_forked_process(void **state)
{
    (void)state;
    uint8_t *memory = map_anonymous();
    memory[123 * PAGE] = 1;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(write_and_compare(memory, -1));
        _exit(memory[123 * PAGE] == 1 ? 0 : 1);
    }
    int status = -1;
    memory[124 * PAGE] = 1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    munmap(memory, SIZE);
}

static void refuses_memory_that_is_not_whole_pages(void **state)
{
    (void)state;
    struct forkd_error err;
    uint8_t *memory = map_anonymous();
    int fd = make_file(0);
    assert_int_equal(memory_image_write(fd, memory, SIZE - 1, -1, &err), -EINVAL);
    assert_int_equal(memory_image_write(fd, memory + 1, PAGE, -1, &err), -EINVAL);
    close(fd);
    munmap(memory, SIZE);
}

static void mapping_is_private(void **state)
{
    (void)state;
    uint8_t byte = 1;
    int fd = make_file(SIZE);
    uint8_t *memory = map_image(fd);
    memory[0] = 42;
    assert_int_equal(io_pread(fd, &byte, 1, 0), 0);
    assert_int_equal(byte, 0);
    munmap(memory, SIZE);
    close(fd);
}

static void mapping_a_file_of_another_size_names_both(void **state)
{
    (void)state;
    void *memory = NULL;
    struct forkd_error err;
    int fd = make_file(8 * PAGE);
    assert_int_equal(memory_image_map(fd, 9 * PAGE, &memory, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "32768"));
    assert_non_null(strstr(err.text, "36864"));
    assert_int_equal(memory_image_map(fd, 7 * PAGE, &memory, &err), -EINVAL);
    assert_null(memory);
    close(fd);
}

static void write_errors_are_reported(void **state)
{
    (void)state;
    struct forkd_error err;
    uint8_t *memory = map_anonymous();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(memory_image_write(fd, memory, SIZE, -1, &err), -EINVAL); /* ftruncate */
    close(fd);
    munmap(memory, SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anonymous_memory_is_written_without_its_zero_pages),
        cmocka_unit_test(memory_that_was_never_touched_stays_so),
        cmocka_unit_test(untouched_memory_of_only_zeroes_gives_a_file_of_its_size),
        cmocka_unit_test(private_file_mapping_is_written_whole),
        cmocka_unit_test(layers_over_a_base_give_the_memory_back),
        cmocka_unit_test(a_layer_is_what_differs_and_less_than_one_percent),
        cmocka_unit_test(flattening_a_damaged_or_foreign_layer_names_it),
        cmocka_unit_test(memory_is_the_same_in_a_forked_process),
        cmocka_unit_test(refuses_memory_that_is_not_whole_pages),
        cmocka_unit_test(mapping_is_private),
        cmocka_unit_test(mapping_a_file_of_another_size_names_both),
        cmocka_unit_test(write_errors_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

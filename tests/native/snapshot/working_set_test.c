/* SPDX-License-Identifier: Apache-2.0 */
/* What one mapping of a memory image has touched, another has before it does; and whatever is wrong with the
 * file in between is no working set. */
#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/io.h"
#include "snapshot/memory_image.h"
#include "snapshot/working_set.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE ((uint64_t)WORKING_SET_PAGE)
#define PAGES 20000ull /* more than can be written of them */
#define SIZE (PAGES * PAGE)
#define LARGE (PAGE << 20)

struct range {
    uint64_t first;
    uint32_t count;
    uint32_t kind; /* 1: written; 2, 3: of the start */
};

static int make_file(void)
{
    char path[] = "/tmp/forkd-working-set-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static uint8_t content_of(uint64_t page)
{
    return (uint8_t)(page % 251 + 1);
}

/* An image of which the first half has content. */
static int make_image(void)
{
    int fd = make_file();
    uint8_t page[WORKING_SET_PAGE];
    assert_int_equal(ftruncate(fd, (off_t)SIZE), 0);
    for (uint64_t i = 0; i < PAGES / 2; i++) {
        memset(page, content_of(i), sizeof page);
        assert_int_equal(io_pwrite(fd, page, sizeof page, i * PAGE), 0);
    }
    return fd;
}

static uint8_t *map_image(int fd)
{
    void *map = NULL;
    assert_int_equal(memory_image_map(fd, SIZE, &map, NULL), 0);
    return map;
}

static uint64_t faults(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_minflt + (uint64_t)usage.ru_majflt;
}

/* Touch what a first child touches; how many faults that takes. Not instrumented: that would touch memory of
 * its own. */
__attribute__((no_sanitize_address)) static uint64_t touch(uint8_t *memory)
{
    uint64_t before = faults();
    for (uint64_t page = 100; page < 130; page++)
        *(volatile uint8_t *)(memory + page * PAGE) += 1;
    for (uint64_t page = 130; page < 700; page += 3)
        *(volatile uint8_t *)(memory + page * PAGE + 5);
    for (uint64_t page = 5000; page < 6000; page += 7)
        *(volatile uint8_t *)(memory + page * PAGE + 9) = 1;
    *(volatile uint8_t *)(memory + SIZE - 1) = 1;
    return faults() - before;
}

/* Enough to be learnt from, where nothing else is. */
#define MUCH_FROM 15000ull
static void touch_much(uint8_t *memory)
{
    for (uint64_t page = MUCH_FROM; page < MUCH_FROM + WORKING_SET_MIN_PAGES; page++)
        memory[page * PAGE] = 1;
}

static bool is_of_much(uint64_t page)
{
    return page >= MUCH_FROM && page < MUCH_FROM + WORKING_SET_MIN_PAGES;
}

static uint8_t *begin(int fd, const uint8_t *memory)
{
    uint8_t *before = working_set_begin(fd, memory, SIZE);
    assert_non_null(before);
    return before;
}

static int learn_from_touched(int image)
{
    int fd = make_file();
    uint8_t *memory = map_image(image);
    uint8_t *before = begin(fd, memory);
    touch(memory);
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), 0);
    munmap(memory, SIZE);
    return fd;
}

static bool has_set(int fd, uint64_t memory_size)
{
    struct working_set set;
    if (working_set_read(fd, memory_size, &set) < 0)
        return false;
    working_set_free(&set);
    return true;
}

static void touching_what_is_populated_takes_no_fault(void **state)
{
    (void)state;
    int image = make_image();
    int fd = learn_from_touched(image);
    struct working_set set;
    assert_int_equal(working_set_read(fd, SIZE, &set), 0);
    uint8_t *bare = map_image(image);
    uint8_t *populated = map_image(image);
    working_set_populate(&set, WORKING_SET_ANSWER, populated);
    assert_true(touch(bare) > 150);
    assert_int_equal(touch(populated), 0);
    working_set_free(&set);
    munmap(bare, SIZE);
    munmap(populated, SIZE);
    close(fd);
    close(image);
}

static void what_was_touched_before_comes_with_the_start(void **state)
{
    (void)state;
    int image = make_image();
    int fd = make_file();
    uint8_t *memory = map_image(image);
    touch(memory);
    uint8_t *before = begin(fd, memory);
    touch_much(memory);
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), 0);
    munmap(memory, SIZE);
    struct working_set set;
    assert_int_equal(working_set_read(fd, SIZE, &set), 0);
    memory = map_image(image);
    working_set_populate(&set, WORKING_SET_ANSWER, memory);
    assert_true(touch(memory) > 150);
    munmap(memory, SIZE);
    memory = map_image(image);
    working_set_populate(&set, WORKING_SET_START, memory);
    assert_int_equal(touch(memory), 0);
    working_set_free(&set);
    munmap(memory, SIZE);
    close(fd);
    close(image);
}

static void populating_changes_neither_memory_nor_image(void **state)
{
    (void)state;
    int image = make_image();
    int fd = learn_from_touched(image);
    struct working_set set;
    assert_int_equal(working_set_read(fd, SIZE, &set), 0);
    uint8_t *memory = map_image(image);
    working_set_populate(&set, WORKING_SET_ANSWER, memory);
    memory[110 * PAGE + 1] = 0;
    for (uint64_t page = 0; page < PAGES; page++)
        assert_int_equal(memory[page * PAGE], page < PAGES / 2 ? content_of(page) : 0);
    uint8_t byte = 0;
    assert_int_equal(io_pread(image, &byte, 1, 110 * PAGE + 1), 0);
    assert_int_equal(byte, content_of(110));
    working_set_free(&set);
    munmap(memory, SIZE);
    close(fd);
    close(image);
}

static void what_is_learnt_is_what_was_touched_since(void **state)
{
    (void)state;
    int image = make_image();
    int fd = make_file();
    uint8_t *memory = map_image(image);
    memory[6 * PAGE] = 1;
    memory[1000 * PAGE] = 1;
    *(volatile uint8_t *)(memory + 2000 * PAGE);
    *(volatile uint8_t *)(memory + 3000 * PAGE);
    uint8_t *before = begin(fd, memory);
    memory[1000 * PAGE] = 2;
    *(volatile uint8_t *)(memory + 2000 * PAGE);
    memory[3000 * PAGE] = 1;
    memory[7 * PAGE] = 1;
    memory[8 * PAGE] = 1;
    *(volatile uint8_t *)(memory + 9 * PAGE);
    memory[SIZE - 1] = 1;
    touch_much(memory);
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), 0);
    struct working_set set;
    assert_int_equal(working_set_read(fd, SIZE, &set), 0);
    static uint8_t kinds[PAGES]; /* 1: read, 2: written */
    for (uint32_t i = set.start_count; i < set.count; i++)
        memset(kinds + set.ranges[i].first, set.ranges[i].written ? 2 : 1, set.ranges[i].count);
    for (uint64_t page = 0; page < PAGES; page++)
        assert_int_equal(kinds[page] == 2,
                         page == 7 || page == 8 || page == 3000 || page == PAGES - 1 || is_of_much(page));
    assert_int_equal(kinds[9], 1); /* and maybe its neighbours, which the kernel brings along */
    assert_int_equal(kinds[200], 0);
    assert_int_equal(kinds[2000], 0); /* it was there */
    memset(kinds, 0, sizeof kinds);
    for (uint32_t i = 0; i < set.start_count; i++)
        memset(kinds + set.ranges[i].first, set.ranges[i].written ? 2 : 1, set.ranges[i].count);
    for (uint64_t page = 0; page < PAGES; page++)
        assert_int_equal(kinds[page] == 2, page == 6 || page == 1000);
    assert_int_equal(kinds[2000], 1);
    assert_int_equal(kinds[3000], 1);
    assert_int_equal(kinds[9], 0);
    working_set_free(&set);
    munmap(memory, SIZE);
    close(fd);
    close(image);
}

static void a_set_is_learnt_once(void **state)
{
    (void)state;
    int image = make_image();
    int fd = learn_from_touched(image);
    uint64_t length = 0;
    uint64_t again = 0;
    assert_int_equal(io_size(fd, &length), 0);
    uint8_t *memory = map_image(image);
    assert_null(working_set_begin(fd, memory, SIZE));
    /* Unless what is there is none. */
    assert_int_equal(io_pwrite(fd, "?", 1, 40), 0);
    uint8_t *before = begin(fd, memory);
    touch_much(memory);
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), 0);
    assert_int_equal(io_size(fd, &again), 0);
    assert_true(again < length);
    assert_true(has_set(fd, SIZE));
    munmap(memory, SIZE);
    close(fd);
    close(image);
}

static void too_little_is_left_for_another_to_learn(void **state)
{
    (void)state;
    int image = make_image();
    int fd = make_file();
    uint8_t *memory = map_image(image);
    uint8_t *before = begin(fd, memory);
    memory[7 * PAGE] = 1;
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), -ENODATA);
    assert_false(has_set(fd, SIZE));
    before = begin(fd, memory);
    touch_much(memory);
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), 0);
    assert_true(has_set(fd, SIZE));
    munmap(memory, SIZE);
    close(fd);
    close(image);
}

static void nobody_learns_while_another_does(void **state)
{
    (void)state;
    int image = make_image();
    int fd = make_file();
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    uint8_t *memory = map_image(image);
    pid_t other = fork();
    if (other == 0) {
        if (working_set_begin(fd, memory, SIZE) != NULL && write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_null(working_set_begin(fd, memory, SIZE));
    /* It ends without having learnt anything. */
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    uint8_t *before = begin(fd, memory);
    touch_much(memory);
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), 0);
    assert_true(has_set(fd, SIZE));
    munmap(memory, SIZE);
    close(ready[0]);
    close(ready[1]);
    close(fd);
    close(image);
}

static void a_file_that_cannot_be_written_is_not_learnt_into(void **state)
{
    (void)state;
    char path[] = "/tmp/forkd-working-set-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    int read_only = open(path, O_RDONLY | O_CLOEXEC);
    unlink(path);
    int image = make_image();
    uint8_t *memory = map_image(image);
    assert_null(working_set_begin(read_only, memory, SIZE));
    munmap(memory, SIZE);
    close(read_only);
    close(fd);
    close(image);
}

static void more_than_the_limit_is_learnt_as_nothing(void **state)
{
    (void)state;
    int image = make_image();
    int fd = make_file();
    uint8_t *memory = map_image(image);
    uint8_t *before = begin(fd, memory);
    for (uint64_t page = 0; page <= WORKING_SET_MAX_WRITTEN / PAGE; page++)
        memory[page * PAGE] = 1;
    assert_int_equal(working_set_learn(fd, before, memory, SIZE), 0);
    struct working_set set;
    assert_int_equal(working_set_read(fd, SIZE, &set), 0);
    assert_int_equal(set.count, 0);
    working_set_populate(&set, WORKING_SET_ANSWER, memory);
    working_set_free(&set);
    munmap(memory, SIZE);
    close(fd);
    close(image);
}

static void what_is_fetched_comes_into_the_page_cache(void **state)
{
    (void)state;
    int image = make_image();
    int fd = learn_from_touched(image);
    struct working_set set;
    assert_int_equal(working_set_read(fd, SIZE, &set), 0);
    uint8_t *memory = map_image(image);
    assert_int_equal(io_sync(image), 0);
    assert_int_equal(posix_fadvise(image, 0, 0, POSIX_FADV_DONTNEED), 0);
    working_set_fetch(&set, image);
    uint64_t missing = 1;
    for (int i = 0; i < 1000 && missing > 0; i++) {
        static unsigned char there[PAGES];
        usleep(10000);
        assert_int_equal(mincore(memory, SIZE, there), 0);
        missing = 0;
        for (uint32_t range = 0; range < set.count; range++) {
            for (uint32_t page = 0; page < set.ranges[range].count; page++)
                missing += (there[set.ranges[range].first + page] & 1) == 0;
        }
    }
    assert_int_equal(missing, 0);
    working_set_free(&set);
    munmap(memory, SIZE);
    close(fd);
    close(image);
}

/* --- hostile files --- */

static uint8_t bytes[WORKING_SET_MAX_BYTES + WORKING_SET_RANGE_SIZE];

static void seal(size_t length)
{
    size_t ranges = length - WORKING_SET_HEADER_SIZE;
    bytes_store(bytes + 24, crc32c(0, bytes + WORKING_SET_HEADER_SIZE, ranges), 4);
    bytes_store(bytes + 28, crc32c(0, bytes, 28), 4);
}

/* A set as it is written; its length. */
static size_t make_set(const struct range *ranges, uint32_t count)
{
    memcpy(bytes, "FORKDWST", 8);
    bytes_store(bytes + 8, 1, 4);
    bytes_store(bytes + 12, count, 4);
    bytes_store(bytes + 16, LARGE, 8);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t *at = bytes + WORKING_SET_HEADER_SIZE + (size_t)i * WORKING_SET_RANGE_SIZE;
        bytes_store(at, ranges[i].first, 8);
        bytes_store(at + 8, ranges[i].count, 4);
        bytes_store(at + 12, ranges[i].kind, 4);
    }
    size_t length = WORKING_SET_HEADER_SIZE + (size_t)count * WORKING_SET_RANGE_SIZE;
    seal(length);
    return length;
}

static int decode(size_t length, uint64_t memory_size)
{
    struct working_set set;
    int rc = working_set_decode(bytes, length, memory_size, &set);
    if (rc == 0)
        working_set_free(&set);
    return rc;
}

static const struct range good[] = {{1, 1, 3}, {7, 2, 2},           {0, 1, 1},
                                    {1, 2, 0}, {100, 16384 - 2, 1}, {(1 << 20) - 1, 1, 0}};
#define GOOD make_set(good, 6)

static void a_good_set_is_one(void **state)
{
    (void)state;
    assert_int_equal(decode(GOOD, LARGE), 0);
    assert_int_equal(decode(make_set(NULL, 0), LARGE), 0);
}

static void every_flipped_bit_makes_it_none(void **state)
{
    (void)state;
    size_t length = GOOD;
    for (size_t bit = 0; bit < 8 * length; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(decode(length, LARGE), -EBADMSG);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(decode(length, LARGE), 0);
}

static void every_other_length_makes_it_none(void **state)
{
    (void)state;
    size_t length = GOOD;
    for (size_t other = 0; other <= length + WORKING_SET_RANGE_SIZE; other++)
        assert_int_equal(decode(other, LARGE), other == length ? 0 : -EBADMSG);
}

static void a_file_that_was_cut_short_is_none(void **state)
{
    (void)state;
    int fd = make_file();
    assert_false(has_set(fd, LARGE));
    size_t length = GOOD;
    /* The header is written last. */
    assert_int_equal(io_pwrite(fd, bytes + 32, length - 32, 32), 0);
    assert_false(has_set(fd, LARGE));
    assert_int_equal(io_pwrite(fd, bytes, 32, 0), 0);
    assert_true(has_set(fd, LARGE));
    assert_int_equal(ftruncate(fd, (off_t)length - 1), 0);
    assert_false(has_set(fd, LARGE));
    assert_int_equal(ftruncate(fd, (off_t)1 << 40), 0);
    assert_false(has_set(fd, LARGE));
    close(fd);
}

static void a_set_of_another_memory_is_none(void **state)
{
    (void)state;
    size_t length = GOOD;
    assert_int_equal(decode(length, LARGE - PAGE), -EBADMSG);
    assert_int_equal(decode(length, LARGE + PAGE), -EBADMSG);
}

static void a_newer_format_is_none(void **state)
{
    (void)state;
    size_t length = GOOD;
    bytes_store(bytes + 8, 2, 4);
    seal(length);
    assert_int_equal(decode(length, LARGE), -EBADMSG);
}

#define REFUSED(...)                                                                                         \
    do {                                                                                                     \
        const struct range ranges[] = {__VA_ARGS__};                                                         \
        assert_int_equal(decode(make_set(ranges, sizeof ranges / sizeof ranges[0]), LARGE), -EBADMSG);       \
    } while (0)

static void ranges_that_cannot_be_are_refused(void **state)
{
    (void)state;
    REFUSED({5, 0, 1});
    REFUSED({5, 1, 4});
    REFUSED({5, 1, 0}, {6, 1, 2});
    REFUSED({5, 2, 2}, {6, 1, 3});
    REFUSED({1 << 20, 1, 0});
    REFUSED({(1 << 20) - 1, 2, 0});
    REFUSED({UINT64_MAX, 2, 0});
    REFUSED({5, 2, 0}, {6, 1, 1});
    REFUSED({5, 1, 0}, {4, 1, 1});
}

static void a_set_over_a_limit_is_refused(void **state)
{
    (void)state;
    REFUSED({0, 16384 + 1, 1});
    REFUSED({0, 16384, 1}, {20000, 1, 1});
    REFUSED({0, 16384, 3}, {20000, 1, 1});
    REFUSED({0, 65536 + 1, 0});
    static struct range many[WORKING_SET_MAX_RANGES + 1];
    for (uint32_t i = 0; i <= WORKING_SET_MAX_RANGES; i++)
        many[i] = (struct range){.first = i, .count = 1, .kind = i % 8 == 0};
    assert_int_equal(decode(make_set(many, WORKING_SET_MAX_RANGES), LARGE), 0);
    assert_int_equal(decode(make_set(many, WORKING_SET_MAX_RANGES + 1), LARGE), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(touching_what_is_populated_takes_no_fault),
        cmocka_unit_test(what_was_touched_before_comes_with_the_start),
        cmocka_unit_test(populating_changes_neither_memory_nor_image),
        cmocka_unit_test(what_is_learnt_is_what_was_touched_since),
        cmocka_unit_test(a_set_is_learnt_once),
        cmocka_unit_test(too_little_is_left_for_another_to_learn),
        cmocka_unit_test(nobody_learns_while_another_does),
        cmocka_unit_test(a_file_that_cannot_be_written_is_not_learnt_into),
        cmocka_unit_test(more_than_the_limit_is_learnt_as_nothing),
        cmocka_unit_test(what_is_fetched_comes_into_the_page_cache),
        cmocka_unit_test(a_good_set_is_one),
        cmocka_unit_test(every_flipped_bit_makes_it_none),
        cmocka_unit_test(every_other_length_makes_it_none),
        cmocka_unit_test(a_file_that_was_cut_short_is_none),
        cmocka_unit_test(a_set_of_another_memory_is_none),
        cmocka_unit_test(a_newer_format_is_none),
        cmocka_unit_test(ranges_that_cannot_be_are_refused),
        cmocka_unit_test(a_set_over_a_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The block device over real files. */
#include "driver.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mmio.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* After what it needs. */
#include <cmocka.h>

#define QUEUE_SIZE 32u
#define DISK_BYTES (1u << 20)
#define SECTORS (DISK_BYTES / DISK_SECTOR_SIZE)
#define HEADER sizeof(struct virtio_blk_outhdr)
#define NO_STATUS 0xee

struct fixture {
    struct driver driver;
    struct virtio_device *device;
    struct disk *disk;
    int image; /* another descriptor of the image */
    int scratch;
    uint64_t header;
    uint64_t data;
    uint64_t status;
    uint32_t used; /* length in the last used element */
};

static int new_image(void)
{
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    static uint8_t bytes[DISK_BYTES];
    for (uint32_t i = 0; i < DISK_BYTES; i++)
        bytes[i] = (uint8_t)(i / DISK_SECTOR_SIZE + i);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    return fd;
}

static int set_up_mode(void **state, uint32_t mode)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    driver_open(&f->driver, 4u << 20);
    f->scratch = open("/tmp", O_PATH | O_DIRECTORY | O_CLOEXEC);
    f->image = new_image();
    int fd = dup(f->image);
    assert_true(f->scratch >= 0 && fd >= 0);
    assert_int_equal(disk_open(&f->disk, "test", mode, fd, NULL, 0, f->scratch, NULL), 0);
    assert_int_equal(block_create(&f->device, &f->driver.machine, DRIVER_GSI, f->disk, NULL), 0);
    driver_start(&f->driver, f->device, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
                 QUEUE_SIZE);
    f->header = driver_allocate(&f->driver, 4096);
    f->data = driver_allocate(&f->driver, 64 * 1024);
    f->status = driver_allocate(&f->driver, 4096);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_mode(state, FORKD_DISK_PRIVATE);
}

static int set_up_read_only(void **state)
{
    return set_up_mode(state, FORKD_DISK_READ_ONLY);
}

static int set_up_shared(void **state)
{
    return set_up_mode(state, FORKD_DISK_SHARED);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->device->ops->close(f->device);
    disk_close(f->disk);
    close(f->image);
    close(f->scratch);
    driver_close(&f->driver);
    free(f);
    return 0;
}

static void put_header(struct fixture *f, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr header = {.type = type, .sector = sector};
    memcpy(driver_at(&f->driver, f->header), &header, sizeof header);
    *(uint8_t *)driver_at(&f->driver, f->status) = NO_STATUS;
}

static uint8_t submit(struct fixture *f, const struct driver_buffer *buffers, uint16_t count)
{
    uint16_t head;
    driver_add(&f->driver, 0, buffers, count);
    driver_kick(&f->driver, 0);
    assert_true(driver_collect(&f->driver, 0, &head, &f->used));
    return *(uint8_t *)driver_at(&f->driver, f->status);
}

/* One request with `length` bytes of data, as Linux lays it out. */
static uint8_t transfer(struct fixture *f, uint32_t type, uint64_t sector, uint32_t length, bool to_guest)
{
    struct driver_buffer buffers[3] = {{f->header, HEADER, false}};
    uint16_t count = 1;
    put_header(f, type, sector);
    if (length > 0)
        buffers[count++] = (struct driver_buffer){f->data, length, to_guest};
    buffers[count++] = (struct driver_buffer){f->status, 1, true};
    return submit(f, buffers, count);
}

static uint8_t image_byte(uint64_t offset)
{
    return (uint8_t)(offset / DISK_SECTOR_SIZE + offset);
}

static void configuration_describes_the_disk(void **state)
{
    struct fixture *f = *state;
    struct virtio_blk_config config;
    uint8_t *bytes = (uint8_t *)&config;
    for (uint32_t i = 0; i < sizeof config; i++)
        virtio_mmio_read(f->device, VIRTIO_MMIO_CONFIG + i, bytes + i, 1);
    assert_int_equal(config.capacity, SECTORS);
    assert_int_equal(config.seg_max, 254);
    assert_int_equal(config.blk_size, 512);
    assert_int_equal(config.physical_block_exp, 3);
    assert_int_equal(config.max_write_zeroes_seg, 1);
    const uint32_t features[] = {VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_WRITE_ZEROES,
                                 VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_TOPOLOGY};
    for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
        assert_true(virtio_has_feature(f->device, features[i]));
    assert_false(virtio_has_feature(f->device, VIRTIO_BLK_F_RO));
}

static void read_gives_the_images_bytes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 3, 8192, true), VIRTIO_BLK_S_OK);
    assert_int_equal(f->used, 8193);
    const uint8_t *data = driver_at(&f->driver, f->data);
    for (uint32_t i = 0; i < 8192; i++)
        assert_int_equal(data[i], image_byte(3 * 512 + i));
}

static void last_sector_can_be_read(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, SECTORS - 1, 512, true), VIRTIO_BLK_S_OK);
    assert_int_equal(*(uint8_t *)driver_at(&f->driver, f->data), image_byte(DISK_BYTES - 512));
}

static void written_data_is_read_back_and_the_image_stays(void **state)
{
    struct fixture *f = *state;
    memset(driver_at(&f->driver, f->data), 0xaa, 1024);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 7, 1024, false), VIRTIO_BLK_S_OK);
    assert_int_equal(f->used, 1);
    memset(driver_at(&f->driver, f->data), 0, 1024);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 6, 2048, true), VIRTIO_BLK_S_OK);
    const uint8_t *data = driver_at(&f->driver, f->data);
    assert_int_equal(data[511], image_byte(7 * 512 - 1));
    assert_int_equal(data[512], 0xaa);
    assert_int_equal(data[1535], 0xaa);
    assert_int_equal(data[1536], image_byte(9 * 512));
    uint8_t byte;
    assert_int_equal(pread(f->image, &byte, 1, 7 * 512), 1);
    assert_int_equal(byte, image_byte(7 * 512));
}

static void shared_disk_writes_through(void **state)
{
    struct fixture *f = *state;
    memset(driver_at(&f->driver, f->data), 0xaa, 512);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 7, 512, false), VIRTIO_BLK_S_OK);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
    uint8_t byte;
    assert_int_equal(pread(f->image, &byte, 1, 7 * 512), 1);
    assert_int_equal(byte, 0xaa);
}

static void read_only_disk_refuses_writes(void **state)
{
    struct fixture *f = *state;
    assert_true(virtio_has_feature(f->device, VIRTIO_BLK_F_RO));
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 7, 512, false), VIRTIO_BLK_S_IOERR);
    struct virtio_blk_discard_write_zeroes range = {.sector = 0, .num_sectors = 1};
    memcpy(driver_at(&f->driver, f->data), &range, sizeof range);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof range, false), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 7, 512, true), VIRTIO_BLK_S_OK);
}

static void header_and_data_may_be_in_any_pieces(void **state)
{
    struct fixture *f = *state;
    put_header(f, VIRTIO_BLK_T_IN, 1);
    /* Data in odd pieces, and the status byte at the end of the last of them. */
    struct driver_buffer buffers[] = {{f->header, 3, false},      {f->header + 3, 10, false},
                                      {f->header + 13, 3, false}, {f->data, 100, true},
                                      {f->data + 100, 411, true}, {f->data + 511, 2, true}};
    submit(f, buffers, 6);
    const uint8_t *data = driver_at(&f->driver, f->data);
    for (uint32_t i = 0; i < 512; i++)
        assert_int_equal(data[i], image_byte(512 + i));
    assert_int_equal(data[512], VIRTIO_BLK_S_OK);
    assert_int_equal(f->used, 513);

    put_header(f, VIRTIO_BLK_T_OUT, 1);
    memset(driver_at(&f->driver, f->header + HEADER), 0xbb, 512);
    struct driver_buffer joined[] = {
        {f->header, 10, false}, {f->header + 10, HEADER - 10 + 512, false}, {f->status, 1, true}};
    assert_int_equal(submit(f, joined, 3), VIRTIO_BLK_S_OK);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 1, 512, true), VIRTIO_BLK_S_OK);
    assert_int_equal(data[0], 0xbb);
    assert_int_equal(data[511], 0xbb);
}

static void requests_out_of_range_fail(void **state)
{
    struct fixture *f = *state;
    const uint64_t sectors[] = {SECTORS, SECTORS - 1, UINT64_MAX, UINT64_MAX / 512, 1ull << 55};
    for (size_t i = 0; i < sizeof sectors / sizeof sectors[0]; i++) {
        assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, sectors[i], 1024, true), VIRTIO_BLK_S_IOERR);
        assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, sectors[i], 1024, false), VIRTIO_BLK_S_IOERR);
        assert_int_equal(f->used, 1);
    }
}

static void requests_of_odd_length_fail(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 0, 511, true), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 0, 513, false), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 0, 0, true), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 0, 0, false), VIRTIO_BLK_S_IOERR);
}

static void unknown_requests_are_unsupported(void **state)
{
    struct fixture *f = *state;
    const uint32_t types[] = {2, 3, 5, 10, VIRTIO_BLK_T_SECURE_ERASE, UINT32_MAX};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        assert_int_equal(transfer(f, types[i], 0, 512, false), VIRTIO_BLK_S_UNSUPP);
}

static void id_is_given(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(transfer(f, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES, true), VIRTIO_BLK_S_OK);
    assert_string_equal(driver_at(&f->driver, f->data), "forkd");
    assert_int_equal(f->used, VIRTIO_BLK_ID_BYTES + 1);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES - 1, true), VIRTIO_BLK_S_IOERR);
}

static uint8_t range(struct fixture *f, uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    struct virtio_blk_discard_write_zeroes range = {.sector = sector, .num_sectors = sectors, .flags = flags};
    memcpy(driver_at(&f->driver, f->data), &range, sizeof range);
    return transfer(f, type, 0, sizeof range, false);
}

static uint8_t zero(struct fixture *f, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    return range(f, VIRTIO_BLK_T_WRITE_ZEROES, sector, sectors, flags);
}

static uint8_t discard(struct fixture *f, uint64_t sector, uint32_t sectors, uint32_t flags)
{
    return range(f, VIRTIO_BLK_T_DISCARD, sector, sectors, flags);
}

static void what_is_discarded_reads_as_zeroes(void **state)
{
    struct fixture *f = *state;
    assert_true(virtio_has_feature(f->device, VIRTIO_BLK_F_DISCARD));
    memset(driver_at(&f->driver, f->data), 0xaa, 4096);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 8, 4096, false), VIRTIO_BLK_S_OK);
    assert_int_equal(discard(f, 8, 16, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 0, 32 * 512, true), VIRTIO_BLK_S_OK);
    const uint8_t *data = driver_at(&f->driver, f->data);
    for (uint32_t i = 0; i < 32 * 512; i++)
        assert_int_equal(data[i], i / 512 >= 8 && i / 512 < 24 ? 0 : image_byte(i));
    assert_int_equal(discard(f, 0, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(discard(f, SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(discard(f, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
}

static void zeroed_range_reads_as_zeroes(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(zero(f, 5, 20, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(zero(f, 30, 2, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP), VIRTIO_BLK_S_OK);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 0, 33 * 512, true), VIRTIO_BLK_S_OK);
    const uint8_t *data = driver_at(&f->driver, f->data);
    for (uint32_t i = 0; i < 33 * 512; i++) {
        bool zeroed = (i / 512 >= 5 && i / 512 < 25) || i / 512 == 30 || i / 512 == 31;
        assert_int_equal(data[i], zeroed ? 0 : image_byte(i));
    }
}

static void bad_zero_requests_fail(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(zero(f, SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(zero(f, UINT64_MAX, 2, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(zero(f, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
    assert_int_equal(zero(f, 0, 1, 2), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 15, false), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 32, false), VIRTIO_BLK_S_IOERR);
    assert_int_equal(zero(f, 0, 0, 0), VIRTIO_BLK_S_OK);
}

static void expect_failed(struct fixture *f, const struct driver_buffer *buffers, uint16_t count)
{
    driver_add(&f->driver, 0, buffers, count);
    driver_kick(&f->driver, 0);
    assert_true(driver_read(&f->driver, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void request_without_a_status_byte_fails_the_device(void **state)
{
    struct fixture *f = *state;
    put_header(f, VIRTIO_BLK_T_OUT, 0);
    struct driver_buffer buffers[] = {{f->header, HEADER, false}, {f->data, 512, false}};
    expect_failed(f, buffers, 2);
}

static void request_with_a_short_header_fails_the_device(void **state)
{
    struct fixture *f = *state;
    put_header(f, VIRTIO_BLK_T_IN, 0);
    struct driver_buffer buffers[] = {{f->header, HEADER - 1, false}, {f->data, 513, true}};
    expect_failed(f, buffers, 2);
}

static void many_requests_get_one_interrupt(void **state)
{
    struct fixture *f = *state;
    uint16_t head;
    uint32_t length;
    put_header(f, VIRTIO_BLK_T_IN, 0);
    struct driver_buffer buffers[] = {{f->header, HEADER, false}, {f->data, 513, true}};
    for (int i = 0; i < 16; i++)
        driver_add(&f->driver, 0, buffers, 2);
    driver_kick(&f->driver, 0);
    assert_int_equal(f->driver.irq_calls, 1);
    for (int i = 0; i < 16; i++)
        assert_true(driver_collect(&f->driver, 0, &head, &length));
}

static void state_goes_through_the_battery(void **state)
{
    struct fixture *f = *state;
    struct virtio_device *fresh;
    assert_int_equal(block_create(&fresh, &f->driver.machine, DRIVER_GSI, f->disk, NULL), 0);
    driver_state_battery(f->device, fresh);
    fresh->ops->close(fresh);
}

static void disk_of_another_size_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vmstate_writer saved;
    struct virtio_device *other;
    struct disk *disk;
    int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, DISK_BYTES + 512), 0);
    assert_int_equal(disk_open(&disk, "other", FORKD_DISK_PRIVATE, fd, NULL, 0, f->scratch, NULL), 0);
    assert_int_equal(block_create(&other, &f->driver.machine, DRIVER_GSI, disk, NULL), 0);
    driver_save(f->device, &saved);
    assert_int_equal(driver_restore(other, &saved), -EBADMSG);
    vmstate_writer_free(&saved);
    other->ops->close(other);
    disk_close(disk);
}

#define RATE 4096u /* bytes a second: of what the tests owe, much more than they take */

static void what_is_refused_owes_nothing(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(block_limit(f->device, RATE, FORKD_UNLIMITED, NULL), 0);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, SECTORS, 16 * RATE, true), VIRTIO_BLK_S_IOERR);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
}

static void device_that_is_put_back_owes_nothing(void **state)
{
    struct fixture *f = *state;
    struct vmstate_writer saved;
    uint16_t head;
    assert_int_equal(block_limit(f->device, RATE, FORKD_UNLIMITED, NULL), 0);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 0, 16 * RATE, true), VIRTIO_BLK_S_OK);
    driver_save(f->device, &saved);
    put_header(f, VIRTIO_BLK_T_FLUSH, 0);
    const struct driver_buffer buffers[] = {{f->header, HEADER, false}, {f->status, 1, true}};
    driver_add(&f->driver, 0, buffers, 2);
    driver_kick(&f->driver, 0);
    assert_false(driver_collect(&f->driver, 0, &head, &f->used));
    assert_int_equal(driver_restore(f->device, &saved), 0);
    vmstate_writer_free(&saved);
    driver_kick(&f->driver, 0);
    assert_true(driver_collect(&f->driver, 0, &head, &f->used));
}

/* Read `length` bytes `count` times, all offered at once; what was served at first in *at_once. Returns how
 * long all took, in microseconds. */
static uint64_t read_many(struct fixture *f, uint32_t count, uint32_t length, uint32_t *at_once)
{
    uint16_t head;
    put_header(f, VIRTIO_BLK_T_IN, 0);
    const struct driver_buffer buffers[] = {
        {f->header, HEADER, false}, {f->data, length, true}, {f->status, 1, true}};
    for (uint32_t i = 0; i < count; i++)
        driver_add(&f->driver, 0, buffers, 3);
    uint64_t start = clock_now_us();
    driver_kick(&f->driver, 0);
    uint32_t done = 0;
    while (driver_collect(&f->driver, 0, &head, &f->used))
        done++;
    *at_once = done;
    for (int i = 0; done < count; i++) {
        assert_true(i < 1000);
        driver_run(&f->driver, 1000);
        while (driver_collect(&f->driver, 0, &head, &f->used))
            done++;
    }
    return clock_now_us() - start;
}

static void requests_past_the_rate_wait(void **state)
{
    struct fixture *f = *state;
    uint32_t at_once;
    assert_int_equal(block_limit(f->device, FORKD_UNLIMITED, 20, NULL), 0);
    /* Less a tenth of a second's worth, and the one with which that is used up. */
    uint64_t took = read_many(f, 10, 512, &at_once);
    assert_true(at_once >= 1);
    assert_true(took >= 7 * 1000000 / 20);
}

static void bytes_past_the_rate_wait(void **state)
{
    struct fixture *f = *state;
    uint32_t at_once;
    assert_int_equal(block_limit(f->device, 1 << 20, FORKD_UNLIMITED, NULL), 0);
    uint64_t took = read_many(f, 8, 65536, &at_once);
    assert_true(at_once >= 1);
    assert_true(took >= 5 * 1000000 / 16);
}

static void a_request_larger_than_the_rate_gets_through(void **state)
{
    struct fixture *f = *state;
    uint32_t at_once;
    assert_int_equal(block_limit(f->device, 4096, FORKD_UNLIMITED, NULL), 0);
    read_many(f, 1, 65536, &at_once);
    assert_int_equal(at_once, 1);
}

/* In the queue, where a pause, a branch and a reset find them. */
static void waiting_requests_are_not_begun(void **state)
{
    struct fixture *f = *state;
    uint16_t head;
    assert_int_equal(block_limit(f->device, FORKD_UNLIMITED, 1, NULL), 0);
    put_header(f, VIRTIO_BLK_T_IN, 0);
    const struct driver_buffer buffers[] = {
        {f->header, HEADER, false}, {f->data, 512, true}, {f->status, 1, true}};
    for (int i = 0; i < 10; i++)
        driver_add(&f->driver, 0, buffers, 3);
    driver_kick(&f->driver, 0);
    int done = 0;
    while (driver_collect(&f->driver, 0, &head, &f->used))
        done++;
    assert_int_equal(virtqueue_available(&f->device->queues[0]), 10 - done);
    driver_write(&f->driver, VIRTIO_MMIO_STATUS, 0);
    driver_run(&f->driver, 1500); /* the timer, of a device that has no queue any more */
    driver_start(&f->driver, f->device, UINT64_MAX & ~DRIVER_FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
                 QUEUE_SIZE);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_IN, 3, 512, true), VIRTIO_BLK_S_OK);
}

static void a_write_past_the_quota_fails(void **state)
{
    struct fixture *f = *state;
    struct disk_quota quota = {.most = 2};
    disk_set_quota(f->disk, &quota);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 0, 8192, false), VIRTIO_BLK_S_OK);
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 16, 4096, false), VIRTIO_BLK_S_IOERR);
    assert_true(quota.reached);
    assert_false(disk_host_full(f->disk));
    assert_int_equal(transfer(f, VIRTIO_BLK_T_OUT, 8, 4096, false), VIRTIO_BLK_S_OK);
}

static bool forbid_threads(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAGAIN),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof code[0], .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void without_a_thread_the_loop_does_it(void **state)
{
    struct fixture *f = *state;
    uint8_t *data = driver_at(&f->driver, f->data);
    pid_t pid = fork();
    if (pid == 0) {
        bool right = forbid_threads();
        memset(data, 0xaa, 8192);
        right = right && transfer(f, VIRTIO_BLK_T_OUT, 8, 8192, false) == VIRTIO_BLK_S_OK;
        memset(data, 0, 8192);
        right = right && transfer(f, VIRTIO_BLK_T_IN, 8, 8192, true) == VIRTIO_BLK_S_OK && data[0] == 0xaa &&
                data[8191] == 0xaa && transfer(f, VIRTIO_BLK_T_FLUSH, 0, 0, false) == VIRTIO_BLK_S_OK;
        _exit(right ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(configuration_describes_the_disk),
        TEST(read_gives_the_images_bytes),
        TEST(last_sector_can_be_read),
        TEST(written_data_is_read_back_and_the_image_stays),
        TEST(what_is_refused_owes_nothing),
        TEST(device_that_is_put_back_owes_nothing),
        cmocka_unit_test_setup_teardown(shared_disk_writes_through, set_up_shared, tear_down),
        cmocka_unit_test_setup_teardown(read_only_disk_refuses_writes, set_up_read_only, tear_down),
        TEST(header_and_data_may_be_in_any_pieces),
        TEST(requests_out_of_range_fail),
        TEST(requests_of_odd_length_fail),
        TEST(unknown_requests_are_unsupported),
        TEST(id_is_given),
        TEST(zeroed_range_reads_as_zeroes),
        TEST(bad_zero_requests_fail),
        TEST(what_is_discarded_reads_as_zeroes),
        TEST(request_without_a_status_byte_fails_the_device),
        TEST(request_with_a_short_header_fails_the_device),
        TEST(many_requests_get_one_interrupt),
        TEST(state_goes_through_the_battery),
        TEST(disk_of_another_size_is_refused),
        TEST(requests_past_the_rate_wait),
        TEST(bytes_past_the_rate_wait),
        TEST(a_request_larger_than_the_rate_gets_through),
        TEST(waiting_requests_are_not_begun),
        TEST(a_write_past_the_quota_fails),
        TEST(without_a_thread_the_loop_does_it),
    };
    return cmocka_run_group_tests_name("block", tests, NULL, NULL);
}

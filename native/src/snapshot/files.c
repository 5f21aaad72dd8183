/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/files.h"

#include "base/broker.h"
#include "base/io.h"
#include "snapshot/memory_image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME_SIZE 32
#define IMAGE "memory.bin"
#define LAYER "memory.layer"

static void disk_name(char name[NAME_SIZE], uint32_t index)
{
    snprintf(name, NAME_SIZE, "disk-%u.layer", index);
}

static int create_file(int directory, const char *name, struct forkd_error *err)
{
    int fd = broker_open(directory, name, O_RDWR | O_CREAT | O_EXCL, 0600);
    return fd < 0 ? error_set(err, fd, "create", name, NULL) : fd;
}

/* Sync, close, and report the first failure. */
static int finish_file(const char *name, int fd, int result, struct forkd_error *err)
{
    if (result == 0 && (result = io_sync(fd)) < 0)
        error_set(err, result, "sync", name, NULL);
    close(fd);
    return result;
}

static int write_memory(const struct snapshot_source *source, int directory, struct forkd_error *err)
{
    const char *name = source->over_base ? LAYER : IMAGE;
    int fd = create_file(directory, name, err);
    if (fd < 0)
        return fd;
    int result = source->over_base ? memory_layer_write(fd, source->memory, source->memory_size, err)
                                   : memory_image_write(fd, source->memory, source->memory_size,
                                                        source->memory_base_fd, err);
    return finish_file(name, fd, result, err);
}

static int write_disk(const struct snapshot_source *source, uint32_t index, int directory,
                      struct forkd_error *err)
{
    if (disk_mode(source->disks[index]) != FORKD_DISK_PRIVATE)
        return 0;
    char name[NAME_SIZE];
    disk_name(name, index);
    int fd = create_file(directory, name, err);
    if (fd < 0)
        return fd;
    bool written = false;
    int result = disk_save_layer(source->disks[index], fd, source->over_base, &written, err);
    result = finish_file(name, fd, result, err);
    if (result == 0 && !written)
        broker_unlink(directory, name);
    return result;
}

static int write_state(const struct snapshot_source *source, int directory, struct forkd_error *err)
{
    int fd = broker_open(directory, SNAPSHOT_STAGED, O_RDWR, 0);
    if (fd < 0)
        return error_set(err, fd, "open", SNAPSHOT_STAGED, "somebody has removed it");
    int result = io_pwrite(fd, source->vmstate, source->vmstate_length, 0);
    if (result < 0)
        error_set(err, result, "write", SNAPSHOT_STATE, NULL);
    result = finish_file(SNAPSHOT_STATE, fd, result, err);
    /* The other files' names are to be there before this one is. */
    if (result == 0 && fsync(directory) < 0)
        result = error_set(err, errno, "sync", "snapshot folder", NULL);
    int renamed = result == 0 ? broker_rename(directory, SNAPSHOT_STAGED, SNAPSHOT_STATE) : 0;
    if (renamed < 0)
        result = error_set(err, renamed, "rename", SNAPSHOT_STATE, NULL);
    if (result == 0 && fsync(directory) < 0)
        result = error_set(err, errno, "sync", "snapshot folder", NULL);
    return result;
}

static int check_absent(int directory, const char *name, struct forkd_error *err)
{
    /* What cannot be told is not absent, since what is absent now is removed after a failure. */
    int found = broker_find(directory, name);
    if (found < 0)
        return found == -ENOENT ? 0 : error_set(err, found, "stat", name, NULL);
    return error_set(err, EEXIST, "create", name, "the folder has a file of this name already; take another");
}

bool snapshot_is_file(const char *name)
{
    if (strcmp(name, SNAPSHOT_STATE) == 0 || strcmp(name, SNAPSHOT_STAGED) == 0 || strcmp(name, IMAGE) == 0 ||
        strcmp(name, LAYER) == 0)
        return true;
    for (uint32_t i = 0; i < FORKD_MAX_DISKS; i++) {
        char disk[NAME_SIZE];
        disk_name(disk, i);
        if (strcmp(name, disk) == 0)
            return true;
    }
    return false;
}

int snapshot_claim(uint32_t disk_count, int directory, struct forkd_error *err)
{
    static const char *const names[] = {SNAPSHOT_STATE, IMAGE, LAYER};
    int fd = broker_open(directory, SNAPSHOT_STAGED, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return error_set(err, fd, "create", SNAPSHOT_STAGED,
                         fd == -EEXIST ? "a snapshot is being written to this folder, or was not finished"
                                       : NULL);
    close(fd);
    /* Only now, when no other snapshot can begin here. */
    int result = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && result == 0; i++)
        result = check_absent(directory, names[i], err);
    for (uint32_t i = 0; i < disk_count && result == 0; i++) {
        char name[NAME_SIZE];
        disk_name(name, i);
        result = check_absent(directory, name, err);
    }
    if (result < 0)
        broker_unlink(directory, SNAPSHOT_STAGED);
    return result;
}

int snapshot_write(const struct snapshot_source *source, int directory, struct forkd_error *err)
{
    int result = write_memory(source, directory, err);
    for (uint32_t i = 0; i < source->disk_count && result == 0; i++)
        result = write_disk(source, i, directory, err);
    if (result == 0)
        result = write_state(source, directory, err);
    return result;
}

/* The claim goes last: until then nobody else's files can be here. */
void snapshot_remove(uint32_t disk_count, int directory)
{
    broker_unlink(directory, SNAPSHOT_STATE);
    broker_unlink(directory, IMAGE);
    broker_unlink(directory, LAYER);
    for (uint32_t i = 0; i < disk_count; i++) {
        char name[NAME_SIZE];
        disk_name(name, i);
        broker_unlink(directory, name);
    }
    broker_unlink(directory, SNAPSHOT_STAGED);
}

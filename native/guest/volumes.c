/* SPDX-License-Identifier: Apache-2.0 */
#include "volumes.h"

#include "clock.h"
#include "console.h"
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define DEVICE_WAIT_MS 1000

static struct cmdline_mount volumes[VOLUMES_MAX];
static size_t volume_count;

/* Requests come from several threads, and getmntent(3) is not for more than one. */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

void volumes_init(const char *cmdline)
{
    char list[CMDLINE_SIZE];
    if (!cmdline_value(cmdline, "forkd.mounts", list, sizeof list))
        return;
    const char *rest = list;
    while (volume_count < VOLUMES_MAX) {
        struct forkd_error err;
        int found = cmdline_next_mount(&rest, &volumes[volume_count], &err);
        if (found == 0)
            return;
        if (found < 0)
            console_error(&err);
        else
            volume_count++;
    }
}

static void device_path(const struct cmdline_mount *volume, char path[64])
{
    snprintf(path, 64, "/dev/%.*s", (int)sizeof volume->device, volume->device);
}

/* By its device: the folder may be a symbolic link, or have been mounted over. */
static bool is_mounted(const struct cmdline_mount *volume)
{
    char device[64];
    device_path(volume, device);
    FILE *table = setmntent("/proc/self/mounts", "re");
    struct mntent *entry = NULL;
    while (table && (entry = getmntent(table)) && strcmp(entry->mnt_fsname, device) != 0)
        ;
    if (table)
        endmntent(table);
    return entry;
}

static int mount_one(const struct cmdline_mount *volume)
{
    char device[64];
    device_path(volume, device);
    mounts_make_path(volume->target);
    for (int64_t end = clock_now_ms() + DEVICE_WAIT_MS; access(device, F_OK) < 0 && clock_now_ms() < end;)
        clock_sleep_ms(10);
    int status = mounts_device(device, volume->target, NULL, volume->read_only);
    if (status < 0) {
        struct forkd_error err;
        error_say(&err, status, "mount", device, "volume %s on %s: %s", device, volume->target,
                  strerror(-status));
        console_error(&err);
    }
    return status;
}

int volumes_mount(struct forkd_error *err)
{
    int status = 0;
    pthread_mutex_lock(&turn);
    for (size_t i = 0; i < volume_count; i++) {
        int mounted = is_mounted(&volumes[i]) ? 0 : mount_one(&volumes[i]);
        if (mounted < 0 && status == 0)
            status = error_set(err, mounted, "volume on", volumes[i].target, NULL);
    }
    pthread_mutex_unlock(&turn);
    return status;
}

static void write_out(const char *target)
{
    int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || syncfs(fd) < 0)
        console_failure(errno, "volume on", target);
    if (fd >= 0)
        close(fd);
}

void volumes_unmount(struct volumes_busy *busy)
{
    busy->count = 0;
    pthread_mutex_lock(&turn);
    /* The last first: one may be mounted inside another. */
    for (size_t i = volume_count; i-- > 0;)
        if (!volumes[i].read_only && is_mounted(&volumes[i]) && umount2(volumes[i].target, 0) < 0) {
            struct forkd_error err;
            error_say(&err, errno, "unmount", volumes[i].target, "volume on %s stays mounted: %s",
                      volumes[i].target, strerror(errno));
            console_error(&err);
            write_out(volumes[i].target);
            busy->targets[busy->count++] = volumes[i].target;
        }
    pthread_mutex_unlock(&turn);
}

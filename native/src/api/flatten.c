/* SPDX-License-Identifier: Apache-2.0 */
/* Chains put together: what runs in the caller's process, as there is no VM to it. */
#include "api/handle.h"

#include "base/io.h"
#include "snapshot/disk.h"
#include "snapshot/memory_image.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int create(const char *path, struct forkd_error *err)
{
    int fd = path == NULL ? -EINVAL : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (path == NULL)
        return error_set(err, EINVAL, "create", "file", "no path given");
    return fd < 0 ? error_set(err, errno, "create", path, NULL) : fd;
}

/* Sync and close; what failed is removed. */
static int finish(const char *path, int fd, int result, struct forkd_error *err)
{
    if (result == 0 && (result = io_sync(fd)) < 0)
        error_set(err, result, "sync", path, NULL);
    close(fd);
    if (result < 0)
        unlink(path);
    return result;
}

API int forkd_memory_flatten(const char *base_path, const char *const *layer_paths, uint32_t layer_count,
                             const char *out_path, struct forkd_error *err)
{
    struct fd_list list = {0};
    if (layer_count > FORKD_MAX_LAYERS || (layer_count > 0 && layer_paths == NULL))
        return error_set(err, EINVAL, "check", "layers", "%u given; at most %d", layer_count,
                         FORKD_MAX_LAYERS);
    int result = fd_list_open(&list, base_path, O_RDONLY, "memory image", err);
    for (uint32_t i = 0; i < layer_count && result == 0; i++)
        result = fd_list_open(&list, layer_paths[i], O_RDONLY, "memory layer", err);
    int fd = result == 0 ? create(out_path, err) : result;
    if (fd < 0) {
        fd_list_close(&list);
        return fd;
    }
    result = memory_image_flatten(fd, list.fds[0], list.fds + 1, layer_paths, layer_count, err);
    fd_list_close(&list);
    return finish(out_path, fd, result, err);
}

API int forkd_disk_flatten(const struct forkd_disk *disk, const char *out_path, struct forkd_error *err)
{
    struct fd_list list = {0};
    struct disk *opened = NULL;
    uint32_t mode = 0;
    uint32_t layers = 0;
    int result = fd_list_open_disks(&list, disk, 1, &mode, &layers, err);
    if (result == 0)
        result =
            disk_open(&opened, disk->path, FORKD_DISK_READ_ONLY, list.fds[0], list.fds + 1, layers, -1, err);
    if (result < 0) {
        fd_list_close(&list);
        return result;
    }
    int fd = create(out_path, err);
    result = fd;
    if (fd >= 0) {
        bool written = false;
        result = disk_save_layer(opened, fd, false, &written, err);
        if (result == 0 && !written)
            result = error_set(err, EINVAL, "flatten", disk->path, "it has no layers");
        result = finish(out_path, fd, result, err);
    }
    disk_close(opened);
    return result;
}

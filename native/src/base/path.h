/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FORKD_BASE_PATH_H
#define FORKD_BASE_PATH_H

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The folder that the last part of a path is a name in; slashes at its end are none. -ENAMETOOLONG: it does
 * not fit. */
static inline int path_folder(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    while (slash != NULL && slash[1] == '\0' && slash > path)
        slash = memrchr(path, '/', (size_t)(slash - path));
    size_t length = slash == NULL || slash == path ? 1 : (size_t)(slash - path);
    if (length >= size)
        return -ENAMETOOLONG;
    snprintf(folder, size, "%.*s", (int)length, slash == NULL ? "." : path);
    return 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_TIME_FIELD 22
#define FIELD_AFTER_NAME 3

uint64_t process_start_time(pid_t pid)
{
    char text[1024];
    snprintf(text, sizeof text, "/proc/%d/stat", pid);
    int fd = open(text, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    /* The name, in brackets, may hold anything, spaces and brackets too. */
    char *at = strrchr(text, ')');
    at = at == NULL ? NULL : strchr(at, ' ');
    for (int field = FIELD_AFTER_NAME; at != NULL && field < START_TIME_FIELD; field++)
        at = strchr(at + 1, ' ');
    return at == NULL ? 0 : strtoull(at, NULL, 10);
}

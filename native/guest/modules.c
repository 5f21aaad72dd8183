/* SPDX-License-Identifier: Apache-2.0 */
#include "modules.h"

#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void load(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    /* EEXIST: built in, or loaded already */
    if ((fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0) && errno != EEXIST)
        console_failure(errno, "module", path);
    if (fd >= 0)
        close(fd);
}

void modules_load(const char *list)
{
    FILE *file = fopen(list, "re");
    if (!file)
        return;
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\r\n")] = '\0';
        if (*line && *line != '#')
            load(line);
    }
    free(line);
    fclose(file);
}

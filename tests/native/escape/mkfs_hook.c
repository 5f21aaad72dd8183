/* SPDX-License-Identifier: Apache-2.0 */
/* Linked into a forkd-mkfs of the tests' own: in place of making an image it tries what $ESCAPE says. */
#include "mkfs/build.h"
#include "mkfs/fail.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

void __wrap_build(const char *path, struct build_result *out);

static long attempt(const char *what, const char *path)
{
    char *none[] = {NULL};
    if (strcmp(what, "open") == 0)
        return open("/etc/passwd", O_RDONLY);
    if (strcmp(what, "create") == 0)
        return open("/tmp/forkd-mkfs-escape", O_RDWR | O_CREAT, 0600);
    if (strcmp(what, "socket") == 0)
        return socket(AF_INET, SOCK_STREAM, 0);
    if (strcmp(what, "execve") == 0)
        return execve("/bin/true", none, none);
    if (strcmp(what, "kill") == 0)
        return kill(getpid(), 0);
    if (strcmp(what, "mount") == 0)
        return mount("none", "/", "tmpfs", 0, NULL);
    if (strcmp(what, "mmap") == 0)
        return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1
                                                                                                         : 0;
    if (strcmp(what, "mknod") == 0)
        return mknod(path, S_IFBLK | 0600, makedev(8, 0));
    return 0;
}

void __wrap_build(const char *path, struct build_result *out)
{
    (void)out;
    fail("%s", attempt(getenv("ESCAPE"), path) < 0 ? "refused" : "escaped");
}

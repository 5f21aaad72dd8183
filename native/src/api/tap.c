/* SPDX-License-Identifier: Apache-2.0 */
#include "api/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* TUNSETIFF makes a tap that does not exist, where it may: a misspelt name would give a device that leads
 * nowhere. */
static int check_exists(const char *name, struct forkd_error *err)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return error_set(err, errno, "socket", name, NULL);
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int result = ioctl(fd, SIOCGIFFLAGS, &request) < 0 ? -errno : 0;
    close(fd);
    if (result < 0)
        return error_set(err, -result == ENODEV ? ENOENT : -result, "open tap", name,
                         "make it with: ip tuntap add %s mode tap user $USER", name);
    return 0;
}

static int open_here(const char *name, struct forkd_error *err)
{
    int result = check_exists(name, err);
    if (result < 0)
        return result;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, "open", "/dev/net/tun", NULL);
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
        result = error_set(err, errno, "TUNSETIFF", name,
                           errno == EBUSY
                               ? "another VM has it: a tap serves one, unless each has a network of its own"
                               : NULL);
        close(fd);
        return result;
    }
    return fd;
}

struct visit {
    const char *name;
    int netns;
    int result;
    struct forkd_error *err;
};

static void *open_there(void *argument)
{
    struct visit *visit = argument;
    if (setns(visit->netns, CLONE_NEWNET) < 0)
        visit->result = error_set(visit->err, errno, "setns", "network namespace", NULL);
    else
        visit->result = open_here(visit->name, visit->err);
    return NULL;
}

/* A thread of its own goes there: no failure on the way back can leave the caller's somewhere else. */
int tap_open(const char *name, int netns, struct forkd_error *err)
{
    if (netns < 0)
        return open_here(name, err);
    struct visit visit = {.name = name, .netns = netns, .err = err};
    pthread_t thread;
    int code = pthread_create(&thread, NULL, open_there, &visit);
    if (code != 0)
        return error_set(err, code, "pthread_create", name, NULL);
    pthread_join(thread, NULL);
    return visit.result;
}

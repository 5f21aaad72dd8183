/* SPDX-License-Identifier: Apache-2.0 */
#include "proc/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
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

int tap_open(const char *name, struct forkd_error *err)
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
                           errno == EBUSY ? "another VM has it; a tap serves one VM at a time" : NULL);
        close(fd);
        return result;
    }
    return fd;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "network.h"

#include "clock.h"
#include "console.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A driver that was just loaded needs a moment to make its device. */
#define DEVICE_WAIT_MS 1000

/* 127.0.0.1 is localhost's, also the other way round. */
static char own_address[INET_ADDRSTRLEN] = "127.0.1.1";

static struct ifreq request_for(const char *device)
{
    struct ifreq request = {0};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", device);
    return request;
}

static int bring_up(int fd, const char *device)
{
    struct ifreq request = request_for(device);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return -errno;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP | IFF_RUNNING);
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

void network_loopback_up(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int status = fd < 0 ? -errno : bring_up(fd, "lo");
    if (status < 0)
        console_failure(status, "", "lo");
    if (fd >= 0)
        close(fd);
}

static bool wait_for_device(int fd, const char *device)
{
    struct ifreq request = request_for(device);
    for (int64_t end = clock_now_ms() + DEVICE_WAIT_MS;;) {
        if (ioctl(fd, SIOCGIFINDEX, &request) == 0)
            return true;
        if (clock_now_ms() >= end)
            return false;
        clock_sleep_ms(10);
    }
}

static void put_address(struct sockaddr *out, struct in_addr address)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = address};
    memcpy(out, &name, sizeof name);
}

static int set_address(int fd, const struct cmdline_network *network)
{
    struct ifreq request = request_for(network->device);
    struct sockaddr_in now = {0};
    if (ioctl(fd, SIOCGIFADDR, &request) == 0) {
        memcpy(&now, &request.ifr_addr, sizeof now);
        if (now.sin_addr.s_addr == network->address.s_addr)
            return 0; /* the kernel's own ip= did it */
    }
    put_address(&request.ifr_addr, network->address);
    if (ioctl(fd, SIOCSIFADDR, &request) < 0)
        return -errno;
    put_address(&request.ifr_netmask, network->netmask);
    return ioctl(fd, SIOCSIFNETMASK, &request) < 0 ? -errno : 0;
}

static int add_default_route(int fd, const struct cmdline_network *network)
{
    if (network->gateway.s_addr == 0)
        return 0;
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY, .rt_dev = (char *)network->device};
    struct in_addr any = {0};
    put_address(&route.rt_dst, any);
    put_address(&route.rt_genmask, any);
    put_address(&route.rt_gateway, network->gateway);
    return ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST ? -errno : 0;
}

void network_set_up(const struct cmdline_network *network)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        console_failure(errno, "", "network");
        return;
    }
    int status = wait_for_device(fd, network->device) ? 0 : -ENODEV;
    if (status == 0)
        status = set_address(fd, network);
    if (status == 0)
        status = bring_up(fd, network->device);
    if (status == 0)
        status = add_default_route(fd, network);
    if (status < 0)
        console_failure(status, "", network->device);
    else
        inet_ntop(AF_INET, &network->address, own_address, sizeof own_address);
    close(fd);
}

const char *network_own_address(void)
{
    return own_address;
}

static void set(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value, strlen(value)) < 0)
        console_failure(errno, "", path);
    if (fd >= 0)
        close(fd);
}

void network_allow_users(void)
{
    set("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    set("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
}

void network_write_resolvers(void)
{
    static const char path[] = "/etc/resolv.conf";
    static const char text[] = "nameserver 1.1.1.1\nnameserver 8.8.8.8\n";
    struct stat now;
    if (stat(path, &now) == 0 && now.st_size > 0)
        return;
    if (lstat(path, &now) == 0 && S_ISLNK(now.st_mode))
        unlink(path); /* points to nothing, or to something empty that its owner is not here to fill */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, sizeof text - 1) < 0)
        console_failure(errno, "", path);
    if (fd >= 0)
        close(fd);
}

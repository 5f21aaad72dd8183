/* SPDX-License-Identifier: Apache-2.0 */
#include "net/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BATCH_BYTES 8192u
/* Spells "fork"; ip-link(8) shows it of a device that is about to go. */
#define DOOMED_GROUP 0x666f726bu
#define MAX_REQUESTS (sizeof((struct link_batch *)NULL)->what / sizeof((struct link_batch *)NULL)->what[0])

int link_open(struct link_batch *batch, struct forkd_error *err)
{
    *batch = (struct link_batch){.socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC)};
    if (batch->socket == NULL)
        return error_set(err, errno, "open", "rtnetlink", NULL);
    /* libmnl wants room for one more message behind the limit. */
    batch->buffer = malloc(2 * BATCH_BYTES);
    batch->batch = batch->buffer == NULL ? NULL : mnl_nlmsg_batch_start(batch->buffer, BATCH_BYTES);
    int result = 0;
    if (batch->batch == NULL)
        result = error_set(err, ENOMEM, "allocate", "rtnetlink", NULL);
    else if (mnl_socket_bind(batch->socket, 0, MNL_SOCKET_AUTOPID) < 0)
        result = error_set(err, errno, "bind", "rtnetlink", NULL);
    if (result < 0)
        link_close(batch);
    return result;
}

void link_close(struct link_batch *batch)
{
    if (batch->batch != NULL)
        mnl_nlmsg_batch_stop(batch->batch);
    free(batch->buffer);
    mnl_socket_close(batch->socket);
    *batch = (struct link_batch){0};
}

/* Begin a request; `extra` bytes of the family's header follow. */
static struct nlmsghdr *begin(struct link_batch *batch, uint16_t type, uint16_t flags, const char *what,
                              const char *object)
{
    struct nlmsghdr *message = mnl_nlmsg_put_header(mnl_nlmsg_batch_current(batch->batch));
    message->nlmsg_type = type;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    message->nlmsg_seq = ++batch->sequence;
    if (batch->first_sequence == 0)
        batch->first_sequence = batch->sequence;
    snprintf(batch->what[(batch->sequence - batch->first_sequence) % MAX_REQUESTS], sizeof batch->what[0],
             "%s %s", what, object);
    return message;
}

static void end(struct link_batch *batch)
{
    mnl_nlmsg_batch_next(batch->batch);
}

/* 0, or the negative errno of one answer. */
static int one_answer(struct link_batch *batch, uint32_t expected, struct forkd_error *err)
{
    char buffer[16384];
    ssize_t count = mnl_socket_recvfrom(batch->socket, buffer, sizeof buffer);
    const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
    if (count < 0)
        return error_set(err, errno, "receive", "rtnetlink", NULL);
    if (!mnl_nlmsg_ok(message, (int)count) || message->nlmsg_type != NLMSG_ERROR ||
        message->nlmsg_seq != expected)
        return error_set(err, EPROTO, "receive", "rtnetlink", NULL);
    const struct nlmsgerr *answer = mnl_nlmsg_get_payload(message);
    bool missing = answer->error == -ENODEV || answer->error == -ENOENT || answer->error == -ESRCH;
    if (answer->error == 0 || (missing && batch->missing_is_fine))
        return 0;
    return error_set(err, answer->error, batch->what[(expected - batch->first_sequence) % MAX_REQUESTS], "",
                     NULL);
}

int link_send(struct link_batch *batch, struct forkd_error *err)
{
    if (mnl_nlmsg_batch_is_empty(batch->batch))
        return 0;
    if (mnl_socket_sendto(batch->socket, mnl_nlmsg_batch_head(batch->batch),
                          mnl_nlmsg_batch_size(batch->batch)) < 0)
        return error_set(err, errno, "send", "rtnetlink", NULL);
    int result = 0;
    for (uint32_t sequence = batch->first_sequence; sequence <= batch->sequence; sequence++) {
        int one = one_answer(batch, sequence, result == 0 ? err : NULL);
        result = result == 0 ? one : result;
    }
    mnl_nlmsg_batch_reset(batch->batch);
    batch->first_sequence = 0;
    return result;
}

void link_up(struct link_batch *batch, int index, const char *name)
{
    struct nlmsghdr *message = begin(batch, RTM_NEWLINK, 0, "set up", name);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    info->ifi_index = index;
    info->ifi_flags = info->ifi_change = IFF_UP;
    end(batch);
}

void link_mac_of(uint8_t mac[LINK_MAC_BYTES], uint8_t end, uint32_t address)
{
    mac[0] = 0x02;
    mac[1] = end;
    for (unsigned int i = 0; i < 4; i++)
        mac[2 + i] = (uint8_t)(address >> (24 - 8 * i));
}

static void link_mac(struct link_batch *batch, int index, const char *name, const uint8_t mac[LINK_MAC_BYTES])
{
    struct nlmsghdr *message = begin(batch, RTM_NEWLINK, 0, "set MAC of", name);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    info->ifi_index = index;
    mnl_attr_put(message, IFLA_ADDRESS, LINK_MAC_BYTES, mac);
    end(batch);
}

static void put_group(struct nlmsghdr *message, const char *name)
{
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    if (name != NULL)
        mnl_attr_put_strz(message, IFLA_IFNAME, name);
    mnl_attr_put_u32(message, IFLA_GROUP, DOOMED_GROUP);
}

void link_doom(struct link_batch *batch, const char *name)
{
    put_group(begin(batch, RTM_SETLINK, 0, "remove", name), name);
    end(batch);
}

void link_delete_doomed(struct link_batch *batch)
{
    put_group(begin(batch, RTM_DELLINK, 0, "remove", "devices"), NULL);
    end(batch);
}

void link_veth(struct link_batch *batch, const char *name, int index, const uint8_t mac[LINK_MAC_BYTES],
               const char *peer, int peer_netns, const uint8_t peer_mac[LINK_MAC_BYTES])
{
    struct nlmsghdr *message = begin(batch, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, "make veth", peer);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    info->ifi_index = index;
    info->ifi_flags = info->ifi_change = IFF_UP;
    mnl_attr_put_strz(message, IFLA_IFNAME, name);
    mnl_attr_put(message, IFLA_ADDRESS, LINK_MAC_BYTES, mac);
    struct nlattr *link = mnl_attr_nest_start(message, IFLA_LINKINFO);
    mnl_attr_put_strz(message, IFLA_INFO_KIND, "veth");
    struct nlattr *data = mnl_attr_nest_start(message, IFLA_INFO_DATA);
    struct nlattr *other = mnl_attr_nest_start(message, VETH_INFO_PEER);
    struct ifinfomsg *peer_info = mnl_nlmsg_put_extra_header(message, sizeof *peer_info);
    peer_info->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(message, IFLA_IFNAME, peer);
    mnl_attr_put(message, IFLA_ADDRESS, LINK_MAC_BYTES, peer_mac);
    mnl_attr_put_u32(message, IFLA_NET_NS_FD, (uint32_t)peer_netns);
    mnl_attr_nest_end(message, other);
    mnl_attr_nest_end(message, data);
    mnl_attr_nest_end(message, link);
    end(batch);
}

static const char *text_of(char text[INET_ADDRSTRLEN], uint32_t address)
{
    struct in_addr network = {htonl(address)};
    return inet_ntop(AF_INET, &network, text, INET_ADDRSTRLEN);
}

void link_address(struct link_batch *batch, int index, uint32_t address, uint32_t bits)
{
    char text[INET_ADDRSTRLEN];
    struct nlmsghdr *message =
        begin(batch, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, "set address", text_of(text, address));
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifa_family = AF_INET;
    info->ifa_prefixlen = (uint8_t)bits;
    info->ifa_index = (uint32_t)index;
    mnl_attr_put_u32(message, IFA_LOCAL, htonl(address));
    mnl_attr_put_u32(message, IFA_ADDRESS, htonl(address));
    end(batch);
}

void link_neighbour(struct link_batch *batch, int index, uint32_t address, const uint8_t mac[LINK_MAC_BYTES])
{
    char text[INET_ADDRSTRLEN];
    struct nlmsghdr *message =
        begin(batch, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, "set neighbour", text_of(text, address));
    struct ndmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ndm_family = AF_INET;
    info->ndm_ifindex = index;
    info->ndm_state = NUD_PERMANENT;
    mnl_attr_put_u32(message, NDA_DST, htonl(address));
    mnl_attr_put(message, NDA_LLADDR, LINK_MAC_BYTES, mac);
    end(batch);
}

void link_route(struct link_batch *batch, int index, uint32_t destination, uint32_t bits, uint32_t next_hop)
{
    char text[INET_ADDRSTRLEN];
    struct nlmsghdr *message =
        begin(batch, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, "set route to", text_of(text, destination));
    struct rtmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->rtm_family = AF_INET;
    info->rtm_dst_len = (uint8_t)bits;
    info->rtm_table = RT_TABLE_MAIN;
    info->rtm_protocol = RTPROT_STATIC;
    info->rtm_scope = next_hop == 0 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    info->rtm_type = RTN_UNICAST;
    if (bits > 0)
        mnl_attr_put_u32(message, RTA_DST, htonl(destination));
    if (next_hop != 0)
        mnl_attr_put_u32(message, RTA_GATEWAY, htonl(next_hop));
    mnl_attr_put_u32(message, RTA_OIF, (uint32_t)index);
    end(batch);
}

int link_index(const char *name, struct forkd_error *err)
{
    unsigned int index = if_nametoindex(name);
    return index == 0 ? error_set(err, errno, "find", name, NULL) : (int)index;
}

static int open_tap(const char *name, struct forkd_error *err)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, errno, "open", "/dev/net/tun", NULL);
    int result = ioctl(fd, TUNSETIFF, &request) < 0 ? error_set(err, errno, "open tap", name, NULL) : fd;
    if (result < 0)
        close(fd);
    return result;
}

int link_check_tap(const char *name, struct forkd_error *err)
{
    int fd = open_tap(name, err);
    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

static int make_tap(const char *name, uint32_t owner, struct forkd_error *err)
{
    int fd = open_tap(name, err);
    if (fd < 0)
        return fd;
    int result = 0;
    if (ioctl(fd, TUNSETPERSIST, 1) < 0 || (owner != LINK_NO_OWNER && ioctl(fd, TUNSETOWNER, owner) < 0))
        result = error_set(err, errno, "make tap", name, NULL);
    close(fd);
    return result;
}

int link_tap(const char *name, uint32_t owner, uint32_t address, uint32_t bits, struct forkd_error *err)
{
    struct link_batch batch;
    int result = make_tap(name, owner, err);
    int index = result < 0 ? result : link_index(name, err);
    if (index < 0 || (result = link_open(&batch, err)) < 0)
        return index < 0 ? index : result;
    uint8_t mac[LINK_MAC_BYTES];
    link_mac_of(mac, LINK_END_HERE, address);
    link_mac(&batch, index, name, mac);
    link_address(&batch, index, address, bits);
    link_up(&batch, index, name);
    result = link_send(&batch, err);
    link_close(&batch);
    return result;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* sock_diag(7) lists sockets, and its SOCK_DESTROY ends them (CONFIG_INET_DIAG_DESTROY). */
#include "tcp.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REPLY_SIZE 16384
/* A bit for each state, of which there are 12 (include/net/tcp_states.h); these two talk to nobody. */
#define ALL_STATES 0x1ffeu
#define TALKING (ALL_STATES & ~(1u << TCP_CLOSE | 1u << TCP_LISTEN))

struct request {
    struct nlmsghdr header;
    struct inet_diag_req_v2 body;
};

static int ask(int fd, struct request *request)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    request->header.nlmsg_len = sizeof *request;
    request->body.sdiag_protocol = IPPROTO_TCP;
    ssize_t sent = sendto(fd, request, sizeof *request, 0, (struct sockaddr *)&kernel, sizeof kernel);
    return sent < 0 ? -errno : 0;
}

/* One answer of one or more messages. Its length, or a negative errno. */
static ssize_t hear(int fd, void *reply)
{
    ssize_t length;
    do {
        length = recv(fd, reply, REPLY_SIZE, 0);
    } while (length < 0 && errno == EINTR);
    return length < 0 ? -errno : length;
}

/* What the last message of an answer says of how it went; a negative errno or 0. */
static int outcome(const struct nlmsghdr *message)
{
    /* Both begin with it: struct nlmsgerr, and the end of a listing (netlink_dump). */
    int error = 0;
    if (message->nlmsg_len >= NLMSG_LENGTH(sizeof error))
        memcpy(&error, NLMSG_DATA(message), sizeof error);
    return error < 0 ? error : 0;
}

static bool is_loopback(uint8_t family, const uint32_t address[4])
{
    static const uint32_t any_v6[3];
    if (family == AF_INET)
        return (ntohl(address[0]) >> 24) == IN_LOOPBACKNET;
    if (memcmp(address, any_v6, sizeof any_v6) == 0 && ntohl(address[3]) == 1)
        return true;
    bool mapped = address[0] == 0 && address[1] == 0 && ntohl(address[2]) == 0xffff;
    return mapped && (ntohl(address[3]) >> 24) == IN_LOOPBACKNET;
}

/* Both ends are in this VM: a connection to an address of one's own has it on both sides. */
static bool is_within(const struct inet_diag_msg *socket)
{
    const struct inet_diag_sockid *id = &socket->id;
    size_t length = socket->idiag_family == AF_INET ? 4 : 16;
    return is_loopback(socket->idiag_family, id->idiag_dst) ||
           memcmp(id->idiag_src, id->idiag_dst, length) == 0;
}

/* `fd` is not the one that lists: an answer would stand between the rest of the listing. */
static int destroy(int fd, const struct inet_diag_msg *found)
{
    _Alignas(struct nlmsghdr) uint8_t reply[REPLY_SIZE];
    struct request request = {
        .header = {.nlmsg_type = SOCK_DESTROY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
        .body = {.sdiag_family = found->idiag_family, .id = found->id},
    };
    int status = ask(fd, &request);
    ssize_t length = status < 0 ? status : hear(fd, reply);
    status = length < 0 ? (int)length : outcome((struct nlmsghdr *)reply);
    return status == -ENOENT ? 0 : status; /* it has just ended by itself */
}

/* 1: there is more to come; 0: that was all; or a negative errno. */
static int end_listed(int ending, struct nlmsghdr *message, ssize_t left)
{
    for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
        if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
            int status = outcome(message);
            return status == -ENOENT ? 0 : status; /* without INET_DIAG nobody can say */
        }
        if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
            message->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
            continue;
        const struct inet_diag_msg *found = NLMSG_DATA(message);
        int status = is_within(found) ? 0 : destroy(ending, found);
        if (status < 0)
            return status;
    }
    return 1;
}

static int end_family(int listing, int ending, uint8_t family)
{
    _Alignas(struct nlmsghdr) uint8_t reply[REPLY_SIZE];
    struct request request = {
        .header = {.nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = family, .idiag_states = TALKING},
    };
    int status = ask(listing, &request);
    if (status < 0)
        return status;
    do {
        ssize_t length = hear(listing, reply);
        status = length < 0 ? (int)length : end_listed(ending, (struct nlmsghdr *)reply, length);
    } while (status > 0);
    return status;
}

static int diag_socket(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    return fd < 0 ? -errno : fd;
}

int tcp_end_connections(void)
{
    int listing = diag_socket();
    if (listing == -EPROTONOSUPPORT)
        return 0; /* a kernel without SOCK_DIAG, and so without INET_DIAG */
    if (listing < 0)
        return listing;
    int ending = diag_socket();
    int v4 = ending < 0 ? ending : end_family(listing, ending, AF_INET);
    int v6 = ending < 0 ? 0 : end_family(listing, ending, AF_INET6);
    if (ending >= 0)
        close(ending);
    close(listing);
    return v4 < 0 ? v4 : v6;
}

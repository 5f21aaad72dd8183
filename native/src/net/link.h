/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rtnetlink(7) requests, collected and sent at once: the kernel carries them out in order, and answers each.
 * The namespace is the one that the socket was opened in.
 */
#ifndef FORKD_NET_LINK_H
#define FORKD_NET_LINK_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_MAC_BYTES 6u

struct link_batch {
    struct mnl_socket *socket;
    struct mnl_nlmsg_batch *batch;
    char *buffer;
    uint32_t first_sequence; /* of what is collected */
    uint32_t sequence;       /* of the last one */
    char what[16][64];       /* for errors */
    bool missing_is_fine;    /* what is to be removed and is not there is no error */
};

int link_open(struct link_batch *batch, struct forkd_error *err);
void link_close(struct link_batch *batch);

/* Send what was collected and read all answers; the first error counts. */
int link_send(struct link_batch *batch, struct forkd_error *err);

/* Locally administered, and told by the address: 02:fd and its four bytes here, 02:fe at the other end. */
#define LINK_END_HERE 0xfd
#define LINK_END_THERE 0xfe
void link_mac_of(uint8_t mac[LINK_MAC_BYTES], uint8_t end, uint32_t address);

/* Each adds a request; at most 16 of them before link_send. Addresses are in host byte order. */
void link_up(struct link_batch *batch, int index, const char *name);
/* Removing a device takes tens of milliseconds, and so does removing a hundred at once: each is marked, then
 * all go. */
void link_doom(struct link_batch *batch, const char *name);
void link_delete_doomed(struct link_batch *batch);
/* `name`, with that index, here, and up; `peer` in the namespace of `peer_netns`, and down: it cannot be set
 * up before `name` is there. */
void link_veth(struct link_batch *batch, const char *name, int index, const uint8_t mac[LINK_MAC_BYTES],
               const char *peer, int peer_netns, const uint8_t peer_mac[LINK_MAC_BYTES]);
void link_address(struct link_batch *batch, int index, uint32_t address, uint32_t bits);
/* Who has that address is said, not asked for. */
void link_neighbour(struct link_batch *batch, int index, uint32_t address, const uint8_t mac[LINK_MAC_BYTES]);
/* To destination/bits; next_hop 0: it is on the link. */
void link_route(struct link_batch *batch, int index, uint32_t destination, uint32_t bits, uint32_t next_hop);

/* Index of a device in the namespace that the process is in. */
int link_index(const char *name, struct forkd_error *err);

/* Have a tap that stays when nobody has it open, with that address and the MAC that it tells, up: guests that
 * are forked know their gateway's MAC, and find the same one wherever they are. Of that user, or root's
 * alone. */
#define LINK_NO_OWNER UINT32_MAX
int link_tap(const char *name, uint32_t owner, uint32_t address, uint32_t bits, struct forkd_error *err);
/* -EBUSY when somebody has that tap open, and sends and receives by it. */
int link_check_tap(const char *name, struct forkd_error *err);

#endif

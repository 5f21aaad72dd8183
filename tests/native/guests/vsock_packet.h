/* SPDX-License-Identifier: Apache-2.0 */
/* What a guest's vsock device carries: virtio 1.2, 5.10. */
#ifndef FORKD_TESTS_GUESTS_VSOCK_PACKET_H
#define FORKD_TESTS_GUESTS_VSOCK_PACKET_H

#include <stdint.h>

#define VSOCK 19u
#define RX 0u
#define TX 1u
#define EVENT 2u

/* Which interrupt a device's place has: platform.h. */
#define GSI(slot) (16u + (slot))

enum { REQUEST = 1, RESPONSE, RESET, SHUTDOWN, DATA, CREDIT_UPDATE, CREDIT_REQUEST };

/* 5.10.6: struct virtio_vsock_hdr. */
struct header {
    uint32_t src_cid[2];
    uint32_t dst_cid[2];
    uint32_t src_port;
    uint32_t dst_port;
    uint32_t length;
    uint16_t type;
    uint16_t op;
    uint32_t flags;
    uint32_t buffer_size;
    uint32_t forwarded;
};

#endif

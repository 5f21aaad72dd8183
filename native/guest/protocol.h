/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the monitor and the guest's agent say to each other. Both sides share this header, and base/error.h.
 * All integers are little-endian, structs have no padding.
 *
 * Boot: when the agent is up (mounts done, warm-up done, ports open) it connects to host port
 * GUEST_PORT_HELLO and sends one struct guest_hello, then closes.
 *
 * Identity: in every child the monitor connects to guest port GUEST_PORT_IDENTITY as its first act and sends
 * one struct guest_identity. The agent applies all of it, sends one struct guest_identity_ack, and closes.
 * The monitor opens no other connection before the acknowledgement.
 */
#ifndef FORKD_GUEST_PROTOCOL_H
#define FORKD_GUEST_PROTOCOL_H

#include <stdint.h>

#define GUEST_PORT_HELLO 1u      /* on the host (CID 2) */
#define GUEST_PORT_IDENTITY 1u   /* in the guest */
#define GUEST_PORT_AGENT 8888u   /* in the guest, on vsock and on TCP: the line-JSON protocol */
#define GUEST_PORT_STREAMS 8889u /* in the guest, on vsock: docs/guest-protocol.md */

#define GUEST_HELLO_MAGIC 0x4f4c4548u    /* "HELO" */
#define GUEST_IDENTITY_MAGIC 0x4e454449u /* "IDEN" */
#define GUEST_PROTOCOL_VERSION 2u

struct guest_hello {
    uint32_t magic;
    uint32_t version;
    uint32_t
        status; /* 0: ready; otherwise a positive errno, and message says what is wrong (warm-up failed) */
    uint32_t reserved; /* zero */
    char message[496]; /* NUL-terminated */
};

struct guest_identity {
    uint32_t magic;
    uint32_t version;
    uint64_t generation;  /* of this VM: parent 0, its children 1, and so on along a chain */
    uint64_t realtime_ns; /* CLOCK_REALTIME of the host, nanoseconds since 1970, ... */
    uint64_t tsc;         /* ... when the TSC of the guest's first vCPU had this value, ... */
    uint64_t tsc_khz;     /* ... which it counts at this rate; 0: not known */
    uint8_t seed[64]; /* fresh entropy: credited to the kernel's CRNG, which is reseeded from it at once */
    uint8_t machine_id[16]; /* for /etc/machine-id, as 32 lower-case hex digits */
    char hostname[64];      /* NUL-terminated */
};

struct guest_identity_ack {
    uint32_t magic;  /* GUEST_IDENTITY_MAGIC */
    uint32_t status; /* 0, or a positive errno */
    uint64_t generation;
    char message[112]; /* NUL-terminated; which step failed */
};

_Static_assert(sizeof(struct guest_hello) == 512, "no padding");
_Static_assert(sizeof(struct guest_identity) == 184, "no padding");
_Static_assert(sizeof(struct guest_identity_ack) == 128, "no padding");

#endif

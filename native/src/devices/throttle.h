/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a device takes chains from one of its queues: a token bucket for bytes and one for requests. A
 * chain is taken as long as nothing is owed, and charged when it is known what it cost: so one of any size
 * gets through, and the next waits for as long as it takes to pay for it. Meanwhile chains stay in the queue,
 * and a timer kicks it: nobody is blocked.
 */
#ifndef FORKD_DEVICES_THROTTLE_H
#define FORKD_DEVICES_THROTTLE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct virtio_device;
struct throttle; /* NULL: nothing waits */

/*
 * Throttle a queue (virtio_device.throttles), in the process that runs the machine; before the vCPUs run.
 * FORKD_UNLIMITED: not; nothing is done when both are.
 */
int throttle_queue(struct virtio_device *device, uint16_t queue, uint64_t bytes_per_second,
                   uint64_t requests_per_second, struct forkd_error *err);
void throttle_free(struct virtio_device *device);
/* Nothing is owed any more: of a VM that is put back, whose next user has not taken it. */
void throttle_forgive(struct virtio_device *device);

/* Whether a chain may be taken. If not the queue will be kicked when it may. */
bool throttle_admits(struct throttle *throttle);
void throttle_charge(struct throttle *throttle, uint64_t bytes, uint64_t requests);

#endif

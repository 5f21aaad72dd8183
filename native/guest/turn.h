/* SPDX-License-Identifier: Apache-2.0 */
/* What one can have at a time, and others wait for: until a deadline, or until their client goes away. */
#ifndef FORKD_GUEST_TURN_H
#define FORKD_GUEST_TURN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct turn {
    pthread_mutex_t lock;
    pthread_cond_t free;
    bool taken;
};

void turn_init(struct turn *turn);

/* `client` may be -1. 0, -ETIMEDOUT or -EPIPE; turn_give belongs to a 0 only. */
int turn_take(struct turn *turn, int client, int64_t deadline);
void turn_give(struct turn *turn);

#endif

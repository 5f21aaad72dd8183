/* SPDX-License-Identifier: Apache-2.0 */
#include "turn.h"

#include "clock.h"
#include "peer.h"

#include <errno.h>

void turn_init(struct turn *turn)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&turn->lock, NULL);
    pthread_cond_init(&turn->free, &attributes);
    pthread_condattr_destroy(&attributes);
    turn->taken = false;
}

static void wait_a_while(struct turn *turn, int64_t deadline)
{
    int64_t until = clock_now_ms() + PEER_PROBE_MS;
    if (deadline < until)
        until = deadline;
    struct timespec time = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_cond_timedwait(&turn->free, &turn->lock, &time);
}

int turn_take(struct turn *turn, int client, int64_t deadline)
{
    int status = 0;
    pthread_mutex_lock(&turn->lock);
    while (turn->taken && status == 0) {
        wait_a_while(turn, deadline);
        if (!turn->taken)
            break;
        if (clock_now_ms() >= deadline)
            status = -ETIMEDOUT;
        else if (client >= 0 && peer_is_gone(client, 0))
            status = -EPIPE;
    }
    if (status == 0)
        turn->taken = true;
    pthread_mutex_unlock(&turn->lock);
    return status;
}

void turn_give(struct turn *turn)
{
    pthread_mutex_lock(&turn->lock);
    turn->taken = false;
    pthread_cond_signal(&turn->free);
    pthread_mutex_unlock(&turn->lock);
}

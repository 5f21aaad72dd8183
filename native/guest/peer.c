/* SPDX-License-Identifier: Apache-2.0 */
#include "peer.h"

#include "clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a client may take to notice the end, and how much it may still send meanwhile. */
#define LINGER_MS 1000
#define LINGER_BYTES ((size_t)256 << 20)

/* Only TCP needs it; elsewhere it fails. */
void peer_watch(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &(int){10}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &(int){5}, sizeof(int));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));
}

/*
 * A client that closed both directions cannot be told from one that only finished sending, except by sending
 * to it. Sending nothing is enough on vsock; on TCP it reports a reset that has come, and keep-alive probes
 * bring one.
 */
bool peer_is_gone(int fd, short events)
{
    if (events & (POLLERR | POLLHUP))
        return true;
    return send(fd, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != EINTR;
}

/*
 * Closing a TCP socket that has unread bytes sends a reset, and a reset can overtake the reply. So what the
 * client still sends is thrown away until it is done, within bounds.
 */
void peer_finish(int fd)
{
    char waste[4096];
    size_t total = 0;
    int64_t deadline = clock_now_ms() + LINGER_MS;
    shutdown(fd, SHUT_WR);
    struct pollfd client = {.fd = fd, .events = POLLIN};
    while (total < LINGER_BYTES && poll(&client, 1, clock_poll_timeout(deadline)) > 0) {
        ssize_t got = recv(fd, waste, sizeof waste, MSG_DONTWAIT);
        if (got <= 0)
            break;
        total += (size_t)got;
        deadline = clock_now_ms() + LINGER_MS;
    }
    close(fd);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hello.h"

#include "console.h"
#include "protocol.h"
#include "vsock.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void hello_send(int status, const char *message)
{
    struct guest_hello hello = {
        .magic = htole32(GUEST_HELLO_MAGIC),
        .version = htole32(GUEST_PROTOCOL_VERSION),
        .status = htole32((uint32_t)status),
    };
    snprintf(hello.message, sizeof hello.message, "%s", message);
    int fd = vsock_connect_host(GUEST_PORT_HELLO);
    if (fd < 0) {
        console("no hello on vsock: %s", strerror(-fd));
        return;
    }
    if (send(fd, &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello)
        console("no hello on vsock: the monitor did not take it");
    close(fd);
}

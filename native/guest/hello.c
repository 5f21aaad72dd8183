/* SPDX-License-Identifier: Apache-2.0 */
#include "hello.h"

#include "console.h"
#include "protocol.h"
#include "vsock.h"

#include <endian.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

void hello_send(const struct forkd_error *err)
{
    struct guest_hello hello = {
        .magic = htole32(GUEST_HELLO_MAGIC),
        .version = htole32(GUEST_PROTOCOL_VERSION),
        .status = htole32(err ? (uint32_t)-err->code : 0),
    };
    snprintf(hello.message, sizeof hello.message, "%.*s", (int)sizeof hello.message - 1,
             err ? err->text : "");
    int fd = vsock_connect_host(GUEST_PORT_HELLO);
    if (fd < 0) {
        console_failure(fd, "", "no hello on vsock");
        return;
    }
    if (send(fd, &hello, sizeof hello, MSG_NOSIGNAL) != sizeof hello)
        console("no hello on vsock: the monitor did not take it");
    close(fd);
}

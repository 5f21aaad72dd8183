/* SPDX-License-Identifier: Apache-2.0 */
#include "net/rules.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <nftables/libnftables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* nft says where in the script it stopped, over several lines, the first of which says why. */
static int fail(const char *text, struct forkd_error *err)
{
    size_t length = strcspn(text, "\n");
    /* libnftables has no error numbers. */
    int code = strstr(text, "Operation not permitted") != NULL ? EPERM
               : strstr(text, "No such file") != NULL          ? ENOENT
                                                               : EINVAL;
    return error_say(err, code, "nftables", "", "nftables: %.*s", (int)length, text);
}

int rules_run(const char *script, char **output, struct forkd_error *err)
{
    /* A context keeps the socket that it opened: one for each namespace. */
    struct nft_ctx *context = nft_ctx_new(NFT_CTX_DEFAULT);
    if (context == NULL)
        return error_set(err, ENOMEM, "allocate", "nftables", NULL);
    nft_ctx_buffer_error(context);
    nft_ctx_buffer_output(context);
    int result = 0;
    if (nft_run_cmd_from_buffer(context, script) != 0)
        result = fail(nft_ctx_get_error_buffer(context), err);
    else if (output != NULL && (*output = strdup(nft_ctx_get_output_buffer(context))) == NULL)
        result = error_set(err, ENOMEM, "allocate", "nftables", NULL);
    nft_ctx_free(context);
    return result;
}

int rules_forget_connections(struct forkd_error *err)
{
    char buffer[1024];
    struct nlmsghdr *message = mnl_nlmsg_put_header(buffer);
    message->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
    message->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    message->nlmsg_seq = 1;
    struct nfgenmsg *header = mnl_nlmsg_put_extra_header(message, sizeof *header);
    header->nfgen_family = AF_UNSPEC;
    header->version = NFNETLINK_V0;
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
    if (socket == NULL)
        return error_set(err, errno, "open", "ctnetlink", NULL);
    int result = 0;
    char answer[1024];
    ssize_t count = -1;
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_sendto(socket, message, message->nlmsg_len) < 0 ||
        (count = mnl_socket_recvfrom(socket, answer, sizeof answer)) < 0 ||
        mnl_cb_run(answer, (size_t)count, 1, mnl_socket_get_portid(socket), NULL, NULL) < 0)
        result = error_set(err, errno, "forget", "connections", NULL);
    mnl_socket_close(socket);
    return result;
}

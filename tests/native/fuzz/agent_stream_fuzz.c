/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whatever a host sends to the port of streams is an order or an error message, and what follows it is frames
 * or none: pieces lie where they are said to, and nothing comes after the last.
 */
#include "streams/frame.h"
#include "streams/order.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t touch(char *const *list)
{
    size_t total = 0;
    for (; list && *list; list++)
        total += strlen(*list);
    return total;
}

static size_t length_of(const char *text)
{
    return text ? strlen(text) : 0;
}

static const char home[] = "/home/of/somebody";

static void check_order(const struct order *order, size_t size)
{
    const char *const paths[] = {order->path, order->source, order->destination, order->cwd, order->socket};
    size_t total = touch(order->argv) + touch(order->environment) + length_of(order->user) +
                   length_of(order->host) + length_of(order->tag);
    if (total > (size + 1) * 256 || length_of(order->tag) > ORDER_TAG_MAX ||
        length_of(order->target) > ORDER_PATH_MAX)
        abort();
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (paths[i] && (paths[i][0] != '/' || strlen(paths[i]) > ORDER_PATH_MAX + sizeof home))
            abort();
    if (order->operation == ORDER_RUN && (!order->argv || !order->argv[0]))
        abort();
    if (order->operation == ORDER_LIST && (order->depth < 1 || order->depth > 64))
        abort();
    if (order->terminal && (order->rows == 0 || order->columns == 0))
        abort();
}

static void parse_line(const uint8_t *data, size_t size)
{
    struct order order;
    struct forkd_error err = {0};
    /* One byte more, as in a struct line; it is not part of the text. */
    char *text = malloc(size + 1);
    if (!text)
        return;
    memcpy(text, data, size);
    text[size] = '\0';
    if (order_parse(text, size, &order, &err) == 0) {
        if (order.user && order_go_home(&order, home, &err) < 0)
            abort();
        check_order(&order, size);
        order_free(&order);
    } else if (err.code >= 0 || !*err.text || !memchr(err.text, '\0', sizeof err.text)) {
        abort();
    }
    free(text);
}

/* Some with the line, the rest later, as much as a socket takes. */
static void parse_frames(const uint8_t *data, size_t size)
{
    struct inbox inbox;
    int ends[2];
    const unsigned char *piece;
    size_t length;
    size_t early = size / 2;
    size_t total = 0;
    int got = INBOX_PIECE;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0 ||
        inbox_init(&inbox, ends[0], data, early) < 0)
        abort();
    if (early < size)
        (void)!write(ends[1], data + early, size - early);
    close(ends[1]);
    while (got > 0 || got == INBOX_EMPTY) {
        got = inbox_take(&inbox, &piece, &length);
        if (got == INBOX_PIECE) {
            for (size_t i = 0; i < length; i++)
                total += 1 + (piece[i] > 255);
            if (inbox.over || length == 0)
                abort();
        }
        if (got == INBOX_OVER && !inbox.over)
            abort();
        if (got == INBOX_EMPTY && inbox_fill(&inbox, MSG_DONTWAIT) <= 0)
            break;
    }
    if (total > size)
        abort();
    inbox_free(&inbox);
    close(ends[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *newline = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t length = newline ? (size_t)(newline - data) : size;
    parse_line(data, length);
    if (newline)
        parse_frames(newline + 1, size - length - 1);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "hostile.h"

#define HEADER(type, length) type "\0\0\0" length
#define OUT "\2"
#define ERR "\3"
#define EVENT "\4"
#define END "\5"
#define LENGTH(n) n "\0\0\0"

#define TIMES8(text) text text text text text text text text

#define PID "{\"pid\":1}\n"
#define ENTRY(size, mode, name, path, type)                                                                  \
    "{\"name\":\"" name "\",\"path\":\"" path "\",\"type\":\"" type "\",\"size\":" size ",\"mode\":" mode    \
    ",\"uid\":0,\"gid\":0,\"mtime_ms\":0}"
#define EXIT "{\"exit_code\":0}"

/* Each is one string: the lengths in the headers are those of what follows. */
static const struct {
    const char *kind;
    enum hostile then;
    uint32_t length;
    const char *says;
} kinds[] = {
#define SAYS(kind, then, says) {kind, then, sizeof(says) - 1, says}
    /* answers */
    SAYS("text", HOSTILE_CLOSES, "this is no JSON\n"),
    SAYS("array", HOSTILE_CLOSES, "[]\n"),
    SAYS("half", HOSTILE_CLOSES, "{\"pid\":1"),
    SAYS("close", HOSTILE_CLOSES, ""),
    SAYS("silent", HOSTILE_STALLS, ""),
    SAYS("line", HOSTILE_FLOODS, "{\"pid\":1,\"x\":\"0123456789abcdef0123456789abcdef"),
    SAYS("nested", HOSTILE_CLOSES, TIMES8(TIMES8(TIMES8("[[["))) "\n"),
    SAYS("pid-negative", HOSTILE_CLOSES, "{\"pid\":-1}\n"),
    SAYS("pid-zero", HOSTILE_CLOSES, "{\"pid\":0}\n"),
    SAYS("pid-large", HOSTILE_CLOSES, "{\"pid\":18446744073709551617}\n"),
    SAYS("pid-text", HOSTILE_CLOSES, "{\"pid\":\"1\"}\n"),
    SAYS("pid-none", HOSTILE_CLOSES, "{}\n"),
    SAYS("code-none", HOSTILE_CLOSES, "{\"error\":\"it is so\"}\n"),
    SAYS("code-odd", HOSTILE_CLOSES, "{\"error\":\"it is so\",\"code\":\"\\u001b[2J\"}\n"),
    SAYS("error-number", HOSTILE_CLOSES, "{\"error\":1,\"code\":\"EINVAL\"}\n"),
    SAYS("screen", HOSTILE_CLOSES, "{\"error\":\"\\u001b[2J\\u0007gone\",\"code\":\"EINVAL\"}\n"),
    /* frames */
    SAYS("type", HOSTILE_CLOSES, PID HEADER("\x09", LENGTH("\1")) "x"),
    SAYS("in", HOSTILE_CLOSES, PID HEADER("\1", LENGTH("\1")) "x"),
    SAYS("event", HOSTILE_CLOSES, PID HEADER(EVENT, LENGTH("\2")) "{}"),
    SAYS("zeros", HOSTILE_CLOSES, PID OUT "\0\1\0" LENGTH("\1") "x"),
    SAYS("long", HOSTILE_STALLS, PID HEADER(OUT, "\1\0\1\0")),
    SAYS("negative", HOSTILE_STALLS, PID HEADER(OUT, "\xff\xff\xff\xff")),
    SAYS("over", HOSTILE_CLOSES, PID HEADER(OUT, LENGTH("\0")) HEADER(OUT, LENGTH("\1")) "x"),
    SAYS("over-twice", HOSTILE_CLOSES, PID HEADER(OUT, LENGTH("\0")) HEADER(OUT, LENGTH("\0"))),
    SAYS("stderr", HOSTILE_CLOSES, PID HEADER(ERR, LENGTH("\1")) "x" HEADER(END, LENGTH("\17")) EXIT),
    SAYS("after-end", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\17")) EXIT HEADER(OUT, LENGTH("\1")) "x"),
    SAYS("no-end", HOSTILE_CLOSES, PID HEADER(OUT, LENGTH("\1")) "x"),
    SAYS("half-header", HOSTILE_CLOSES, PID "\2\0\0"),
    SAYS("half-frame", HOSTILE_CLOSES, PID HEADER(OUT, LENGTH("\5")) "x"),
    SAYS("half-end", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\17")) "{\"exit"),
    SAYS("end-empty", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\0"))),
    SAYS("end-text", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\4")) "gone"),
    SAYS("end-none", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\2")) "{}"),
    SAYS("exit-large", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\21")) "{\"exit_code\":256}"),
    SAYS("exit-small", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\22")) "{\"exit_code\":-128}"),
    SAYS("exit-text", HOSTILE_CLOSES, PID HEADER(END, LENGTH("\21")) "{\"exit_code\":\"0\"}"),
    SAYS("late-error", HOSTILE_CLOSES,
         PID HEADER(END, LENGTH("\41")) "{\"error\":\"it broke\",\"code\":\"EIO\"}"),
    SAYS("stall", HOSTILE_STALLS, PID HEADER(OUT, LENGTH("\5")) "x"),
    /* files */
    SAYS("/hostile/size", HOSTILE_CLOSES, ENTRY("-1", "0", "size", "/hostile/size", "file") "\n"),
    SAYS("/hostile/mode", HOSTILE_CLOSES, ENTRY("1", "4096", "mode", "/hostile/mode", "file") "\n"),
    SAYS("/hostile/type", HOSTILE_CLOSES, ENTRY("1", "0", "type", "/hostile/type", "door") "\n"),
    SAYS("/hostile/more", HOSTILE_CLOSES,
         ENTRY("1", "0", "more", "/hostile/more",
               "file") "\n" HEADER(OUT, LENGTH("\5")) "12345" HEADER(END, LENGTH("\13")) "{\"bytes\":5}"),
    SAYS("/hostile/less", HOSTILE_CLOSES,
         ENTRY("1", "0", "less", "/hostile/less",
               "file") "\n" HEADER(OUT, LENGTH("\1")) "1" HEADER(END, LENGTH("\13")) "{\"bytes\":5}"),
    SAYS("/hostile/cut", HOSTILE_CLOSES,
         ENTRY("1", "0", "cut", "/hostile/cut", "file") "\n" HEADER(OUT, LENGTH("\1")) "1"),
    SAYS("/hostile/up", HOSTILE_CLOSES,
         "{}\n" HEADER(EVENT, LENGTH("\157")) ENTRY("1", "0", "etc", "/hostile/up/../../etc", "directory")
             HEADER(END, LENGTH("\2")) "{}"),
    SAYS("/hostile/beside", HOSTILE_CLOSES,
         "{}\n" HEADER(EVENT, LENGTH("\141")) ENTRY("1", "0", "x", "/hostile/other", "file")
             HEADER(END, LENGTH("\2")) "{}"),
    SAYS("/hostile/deep", HOSTILE_CLOSES,
         "{}\n" HEADER(EVENT, LENGTH("\144")) ENTRY("1", "0", "b", "/hostile/deep/a/b", "file")
             HEADER(END, LENGTH("\2")) "{}"),
    SAYS("/hostile/name", HOSTILE_CLOSES,
         "{}\n" HEADER(EVENT, LENGTH("\142")) ENTRY("1", "0", "b", "/hostile/name/a", "file")
             HEADER(END, LENGTH("\2")) "{}"),
    SAYS("/hostile/full", HOSTILE_CLOSES,
         "{}\n" HEADER(END, LENGTH("\63")) "{\"error\":\"No space left on device\",\"code\":\"ENOSPC\"}"),
    SAYS("/hostile/early", HOSTILE_CLOSES,
         "{}\n" HEADER(END, LENGTH("\145")) ENTRY("1", "0", "early", "/hostile/early", "file")),
    SAYS("/hostile/stall", HOSTILE_STALLS, "{}\n"),
    SAYS("/hostile/many", HOSTILE_LISTS, "{}\n"),
};

static const char list[] =
    TIMES8(HEADER(EVENT, LENGTH("\142")) ENTRY("1", "0", "x", "/hostile/many/x", "file"));

static const uint32_t kind_count = sizeof kinds / sizeof *kinds;

static uint32_t find(const char *kind)
{
    uint32_t i = 0;
    while (i < kind_count && !same(kind, kinds[i].kind))
        i++;
    return i;
}

bool hostile_is(const char *kind)
{
    return find(kind) < kind_count;
}

enum hostile hostile_say(struct vsock_connection *c, const char *kind)
{
    uint32_t i = find(kind);
    if (i == kind_count)
        return HOSTILE_NONE;
    vsock_send(c, kinds[i].says, kinds[i].length);
    return kinds[i].then;
}

void hostile_list(struct vsock_connection *c)
{
    vsock_send(c, list, sizeof list - 1);
}

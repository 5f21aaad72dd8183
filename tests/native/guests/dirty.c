/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest for benchmarks of branches. Its command line says how many MiB it writes to, one word a page, from
 * 16 MiB up, in no order, so that neighbours lie apart in the host's memory: in every child, between the
 * change of its VM generation id and its second "ready". Then it halts; or, with a letter after the number:
 *   b  goes on writing to the same pages, and prints a line a round;
 *   c  waits for the next generation, in which it writes to the pages after those; from the fourth on it only
 *      says that it is ready;
 *   p  and a second number: before it writes it reads a word of each page of that many MiB;
 *   s  likewise, and what it writes to is spread over all that it has read.
 *
 * Flat 32-bit protected mode, no interrupts.
 */
#include "guest.h"

#define FIRST 0x1000000u
#define PAGE 4096u
#define STEP 40487u     /* from one page to the next; a prime, so that it comes by all of them */
#define COMMAND_LINE 24 /* offset in hvm_start_info */

static void write_pages(uint32_t first, uint32_t mib, uint32_t distance)
{
    uint32_t pages = mib * ((1u << 20) / PAGE);
    for (uint32_t i = 0, page = 0; i < pages; i++, page = (page + STEP) % pages)
        *at(first + page * distance * PAGE) = 1;
}

/* In few instructions, for each is emulated on some hosts. */
static void write_again(uint32_t mib, uint32_t value)
{
    uint32_t end = FIRST + (mib << 20);
    for (uint32_t address = FIRST; address < end; address += PAGE)
        *at(address) = value;
}

static void read_pages(uint32_t mib)
{
    for (uint32_t address = FIRST; address < FIRST + (mib << 20); address += PAGE)
        (void)*at(address);
}

static uint32_t number(const char **text)
{
    uint32_t value = 0;
    for (; **text >= '0' && **text <= '9'; ++*text)
        value = value * 10 + (uint32_t)(**text - '0');
    return value;
}

static void wait_for_generation(void)
{
    static uint32_t known;
    while (known != 0 && *at(VMGENID) == known)
        __asm__ volatile("pause");
    known = *at(VMGENID);
}

void run(uint32_t start_info)
{
    const char *text = (const char *)(uintptr_t)*at(start_info + COMMAND_LINE);
    uint32_t mib = number(&text);
    const char *more = text + 1;
    uint32_t present = *text == 'p' || *text == 's' ? number(&more) : 0;
    uint32_t distance = *text == 's' ? present / mib : 1;
    uint32_t links = *text == 'c' ? 3 : 1;
    wait_for_generation();
    out8(READY_PORT, 0);
    for (uint32_t link = 0; link < links; link++) {
        wait_for_generation();
        read_pages(present);
        write_pages(FIRST + link * (mib << 20), mib, distance);
        out8(READY_PORT, 0);
    }
    for (uint32_t round = 2; *text == 'b'; round++) {
        write_again(mib, round);
        out8(CONSOLE_PORT, '\n');
    }
    if (*text == 'c') {
        wait_for_generation();
        out8(READY_PORT, 0);
    }
    stop();
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that reads blocks of 4 KiB at random from its first disk, as many at a time as its command line
 * says. It looks for what is done and takes no interrupts.
 */
#define QUEUE_SIZE 128
#define FEATURES (1u << 29) /* VIRTIO_F_EVENT_IDX */
#include "guest.h"
#include "ring3.h"
#include "virtio.h"

#define BLOCK_DEVICE 2u
#define PARTS 3u /* header, data, status */
#define SECTORS_PER_BLOCK 8u
#define STRING_OF(value) #value
#define STRING(value) STRING_OF(value)

/* In 64-bit code, which no compiler gives us beside the rest. */
static volatile struct {
    uint64_t used;
    uint64_t available;
    uint64_t buffers;
    uint64_t notify;
    uint64_t blocks;
    uint64_t depth;
} places;

void ask_for_ever(void);

__asm__(".code64\n"
        "ask_for_ever:\n"
        "movq (%rbx), %r8\n"
        "movq 8(%rbx), %r9\n"
        "movq 16(%rbx), %r10\n"
        "movq 24(%rbx), %r11\n"
        "movq 32(%rbx), %r12\n"
        "movl $1, %r13d\n"       /* of random numbers: xorshift */
        "xorl %r14d, %r14d\n"    /* what was seen as used */
        "movl 40(%rbx), %r15d\n" /* what was available when the device was told */
        "1: movzwl 2(%r8), %eax\n"
        "cmpw %ax, %r14w\n"
        "jne 2f\n"
        "pause\n"
        "jmp 1b\n"
        /* The next one that is used: ask for another block in its place. */
        "2: movl %r14d, %ecx\n"
        "andl $" STRING(
            QUEUE_SIZE) " - 1, %ecx\n"
                        "movl 4(%r8,%rcx,8), %edx\n"
                        "movl %r13d, %esi\n shll $13, %esi\n xorl %esi, %r13d\n"
                        "movl %r13d, %esi\n shrl $17, %esi\n xorl %esi, %r13d\n"
                        "movl %r13d, %esi\n shll $5, %esi\n xorl %esi, %r13d\n"
                        "movl %r13d, %esi\n imulq %r12, %rsi\n shrq $32, %rsi\n shlq $3, %rsi\n"
                        "movl %edx, %ecx\n shlq $12, %rcx\n"
                        "movq %rsi, 8(%r10,%rcx)\n" /* the header's sector */
                        "movzwl 2(%r9), %ecx\n"
                        "movl %ecx, %edi\n andl $" STRING(
                            QUEUE_SIZE) " - 1, %edi\n"
                                        "movw %dx, 4(%r9,%rdi,2)\n"
                                        "incl %ecx\n movw %cx, 2(%r9)\n"
                                        "incl %r14d\n"
                                        "cmpw %ax, %r14w\n jne 2b\n"
                                        /* virtio 1.2, 2.7.10: does the device want to hear of these? */
                                        "mfence\n"
                                        "movzwl 2(%r9), %ecx\n"
                                        "movl %ecx, %edi\n subw 4 + 8 * " STRING(
                                            QUEUE_SIZE) "(%r8), %di\n decw %di\n"
                                                        "movl %ecx, %esi\n subw %r15w, %si\n"
                                                        "movl %ecx, %r15d\n"
                                                        "cmpw %si, %di\n jae 1b\n"
                                                        "movl $0, (%r11)\n"
                                                        "jmp 1b\n"
                                                        ".code32\n");

void run(uint32_t start_info)
{
    /* hvm_start_info: cmdline_paddr */
    const char *line = (const char *)(uintptr_t)*at(start_info + 24);
    uint32_t depth = 0;
    while (*line >= '0' && *line <= '9')
        depth = depth * 10 + (uint32_t)(*line++ - '0');
    find_device(BLOCK_DEVICE);
    start_queue(0);
    start_driver();
    for (uint32_t i = 0; i < depth * PARTS; i += PARTS) {
        describe(0, i, BUFFER(0, i), 16, DESC_NEXT); /* all zero: a read of the first block */
        describe(0, i + 1, BUFFER(0, i + 1), PAGE, DESC_NEXT | DESC_WRITE);
        describe(0, i + 2, BUFFER(0, i + 2), 1, DESC_WRITE);
        offer(0, i);
    }
    places.used = USED(0);
    places.available = AVAIL(0);
    places.buffers = BUFFER(0, 0);
    places.notify = device + QUEUE_NOTIFY;
    places.blocks = *at(device + CONFIG) / SECTORS_PER_BLOCK;
    places.depth = depth;
    out8(READY_PORT, 0);
    enter_ring3(ask_for_ever, &places);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel files of any content: the loader must refuse or load them, and touch nothing but guest memory. */
#include "machine/kernel.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct guest_memory memory = {.size = 64ull << 20};
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("kernel", MFD_CLOEXEC);
        memory.host = mmap(NULL, memory.size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (fd < 0 || memory.host == MAP_FAILED)
            abort();
    }
    if (ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    struct kernel_entry entry;
    struct kvm_regs regs;
    struct kvm_sregs sregs = {0};
    if (kernel_load(&memory, fd, -1, "console=ttyS0", &entry, NULL) == 0)
        kernel_set_entry(&memory, &entry, &regs, &sregs, NULL);
    return 0;
}

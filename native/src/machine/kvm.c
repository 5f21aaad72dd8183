/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/kvm.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MAX_MSRS 1024

/* Every capability that a machine is built on; what is merely faster with is asked for where it is used. */
static const struct {
    int number;
    const char *name;
} required_capabilities[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
    {KVM_CAP_XCRS, "KVM_CAP_XCRS"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    {KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

int kvm_ioctl(int fd, unsigned long request, const void *argument, const char *name, struct forkd_error *err)
{
    int result = ioctl(fd, request, argument);
    return result < 0 ? error_set(err, errno, name, "/dev/kvm", NULL) : result;
}

int kvm_ioctl_value(int fd, unsigned long request, unsigned long value, const char *name,
                    struct forkd_error *err)
{
    int result = ioctl(fd, request, value);
    return result < 0 ? error_set(err, errno, name, "/dev/kvm", NULL) : result;
}

/* The descriptor, or a negative errno: it could not be opened. */
static int opened_ahead = -1;
static bool is_ahead;

static int open_path(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void kvm_open_ahead(void)
{
    opened_ahead = open_path();
    is_ahead = true;
}

static int open_device(struct forkd_error *err)
{
    int fd = is_ahead ? opened_ahead : open_path();
    if (fd >= 0)
        return fd;
    errno = -fd;
    const char *remedy = NULL;
    if (errno == ENOENT || errno == ENODEV) /* the node may be there without the module */
        remedy =
            "this host offers no virtualisation; load kvm-intel or kvm-amd, or enable it in the firmware "
            "(or nested virtualisation in the hypervisor above)";
    else if (errno == EACCES || errno == EPERM)
        remedy = "add yourself to the group that owns it (sudo usermod -aG kvm $USER, then log in again)";
    return error_set(err, errno, "open", "/dev/kvm", remedy == NULL ? NULL : "%s", remedy);
}

static int read_lists(struct kvm_host *host, bool with_cpuid, struct forkd_error *err)
{
    if (with_cpuid) {
        host->cpuid = calloc(1, sizeof *host->cpuid + CPUID_MAX_ENTRIES * sizeof host->cpuid->entries[0]);
        if (host->cpuid == NULL)
            return error_set(err, ENOMEM, "allocate", "CPUID table", NULL);
        host->cpuid->nent = CPUID_MAX_ENTRIES;
        int result = KVM_IOCTL(host->fd, KVM_GET_SUPPORTED_CPUID, host->cpuid, err);
        if (result < 0)
            return result;
    }
    host->msrs = calloc(1, sizeof *host->msrs + MAX_MSRS * sizeof host->msrs->indices[0]);
    if (host->msrs == NULL)
        return error_set(err, ENOMEM, "allocate", "MSR list", NULL);
    host->msrs->nmsrs = MAX_MSRS;
    return KVM_IOCTL(host->fd, KVM_GET_MSR_INDEX_LIST, host->msrs, err);
}

/* What the processor has tells the flavour: a KVM that does without is loaded only where it has neither. */
enum host_flavour kvm_flavour(void)
{
    uint32_t a = 0;
    uint32_t b = 0;
    uint32_t c = 0;
    uint32_t d = 0;
    if (__get_cpuid(0x80000001u, &a, &b, &c, &d) && (c & (1u << 2)) != 0) /* APM volume 2, 15.4: ECX.SVM */
        return HOST_SVM;
    if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 5)) != 0) /* SDM volume 3C, 24.6: ECX.VMX */
        return HOST_VMX;
    return HOST_PAGE_TABLES;
}

/* Bits behind the point in the ratio. APM volume 2, 15.30.5, MSR C000_0104; SDM volume 3C, 25.6.5, the TSC
 * multiplier. */
static uint32_t tsc_fraction_bits(const struct kvm_host *host)
{
    if (ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) <= 0 || host->flavour == HOST_PAGE_TABLES)
        return 0;
    return host->flavour == HOST_SVM ? 32 : 48;
}

/* KVM tells the frequency of a VM's TSC (from Linux 5.19 on), or of a vCPU's, not the host's: so one is made.
 */
static int read_tsc_khz(struct kvm_host *host, struct forkd_error *err)
{
    int vm = KVM_IOCTL(host->fd, KVM_CREATE_VM, NULL, err);
    if (vm < 0)
        return vm;
    int khz = ioctl(vm, KVM_GET_TSC_KHZ, NULL);
    int vcpu = khz > 0 ? -1 : ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu >= 0) {
        khz = ioctl(vcpu, KVM_GET_TSC_KHZ, NULL);
        close(vcpu);
    }
    close(vm);
    host->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
    return 0;
}

int kvm_host_open(struct kvm_host *host, bool with_cpuid, struct forkd_error *err)
{
    *host = (struct kvm_host){.fd = open_device(err), .flavour = kvm_flavour()};
    if (host->fd < 0)
        return host->fd;
    int result = KVM_IOCTL(host->fd, KVM_GET_API_VERSION, NULL, err);
    if (result >= 0 && result != KVM_API_VERSION)
        result = error_set(err, ENOTSUP, "KVM_GET_API_VERSION", "/dev/kvm", "version %d, not %d", result,
                           KVM_API_VERSION);
    for (size_t i = 0; result >= 0 && i < sizeof required_capabilities / sizeof required_capabilities[0];
         i++) {
        if (ioctl(host->fd, KVM_CHECK_EXTENSION, required_capabilities[i].number) <= 0)
            result = error_set(err, ENOTSUP, "KVM_CHECK_EXTENSION", required_capabilities[i].name,
                               "this host's KVM lacks it");
    }
    if (result >= 0)
        result = KVM_IOCTL(host->fd, KVM_GET_VCPU_MMAP_SIZE, NULL, err);
    if (result >= 0) {
        host->run_size = (size_t)result;
        result = read_lists(host, with_cpuid, err);
    }
    if (result >= 0)
        result = read_tsc_khz(host, err);
    if (result < 0) {
        kvm_host_close(host);
        return result;
    }
    int xsave2 = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    host->xsave_size = xsave2 > (int)sizeof(struct kvm_xsave) ? (uint32_t)xsave2 : sizeof(struct kvm_xsave);
    host->tsc_fraction_bits = tsc_fraction_bits(host);
    /* Only two-dimensional paging has that (Linux 6.11): an older kernel does not say which it has. */
    host->has_shadow_pages = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY) <= 0;
    /* KVM_VCPU_TSC_CTRL has no capability of its own; it came with the host TSC in KVM_GET_CLOCK
     * (Linux 5.16). */
    host->has_tsc_offset =
        (ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK) & KVM_CLOCK_HOST_TSC) != 0;
    return 0;
}

void kvm_host_close(struct kvm_host *host)
{
    if (host->fd >= 0)
        close(host->fd);
    free(host->cpuid);
    free(host->msrs);
    *host = (struct kvm_host){.fd = -1};
}

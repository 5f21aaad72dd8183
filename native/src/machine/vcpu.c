/* SPDX-License-Identifier: Apache-2.0 */
#include "machine/vcpu.h"

#include <asm/kvm_para.h>
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SECTION_VERSION 1
#define MAX_MSRS 4096
#define MAX_XSAVE (1u << 20)

#define MSR_IA32_TSC 0x10
#define MSR_IA32_TSC_DEADLINE 0x6e0
/* Intel SDM 3A, 12.5.4. 0: the timer stands, or goes by the TSC deadline. */
#define LAPIC_INITIAL_COUNT 0x380

/* MTRRs (SDM 3A, 12.11): pairs, and the default type. The fixed ones are those of `quiet`. */
#define MSR_MTRR_PAIRS 0x200u
#define MTRR_PAIRS 8u
/* Banks of machine checks, four MSRs each (SDM 3B, 16.3.2): as many as KVM gives a vCPU. */
#define MSR_IA32_MC0_CTL 0x400u
#define MC_BANKS 32u

#define MSR_IA32_FEATURE_CONTROL 0x3a
#define MSR_IA32_XSS 0xda0

/*
 * MSRs that page-table KVM lists but does not take back, and that its guests do not miss: there is no XSAVES
 * for what IA32_XSS enables, nor VMX or SGX for IA32_FEATURE_CONTROL. With VMX and SVM they are state like
 * any other.
 */
static bool is_unsettable(const struct kvm_host *host, uint32_t index)
{
    return host->flavour == HOST_PAGE_TABLES && (index == MSR_IA32_XSS || index == MSR_IA32_FEATURE_CONTROL);
}

/* A richer host lists more, all the way to where nobody ever wrote: that is no state. */
static bool is_untouched_and_unknown(const struct kvm_host *host, const struct kvm_msr_entry *entry)
{
    for (uint32_t i = 0; i < host->msrs->nmsrs; i++) {
        if (host->msrs->indices[i] == entry->index)
            return false;
    }
    return entry->data == 0;
}

int vcpu_create(struct vcpu *vcpu, struct machine *machine, uint32_t index, int vm_fd,
                const struct kvm_host *host, struct forkd_error *err)
{
    *vcpu = (struct vcpu){.machine = machine, .index = index, .fd = -1};
    int fd = KVM_IOCTL_VALUE(vm_fd, KVM_CREATE_VCPU, index, err);
    if (fd < 0)
        return fd;
    /* All of it at once: an exit comes by two of its three pages. */
    void *run = mmap(NULL, host->run_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (run == MAP_FAILED) {
        int result = error_set(err, errno, "mmap", "kvm_run", NULL);
        close(fd);
        return result;
    }
    vcpu->fd = fd;
    vcpu->run = run;
    return 0;
}

void vcpu_close(struct vcpu *vcpu, const struct kvm_host *host)
{
    if (vcpu->fd < 0)
        return;
    munmap(vcpu->run, host->run_size);
    close(vcpu->fd);
    vcpu->fd = -1;
}

static struct kvm_msrs *msrs_allocate(uint32_t count)
{
    struct kvm_msrs *msrs = calloc(1, sizeof *msrs + count * sizeof msrs->entries[0]);
    if (msrs != NULL)
        msrs->nmsrs = count;
    return msrs;
}

/* All MSRs that the host can read. One that it lists and then refuses is left out: there is nothing to
 * restore. */
static int get_msrs(const struct vcpu *vcpu, const struct kvm_host *host, struct vcpu_state *state,
                    struct forkd_error *err)
{
    uint32_t wanted = host->msrs->nmsrs;
    state->msrs = msrs_allocate(wanted);
    if (state->msrs == NULL)
        return error_set(err, ENOMEM, "allocate", "MSRs", NULL);
    for (uint32_t i = 0; i < wanted; i++)
        state->msrs->entries[i].index = host->msrs->indices[i];
    for (;;) {
        int got = ioctl(vcpu->fd, KVM_GET_MSRS, state->msrs);
        if (got < 0)
            return error_set(err, errno, "KVM_GET_MSRS", "/dev/kvm", NULL);
        uint32_t count = state->msrs->nmsrs;
        if ((uint32_t)got == count)
            return 0;
        memmove(&state->msrs->entries[got], &state->msrs->entries[got + 1],
                (count - (uint32_t)got - 1) * sizeof state->msrs->entries[0]);
        state->msrs->nmsrs = count - 1;
    }
}

static int tsc_offset_attribute(const struct vcpu *vcpu, unsigned long request, uint64_t *offset,
                                struct forkd_error *err)
{
    struct kvm_device_attr attribute = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};
    return kvm_ioctl(vcpu->fd, request, &attribute, "KVM_VCPU_TSC_OFFSET", err);
}

int vcpu_get_state(const struct vcpu *vcpu, const struct kvm_host *host, struct vcpu_state *state,
                   struct forkd_error *err)
{
    memset(state, 0, sizeof *state);
    state->xsave_size = host->xsave_size;
    state->xsave = calloc(1, host->xsave_size);
    size_t cpuid_size = sizeof *state->cpuid + CPUID_MAX_ENTRIES * sizeof state->cpuid->entries[0];
    state->cpuid = calloc(1, cpuid_size);
    if (state->xsave == NULL || state->cpuid == NULL)
        return error_set(err, ENOMEM, "allocate", "vCPU state", NULL);
    state->cpuid->nent = CPUID_MAX_ENTRIES;
    int fd = vcpu->fd;
    int result = 0;
    /* MP state first: reading it makes KVM act on a pending INIT or SIPI, which changes the registers. */
    if ((result = KVM_IOCTL(fd, KVM_GET_MP_STATE, &state->mp_state, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_CPUID2, state->cpuid, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_REGS, &state->regs, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_SREGS, &state->sregs, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_XCRS, &state->xcrs, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_DEBUGREGS, &state->debugregs, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_LAPIC, &state->lapic, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_VCPU_EVENTS, &state->events, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_GET_TSC_KHZ, NULL, err)) < 0)
        return result;
    state->tsc_khz = (uint32_t)result;
    if (host->xsave_size > sizeof(struct kvm_xsave))
        result = KVM_IOCTL(fd, KVM_GET_XSAVE2, state->xsave, err);
    else
        result = KVM_IOCTL(fd, KVM_GET_XSAVE, state->xsave, err);
    if (result < 0 || (result = get_msrs(vcpu, host, state, err)) < 0)
        return result;
    for (uint32_t i = 0; i < state->msrs->nmsrs; i++) {
        if (state->msrs->entries[i].index == MSR_IA32_TSC)
            state->tsc = state->msrs->entries[i].data;
    }
    if (host->has_tsc_offset)
        return tsc_offset_attribute(vcpu, KVM_GET_DEVICE_ATTR, &state->tsc_offset, err);
    return 0;
}

/* KVM_SET_MSRS stops at the first that it refuses. What may be refused was left out (vcpu_state_prepare). */
static int set_msrs(const struct vcpu *vcpu, const struct kvm_msrs *msrs, struct forkd_error *err)
{
    if (msrs->nmsrs == 0)
        return 0;
    int set = KVM_IOCTL(vcpu->fd, KVM_SET_MSRS, msrs, err);
    if (set < 0 || (uint32_t)set == msrs->nmsrs)
        return set < 0 ? set : 0;
    const struct kvm_msr_entry *refused = &msrs->entries[set];
    char name[32];
    snprintf(name, sizeof name, "MSR 0x%x", refused->index);
    return error_set(err, ENOTSUP, "KVM_SET_MSRS", name, "this host refuses the saved value 0x%llx",
                     (unsigned long long)refused->data);
}

int vcpu_set_cpuid(const struct vcpu *vcpu, const struct kvm_host *host, const struct vcpu_state *state,
                   struct forkd_error *err)
{
    /* A TSC of another frequency than the host's needs scaling; asking for the host's own is free but not
     * always supported, so it is not asked for. */
    int result = 0;
    if (state->tsc_khz != 0 && host->tsc_khz != 0 && host->tsc_khz != state->tsc_khz &&
        (result = KVM_IOCTL_VALUE(vcpu->fd, KVM_SET_TSC_KHZ, state->tsc_khz, err)) < 0)
        return result;
    return KVM_IOCTL(vcpu->fd, KVM_SET_CPUID2, state->cpuid, err);
}

static bool has_msr(const struct kvm_msrs *msrs, uint32_t index)
{
    for (uint32_t i = 0; i < msrs->nmsrs; i++) {
        if (msrs->entries[i].index == index)
            return true;
    }
    return false;
}

/* struct kvm_msrs ends in an array of any length. */
#define MSRS_BYTES(count) (sizeof(struct kvm_msrs) + (count) * sizeof(struct kvm_msr_entry))

int vcpu_check_reset(const struct vcpu *vcpu, const struct kvm_host *host, const struct vcpu_state *state,
                     struct forkd_error *err)
{
    alignas(struct kvm_msrs) uint8_t buffer[MSRS_BYTES(1)] = {0};
    struct kvm_msrs *one = (struct kvm_msrs *)buffer;
    for (uint32_t i = 0; i < host->msrs->nmsrs; i++) {
        one->nmsrs = 1;
        one->entries[0] = (struct kvm_msr_entry){.index = host->msrs->indices[i]};
        if (has_msr(state->msrs, one->entries[0].index) || ioctl(vcpu->fd, KVM_GET_MSRS, one) != 1)
            continue;
        char name[32];
        snprintf(name, sizeof name, "MSR 0x%x", host->msrs->indices[i]);
        return error_set(
            err, ENOTSUP, "reset", name,
            "the snapshot is of a host that has it not, so what it was at first is not known: take "
            "a new child, or make the snapshot here");
    }
    return 0;
}

/* MSRs that no list of KVM's has, so that no snapshot has them and a new vCPU has zeroes there; and those
 * whose value starts something that setting another does not end: a timer, and page faults under way. */
static uint32_t fill_quiet(struct kvm_msr_entry *entries)
{
    static const uint32_t single[] = {MSR_IA32_TSC_DEADLINE,
                                      MSR_KVM_ASYNC_PF_EN,
                                      0x2ff, /* MTRR: the default type; the fixed ones */
                                      0x250,
                                      0x258,
                                      0x259,
                                      0x268,
                                      0x269,
                                      0x26a,
                                      0x26b,
                                      0x26c,
                                      0x26d,
                                      0x26e,
                                      0x26f};
    uint32_t count = 0;
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        entries[count++].index = single[i];
    for (uint32_t i = 0; i < 2 * MTRR_PAIRS; i++)
        entries[count++].index = MSR_MTRR_PAIRS + i;
    for (uint32_t i = 0; i < 4 * MC_BANKS; i++)
        entries[count++].index = MSR_IA32_MC0_CTL + i;
    return count;
}

int vcpu_reset(const struct vcpu *vcpu, struct forkd_error *err)
{
    alignas(struct kvm_msrs) uint8_t buffer[MSRS_BYTES(16 + 2 * MTRR_PAIRS + 4 * MC_BANKS)] = {0};
    struct kvm_msrs *quiet = (struct kvm_msrs *)buffer;
    /* An INIT or SIPI that is pending is acted on when this is read, and not afterwards. */
    struct kvm_mp_state mp_state = {0};
    int result = KVM_IOCTL(vcpu->fd, KVM_GET_MP_STATE, &mp_state, err);
    if (result < 0)
        return result;
    uint32_t count = fill_quiet(quiet->entries);
    for (uint32_t done = 0; done < count; done++) { /* past what it refuses, since it has that not */
        quiet->nmsrs = count - done;
        if ((result = KVM_IOCTL(vcpu->fd, KVM_SET_MSRS, quiet, err)) < 0)
            return result;
        done += (uint32_t)result;
        memmove(quiet->entries, quiet->entries + result + 1,
                (size_t)(done < count ? count - done - 1 : 0) * sizeof quiet->entries[0]);
    }
    return 0;
}

int vcpu_set_state(const struct vcpu *vcpu, const struct vcpu_state *state, struct forkd_error *err)
{
    int fd = vcpu->fd;
    int result = 0;
    if ((result = KVM_IOCTL(fd, KVM_SET_MP_STATE, &state->mp_state, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_SET_REGS, &state->regs, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_SET_SREGS, &state->sregs, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_SET_XSAVE, state->xsave, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_SET_XCRS, &state->xcrs, err)) < 0 ||
        (result = KVM_IOCTL(fd, KVM_SET_DEBUGREGS, &state->debugregs, err)) < 0 ||
        (result = set_msrs(vcpu, state->timeless_msrs, err)) < 0 ||
        (!state->has_lapic_timer && (result = KVM_IOCTL(fd, KVM_SET_LAPIC, &state->lapic, err)) < 0))
        return result;
    /* What is pending comes after the registers, which clear it. */
    return KVM_IOCTL(fd, KVM_SET_VCPU_EVENTS, &state->events, err);
}

int vcpu_set_time(const struct vcpu *vcpu, const struct kvm_host *host, const struct vcpu_state *state,
                  uint64_t tsc_offset, struct forkd_error *err)
{
    int fd = vcpu->fd;
    int result = 0;
    if (host->has_tsc_offset &&
        (result = tsc_offset_attribute(vcpu, KVM_SET_DEVICE_ATTR, &tsc_offset, err)) < 0)
        return result;
    /* The deadline takes effect only once TSC and LAPIC are what they were. */
    if ((state->has_lapic_timer && (result = KVM_IOCTL(fd, KVM_SET_LAPIC, &state->lapic, err)) < 0) ||
        (result = set_msrs(vcpu, state->time_msrs, err)) < 0)
        return result;
    if (state->has_kvmclock)
        vcpu_tell_stopped(vcpu);
    return 0;
}

void vcpu_tell_stopped(const struct vcpu *vcpu)
{
    ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0); /* EINVAL if its clock is at an address that it has not */
}

bool vcpu_is_halted(const struct vcpu *vcpu)
{
    struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};
    ioctl(vcpu->fd, KVM_GET_MP_STATE, &state);
    return state.mp_state == KVM_MP_STATE_HALTED || state.mp_state == KVM_MP_STATE_UNINITIALIZED;
}

bool vcpu_prefault(const struct vcpu *vcpu, uint64_t address, uint64_t length)
{
    struct kvm_pre_fault_memory range = {.gpa = address, .size = length};
    return ioctl(vcpu->fd, KVM_PRE_FAULT_MEMORY, &range) == 0;
}

int vcpu_get_tsc(const struct vcpu *vcpu, uint64_t *tsc, struct forkd_error *err)
{
    struct kvm_msrs *msrs = msrs_allocate(1);
    if (msrs == NULL)
        return error_set(err, ENOMEM, "allocate", "MSRs", NULL);
    msrs->entries[0].index = MSR_IA32_TSC;
    int result = KVM_IOCTL(vcpu->fd, KVM_GET_MSRS, msrs, err);
    *tsc = msrs->entries[0].data;
    free(msrs);
    return result;
}

void vcpu_state_free(struct vcpu_state *state)
{
    free(state->cpuid);
    free(state->msrs);
    free(state->timeless_msrs);
    free(state->time_msrs);
    free(state->xsave);
    memset(state, 0, sizeof *state);
}

void vcpu_state_save(const struct vcpu_state *state, uint32_t index, struct vmstate_writer *writer)
{
    vmstate_begin(writer, VCPU_SECTION, index, SECTION_VERSION);
    vmstate_put_bytes(writer, &state->regs, sizeof state->regs);
    vmstate_put_bytes(writer, &state->sregs, sizeof state->sregs);
    vmstate_put_bytes(writer, &state->xcrs, sizeof state->xcrs);
    vmstate_put_bytes(writer, &state->debugregs, sizeof state->debugregs);
    vmstate_put_bytes(writer, &state->lapic, sizeof state->lapic);
    vmstate_put_u32(writer, state->mp_state.mp_state);
    vmstate_put_bytes(writer, &state->events, sizeof state->events);
    vmstate_put_u32(writer, state->tsc_khz);
    vmstate_put_u64(writer, state->tsc);
    vmstate_put_u64(writer, state->tsc_offset);
    vmstate_put_u32(writer, state->cpuid->nent);
    for (uint32_t i = 0; i < state->cpuid->nent; i++)
        vmstate_put_bytes(writer, &state->cpuid->entries[i], sizeof state->cpuid->entries[i]);
    vmstate_put_u32(writer, state->msrs->nmsrs);
    for (uint32_t i = 0; i < state->msrs->nmsrs; i++) {
        vmstate_put_u32(writer, state->msrs->entries[i].index);
        vmstate_put_u64(writer, state->msrs->entries[i].data);
    }
    vmstate_put_u32(writer, state->xsave_size);
    vmstate_put_bytes(writer, state->xsave, state->xsave_size);
    vmstate_end(writer);
}

static bool load_tables(struct vcpu_state *state, struct vmstate_section *section)
{
    uint32_t count = vmstate_get_u32(section);
    if (count > CPUID_MAX_ENTRIES)
        return false;
    state->cpuid = calloc(1, sizeof *state->cpuid + count * sizeof state->cpuid->entries[0]);
    if (state->cpuid == NULL)
        return false;
    state->cpuid->nent = count;
    for (uint32_t i = 0; i < count; i++)
        vmstate_get_bytes(section, &state->cpuid->entries[i], sizeof state->cpuid->entries[i]);
    count = vmstate_get_u32(section);
    if (count > MAX_MSRS || (state->msrs = msrs_allocate(count)) == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        state->msrs->entries[i].index = vmstate_get_u32(section);
        state->msrs->entries[i].data = vmstate_get_u64(section);
    }
    state->xsave_size = vmstate_get_u32(section);
    if (state->xsave_size < sizeof(struct kvm_xsave) || state->xsave_size > MAX_XSAVE)
        return false;
    state->xsave = calloc(1, state->xsave_size);
    if (state->xsave == NULL)
        return false;
    vmstate_get_bytes(section, state->xsave, state->xsave_size);
    return true;
}

int vcpu_state_load(struct vcpu_state *state, uint32_t index, const struct vmstate_reader *reader,
                    struct forkd_error *err)
{
    memset(state, 0, sizeof *state);
    struct vmstate_section section;
    int result = vmstate_open(reader, VCPU_SECTION, index, SECTION_VERSION, &section, err);
    if (result < 0)
        return result;
    vmstate_get_bytes(&section, &state->regs, sizeof state->regs);
    vmstate_get_bytes(&section, &state->sregs, sizeof state->sregs);
    vmstate_get_bytes(&section, &state->xcrs, sizeof state->xcrs);
    vmstate_get_bytes(&section, &state->debugregs, sizeof state->debugregs);
    vmstate_get_bytes(&section, &state->lapic, sizeof state->lapic);
    state->mp_state.mp_state = vmstate_get_u32(&section);
    vmstate_get_bytes(&section, &state->events, sizeof state->events);
    state->tsc_khz = vmstate_get_u32(&section);
    state->tsc = vmstate_get_u64(&section);
    state->tsc_offset = vmstate_get_u64(&section);
    if (!load_tables(state, &section))
        vmstate_reject(&section);
    result = vmstate_close(&section, err);
    if (result < 0)
        vcpu_state_free(state);
    return result;
}

int vcpu_state_prepare(struct vcpu_state *state, const struct kvm_host *host, struct forkd_error *err)
{
    state->timeless_msrs = msrs_allocate(state->msrs->nmsrs);
    state->time_msrs = msrs_allocate(state->msrs->nmsrs);
    if (state->timeless_msrs == NULL || state->time_msrs == NULL)
        return error_set(err, ENOMEM, "allocate", "MSRs", NULL);
    state->timeless_msrs->nmsrs = 0;
    state->time_msrs->nmsrs = 0;
    uint32_t initial_count = 0;
    memcpy(&initial_count, state->lapic.regs + LAPIC_INITIAL_COUNT, sizeof initial_count);
    state->has_lapic_timer = initial_count != 0;
    for (uint32_t i = 0; i < state->msrs->nmsrs; i++) {
        const struct kvm_msr_entry *entry = &state->msrs->entries[i];
        struct kvm_msrs *list = state->timeless_msrs;
        if (entry->index == MSR_IA32_TSC || entry->index == MSR_IA32_TSC_DEADLINE)
            list = state->time_msrs;
        /* The TSC goes its own way where there is an offset to set; and a new vCPU has no deadline. */
        bool needless = entry->index == MSR_IA32_TSC ? host->has_tsc_offset
                                                     : list == state->time_msrs && entry->data == 0;
        if (!needless && !is_unsettable(host, entry->index) && !is_untouched_and_unknown(host, entry))
            list->entries[list->nmsrs++] = *entry;
        if (entry->index == MSR_KVM_SYSTEM_TIME || entry->index == MSR_KVM_SYSTEM_TIME_NEW)
            state->has_kvmclock = state->has_kvmclock || (entry->data & 1) != 0;
    }
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Bits: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E; Documentation/virt/kvm/x86/cpuid.rst. */
#include "machine/features.h"

#include <cpuid.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BIT(n) (1u << (n))

/* Names as in /proc/cpuinfo; a bit without one is shown by its place. */
static const char *const names_1_ecx[32] = {"pni",    "pclmulqdq", "dtes64",  "monitor", "ds_cpl",
                                            "vmx",    "smx",       "est",     "tm2",     "ssse3",
                                            "cid",    "sdbg",      "fma",     "cx16",    "xtpr",
                                            "pdcm",   NULL,        "pcid",    "dca",     "sse4_1",
                                            "sse4_2", "x2apic",    "movbe",   "popcnt",  "tsc_deadline_timer",
                                            "aes",    "xsave",     "osxsave", "avx",     "f16c",
                                            "rdrand", "hypervisor"};
static const char *const names_1_edx[32] = {"fpu",  "vme",   "de",   "pse",     "tsc",  "msr", "pae",  "mce",
                                            "cx8",  "apic",  NULL,   "sep",     "mtrr", "pge", "mca",  "cmov",
                                            "pat",  "pse36", "pn",   "clflush", NULL,   "dts", "acpi", "mmx",
                                            "fxsr", "sse",   "sse2", "ss",      "ht",   "tm",  "ia64", "pbe"};
static const char *const names_6_eax[32] = {"dtherm", "ida", "arat"};
static const char *const names_7_ebx[32] = {
    "fsgsbase",   "tsc_adjust", "sgx",        "bmi1",     "hle",      "avx2",     "fdp_excptn_only",
    "smep",       "bmi2",       "erms",       "invpcid",  "rtm",      "cqm",      "zero_fcs_fds",
    "mpx",        "rdt_a",      "avx512f",    "avx512dq", "rdseed",   "adx",      "smap",
    "avx512ifma", NULL,         "clflushopt", "clwb",     "intel_pt", "avx512pf", "avx512er",
    "avx512cd",   "sha_ni",     "avx512bw",   "avx512vl"};
static const char *const names_7_ecx[32] = {"prefetchwt1",
                                            "avx512vbmi",
                                            "umip",
                                            "pku",
                                            "ospke",
                                            "waitpkg",
                                            "avx512_vbmi2",
                                            "shstk",
                                            "gfni",
                                            "vaes",
                                            "vpclmulqdq",
                                            "avx512_vnni",
                                            "avx512_bitalg",
                                            "tme",
                                            "avx512_vpopcntdq",
                                            NULL,
                                            "la57",
                                            NULL,
                                            NULL,
                                            NULL,
                                            NULL,
                                            NULL,
                                            "rdpid",
                                            NULL,
                                            "bus_lock_detect",
                                            "cldemote",
                                            NULL,
                                            "movdiri",
                                            "movdir64b",
                                            "enqcmd",
                                            "sgx_lc",
                                            "pks"};
static const char *const names_7_edx[32] = {NULL,
                                            "sgx_keys",
                                            "avx512_4vnniw",
                                            "avx512_4fmaps",
                                            "fsrm",
                                            "uintr",
                                            NULL,
                                            NULL,
                                            "avx512_vp2intersect",
                                            "srbds_ctrl",
                                            "md_clear",
                                            "rtm_always_abort",
                                            NULL,
                                            "tsx_force_abort",
                                            "serialize",
                                            "hybrid",
                                            "tsxldtrk",
                                            NULL,
                                            "pconfig",
                                            "arch_lbr",
                                            "ibt",
                                            NULL,
                                            "amx_bf16",
                                            "avx512_fp16",
                                            "amx_tile",
                                            "amx_int8",
                                            "ibrs",
                                            "stibp",
                                            "flush_l1d",
                                            "arch_capabilities",
                                            "core_capabilities",
                                            "ssbd"};
static const char *const names_7_1_eax[32] = {
    [3] = "rao-int", [4] = "avx_vnni", [5] = "avx512_bf16", [7] = "cmpccxadd", [10] = "fzrm", [11] = "fsrs",
    [12] = "fsrc",   [18] = "lkgs",    [21] = "amx_fp16",   [23] = "avx_ifma", [26] = "lam"};
static const char *const names_d_eax[32] = {"xcr0 x87",
                                            "xcr0 sse",
                                            "xcr0 avx",
                                            "xcr0 bndregs",
                                            "xcr0 bndcsr",
                                            "xcr0 opmask",
                                            "xcr0 zmm_hi256",
                                            "xcr0 hi16_zmm",
                                            [9] = "xcr0 pkru",
                                            [17] = "xcr0 tilecfg",
                                            [18] = "xcr0 tiledata"};
static const char *const names_d_1_eax[32] = {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "xfd"};
static const char *const names_ext_ecx[32] = {
    "lahf_lm",       "cmp_legacy", "svm",   "extapic",    "cr8_legacy",  "abm",   "sse4a",   "misalignsse",
    "3dnowprefetch", "osvw",       "ibs",   "xop",        "skinit",      "wdt",   NULL,      "lwp",
    "fma4",          "tce",        NULL,    "nodeid_msr", NULL,          "tbm",   "topoext", "perfctr_core",
    "perfctr_nb",    NULL,         "bpext", "ptsc",       "perfctr_llc", "mwaitx"};
static const char *const names_ext_edx[32] = {
    [11] = "syscall", [20] = "nx", [22] = "mmxext",   [25] = "fxsr_opt", [26] = "pdpe1gb",
    [27] = "rdtscp",  [29] = "lm", [30] = "3dnowext", [31] = "3dnow"};
static const char *const names_power_edx[32] = {[8] = "invariant_tsc"};
static const char *const names_size_ebx[32] = {
    "clzero",          "irperf",           "xsaveerptr",
    [4] = "rdpru",     [9] = "wbnoinvd",   [12] = "ibpb",
    [14] = "ibrs",     [15] = "stibp",     [17] = "stibp_always_on",
    [24] = "amd_ssbd", [25] = "virt_ssbd", [26] = "ssb_no",
    [28] = "amd_psfd"};
static const char *const names_kvm_eax[32] = {"kvmclock",
                                              "kvm_nopiodelay",
                                              "kvm_mmu_op",
                                              "kvmclock2",
                                              "kvm_asyncpf",
                                              "kvm_steal_time",
                                              "kvm_pv_eoi",
                                              "kvm_pv_unhalt",
                                              NULL,
                                              "kvm_pv_tlb_flush",
                                              "kvm_asyncpf_vmexit",
                                              "kvm_pv_send_ipi",
                                              "kvm_poll_control",
                                              "kvm_pv_sched_yield",
                                              "kvm_asyncpf_int",
                                              "kvm_msi_ext_dest_id",
                                              "kvm_hc_map_gpa_range",
                                              "kvm_migration_control",
                                              [24] = "kvmclock_stable"};
static const char *const no_names[32];

/*
 * All registers that hold features. `ignored` are bits that do not say what the processor has: those that KVM
 * derives from the guest's own settings (OSXSAVE, OSPKE, MONITOR), and those that we set ourselves.
 *
 * The baselines are what all processors of a vendor have since Haswell (2013) and Zen (2017), that is
 * x86-64-v3, and KVM's own features of Linux 5.10. The defences against side channels, which come with
 * microcode, stay in: a guest that cannot use them is worse than one that cannot move. What is tied to one
 * host's clock (invariant_tsc) is left out.
 */
static const struct {
    uint32_t function;
    uint32_t index;
    char reg;
    uint32_t ignored;
    uint32_t intel;
    uint32_t amd;
    const char *const *names;
} registers[] = {
    {0x1, 0, 'c', BIT(3) | BIT(24) | BIT(27) | BIT(31), 0xfff83203u | BIT(17), 0xfff83203u, names_1_ecx},
    {0x1, 0, 'd', BIT(28), 0x1f8bfbffu, 0x178bfbffu, names_1_edx},
    {0x6, 0, 'a', 0, BIT(2), BIT(2), names_6_eax},
    {0x7, 0, 'b', 0, 0x000007abu, 0x209c01abu, names_7_ebx},
    {0x7, 0, 'c', BIT(4), 0, 0, names_7_ecx},
    {0x7, 0, 'd', 0, BIT(10) | BIT(26) | BIT(27) | BIT(31), 0, names_7_edx},
    {0x7, 1, 'a', 0, 0, 0, names_7_1_eax},
    {0x7, 1, 'b', 0, 0, 0, no_names},
    {0x7, 1, 'c', 0, 0, 0, no_names},
    {0x7, 1, 'd', 0, 0, 0, no_names},
    {0x7, 2, 'd', 0, 0, 0, no_names},
    {0xd, 0, 'a', 0, 0x7, 0x7, names_d_eax},
    {0xd, 0, 'd', 0, 0, 0, no_names},
    {0xd, 1, 'a', 0, BIT(0), BIT(0), names_d_1_eax},
    {0xd, 1, 'c', 0, 0, 0, no_names},
    {0x80000001, 0, 'c', 0, BIT(0) | BIT(5), 0x000001f1u, names_ext_ecx},
    {0x80000001, 0, 'd', 0, 0x2c100800u, 0x2fd3fbffu, names_ext_edx},
    {0x80000007, 0, 'd', 0, 0, 0, names_power_edx},
    {0x80000008, 0, 'b', 0, 0, BIT(12) | BIT(14) | BIT(15) | BIT(24), names_size_ebx},
    {0x80000021, 0, 'a', 0, 0, 0, no_names},
    {0x40000001, 0, 'a', 0, 0x01001afbu, 0x01001afbu, names_kvm_eax},
};
#define REGISTER_COUNT (sizeof registers / sizeof registers[0])

/* A baseline's highest leaves, and the parts of XSAVE up to AVX: legacy area, header, upper halves of ymm. */
#define BASELINE_LEAF 0xdu
#define BASELINE_EXTENDED_LEAF 0x80000008u
#define BASELINE_XSAVE_SIZE (512u + 64u + 256u)
/* The smallest address width of the processors that the baseline stands for. */
#define BASELINE_ADDRESS_BITS 39u

static struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
        if (entry->function == function &&
            (entry->index == index || (entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) == 0))
            return (struct kvm_cpuid_entry2 *)entry;
    }
    return NULL;
}

static uint32_t *find_register(struct kvm_cpuid_entry2 *entry, char reg)
{
    switch (reg) {
    case 'a':
        return &entry->eax;
    case 'b':
        return &entry->ebx;
    case 'c':
        return &entry->ecx;
    default:
        return &entry->edx;
    }
}

uint32_t features_get(const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index, char reg)
{
    struct kvm_cpuid_entry2 *entry = find(cpuid, function, index);
    return entry == NULL ? 0 : *find_register(entry, reg);
}

static uint32_t hardware_get(uint32_t function, uint32_t index, char reg)
{
    struct kvm_cpuid_entry2 entry = {0};
    __get_cpuid_count(function, index, &entry.eax, &entry.ebx, &entry.ecx, &entry.edx);
    return *find_register(&entry, reg);
}

void features_vendor(const struct kvm_cpuid2 *cpuid, char vendor[13])
{
    uint32_t words[3] = {features_get(cpuid, 0, 0, 'b'), features_get(cpuid, 0, 0, 'd'),
                         features_get(cpuid, 0, 0, 'c')};
    memcpy(vendor, words, 12);
    vendor[12] = '\0';
}

__attribute__((format(printf, 3, 4))) static void append(char *text, size_t size, const char *format, ...)
{
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + length, size - length, format, arguments);
    va_end(arguments);
}

uint32_t features_missing(const struct kvm_cpuid2 *guest, const struct kvm_cpuid2 *supported,
                          bool hardware_too, char *text, size_t size)
{
    uint32_t count = 0;
    text[0] = '\0';
    for (size_t i = 0; i < REGISTER_COUNT; i++) {
        uint32_t function = registers[i].function;
        uint32_t index = registers[i].index;
        uint32_t here = features_get(supported, function, index, registers[i].reg);
        if (hardware_too)
            here |= hardware_get(function, index, registers[i].reg);
        uint32_t missing =
            features_get(guest, function, index, registers[i].reg) & ~here & ~registers[i].ignored;
        for (uint32_t bit = 0; bit < 32; bit++) {
            if ((missing & BIT(bit)) == 0)
                continue;
            const char *separator = count++ == 0 ? "" : ", ";
            if (registers[i].names[bit] != NULL)
                append(text, size, "%s%s", separator, registers[i].names[bit]);
            else
                append(text, size, "%sCPUID 0x%x.%u e%cx bit %u", separator, function, index,
                       registers[i].reg, bit);
        }
    }
    uint32_t guest_bits = features_get(guest, BASELINE_EXTENDED_LEAF, 0, 'a') & 0xffu;
    uint32_t host_bits = features_get(supported, BASELINE_EXTENDED_LEAF, 0, 'a') & 0xffu;
    if (guest_bits > host_bits)
        append(text, size, "%s%u bits of physical address (here: %u)", count++ == 0 ? "" : ", ", guest_bits,
               host_bits);
    return count;
}

static bool in_baseline(const struct kvm_cpuid_entry2 *entry)
{
    uint32_t function = entry->function;
    if (function >= 0x40000000u && function < 0x50000000u)
        return true;
    if (function == 0xd) /* x87 and SSE, the rest of leaf 1, AVX */
        return entry->index <= 2;
    if (function == 0x7)
        return entry->index == 0;
    return function >= 0x80000000u ? function <= BASELINE_EXTENDED_LEAF : function <= BASELINE_LEAF;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void cut_sizes(struct kvm_cpuid_entry2 *entry)
{
    if (entry->function == 0)
        entry->eax = smaller(entry->eax, BASELINE_LEAF);
    else if (entry->function == 0x7)
        entry->eax = 0;
    else if (entry->function == 0xd && entry->index == 0)
        entry->ebx = entry->ecx = BASELINE_XSAVE_SIZE;
    else if (entry->function == 0xd && entry->index == 1)
        entry->ebx = entry->edx = 0;
    else if (entry->function == 0x80000000u)
        entry->eax = smaller(entry->eax, BASELINE_EXTENDED_LEAF);
    else if (entry->function == BASELINE_EXTENDED_LEAF)
        entry->eax = (entry->eax & ~0xffu) | smaller(entry->eax & 0xffu, BASELINE_ADDRESS_BITS);
}

int features_apply_baseline(struct kvm_cpuid2 *cpuid, struct forkd_error *err)
{
    char vendor[13];
    features_vendor(cpuid, vendor);
    bool intel = strcmp(vendor, "GenuineIntel") == 0;
    if (!intel && strcmp(vendor, "AuthenticAMD") != 0)
        return error_set(err, ENOTSUP, "apply", "CPU template", "there is no baseline for '%s'", vendor);
    uint32_t kept = 0;
    for (uint32_t i = 0; i < cpuid->nent; i++) {
        if (!in_baseline(&cpuid->entries[i]))
            continue;
        cpuid->entries[kept] = cpuid->entries[i];
        cut_sizes(&cpuid->entries[kept++]);
    }
    cpuid->nent = kept;
    for (size_t i = 0; i < REGISTER_COUNT; i++) {
        struct kvm_cpuid_entry2 *entry = find(cpuid, registers[i].function, registers[i].index);
        if (entry != NULL)
            *find_register(entry, registers[i].reg) &= intel ? registers[i].intel : registers[i].amd;
    }
    return 0;
}

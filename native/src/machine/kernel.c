/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PVH: the Xen document "x86/HVM direct boot ABI" (docs/misc/pvh.pandoc).
 * bzImage and the 64-bit entry: Linux, Documentation/arch/x86/boot.rst.
 */
#include "machine/kernel.h"

#include "base/io.h"
#include "machine/platform.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define NOTE_XEN_PHYS32_ENTRY 18
#define START_INFO_MAGIC 0x336ec578u
#define MAX_SEGMENTS 64
#define MAX_NOTES (64u * 1024)
#define SETUP_HEADER_MAGIC 0x53726448u /* "HdrS" */
#define SETUP_SECTOR 512u
#define ENTRY_64_OFFSET 0x200u
#define LOADER_UNDEFINED 0xff

#define GDT_CODE_32 0x00cf9b000000ffffull
#define GDT_CODE_64 0x00af9b000000ffffull
#define GDT_DATA 0x00cf93000000ffffull
#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u

struct start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t modules;
    uint64_t command_line;
    uint64_t rsdp;
    uint64_t memory_map;
    uint32_t memory_map_count;
    uint32_t reserved;
};

struct start_module {
    uint64_t address;
    uint64_t size;
    uint64_t command_line;
    uint64_t reserved;
};

struct start_memory {
    uint64_t address;
    uint64_t size;
    uint32_t type; /* as in E820 */
    uint32_t reserved;
};

enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3 };

struct memory_range {
    uint64_t address;
    uint64_t size;
    uint32_t type;
};

static uint32_t memory_map(const struct guest_memory *memory, struct memory_range ranges[6])
{
    uint32_t count = 0;
    uint64_t low = guest_memory_low(memory);
    ranges[count++] = (struct memory_range){0, PLATFORM_LOW_RAM_END, E820_RAM};
    ranges[count++] =
        (struct memory_range){PLATFORM_LOW_RAM_END, PLATFORM_ACPI - PLATFORM_LOW_RAM_END, E820_RESERVED};
    ranges[count++] = (struct memory_range){PLATFORM_ACPI, PLATFORM_ACPI_SIZE, E820_ACPI};
    ranges[count++] =
        (struct memory_range){PLATFORM_VMGENID, PLATFORM_HIGH_RAM - PLATFORM_VMGENID, E820_RESERVED};
    ranges[count++] = (struct memory_range){PLATFORM_HIGH_RAM, low - PLATFORM_HIGH_RAM, E820_RAM};
    if (guest_memory_high(memory) > 0)
        ranges[count++] = (struct memory_range){GUEST_HOLE_END, guest_memory_high(memory), E820_RAM};
    return count;
}

static int bad_kernel(struct forkd_error *err, const char *why)
{
    return error_set(err, ENOEXEC, "load", "kernel", "%s; give an ELF vmlinux or a bzImage for x86-64", why);
}

static int read_to_guest(const struct guest_memory *memory, int fd, const char *what, uint64_t file_offset,
                         uint64_t address, uint64_t length, struct forkd_error *err)
{
    if (length == 0)
        return 0;
    void *to = guest_memory_at(memory, address, length);
    if (to == NULL)
        return error_set(err, ENOMEM, "load", what, "%llu bytes at 0x%llx are beyond the guest's memory",
                         (unsigned long long)length, (unsigned long long)address);
    int result = io_pread(fd, to, length, file_offset);
    return result < 0 ? error_set(err, -result, "read", what, "the file is cut short or unreadable") : 0;
}

/* Put the initrd as high as the boot protocol allows (below 2 GiB), where the kernel does not unpack itself.
 */
static int load_initrd(const struct guest_memory *memory, int fd, uint64_t *address, uint64_t *size,
                       struct forkd_error *err)
{
    *address = 0;
    *size = 0;
    if (fd < 0)
        return 0;
    struct stat info;
    if (fstat(fd, &info) < 0)
        return error_set(err, errno, "stat", "initrd", NULL);
    uint64_t top = guest_memory_low(memory) < 0x7fffffff ? guest_memory_low(memory) : 0x7ffff000;
    uint64_t length = (uint64_t)info.st_size;
    if (length == 0 || length > top / 2)
        return error_set(err, length == 0 ? ENOEXEC : ENOMEM, "load", "initrd",
                         "%llu bytes for a guest with %llu MiB", (unsigned long long)length,
                         (unsigned long long)(memory->size >> 20));
    *address = (top - length) & ~(uint64_t)(GUEST_PAGE_SIZE - 1);
    *size = length;
    return read_to_guest(memory, fd, "initrd", 0, *address, length, err);
}

/* What the notes of an ELF note segment say: the PVH entry, and that it is Linux (which has notes of its own
 * name: include/linux/elfnote.h). */
static void read_notes(const uint8_t *notes, size_t length, struct kernel_entry *entry)
{
    size_t at = 0;
    while (length - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof note);
        at += sizeof note;
        size_t name_size = ((size_t)note.n_namesz + 3) & ~(size_t)3;
        size_t value_size = ((size_t)note.n_descsz + 3) & ~(size_t)3;
        if (name_size > length - at || value_size > length - at - name_size)
            return;
        if (note.n_namesz == sizeof "Linux" && memcmp(notes + at, "Linux", sizeof "Linux") == 0)
            entry->is_linux = true;
        if (note.n_type == NOTE_XEN_PHYS32_ENTRY && note.n_namesz == 4 && memcmp(notes + at, "Xen", 4) == 0 &&
            (note.n_descsz == 4 || note.n_descsz == 8)) {
            entry->address = 0;
            memcpy(&entry->address, notes + at + name_size, note.n_descsz);
            entry->long_mode = false;
        }
        at += name_size + value_size;
    }
}

static int load_elf(const struct guest_memory *memory, int fd, const Elf64_Ehdr *header,
                    struct kernel_entry *entry, struct forkd_error *err)
{
    if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64)
        return bad_kernel(err, "the ELF file is not for x86-64");
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0 || header->e_phnum > MAX_SEGMENTS)
        return bad_kernel(err, "the ELF file has no program headers");
    Elf64_Phdr segments[MAX_SEGMENTS];
    if (io_pread(fd, segments, header->e_phnum * sizeof segments[0], header->e_phoff) < 0)
        return bad_kernel(err, "the ELF file is cut short");
    *entry = (struct kernel_entry){.address = header->e_entry, .long_mode = true};
    bool loaded = false;
    for (uint16_t i = 0; i < header->e_phnum; i++) {
        const Elf64_Phdr *segment = &segments[i];
        if (segment->p_type == PT_LOAD) {
            if (segment->p_filesz > segment->p_memsz || segment->p_paddr < PLATFORM_HIGH_RAM)
                return bad_kernel(err, "an ELF segment lies outside of where a kernel may be");
            if (segment->p_memsz > 0 && guest_memory_at(memory, segment->p_paddr, segment->p_memsz) == NULL)
                return error_set(err, ENOMEM, "load", "kernel", "it needs 0x%llx bytes of memory at 0x%llx",
                                 (unsigned long long)segment->p_memsz, (unsigned long long)segment->p_paddr);
            int result = read_to_guest(memory, fd, "kernel", segment->p_offset, segment->p_paddr,
                                       segment->p_filesz, err);
            if (result < 0)
                return result;
            loaded = true;
        } else if (segment->p_type == PT_NOTE && segment->p_filesz > 0 && segment->p_filesz <= MAX_NOTES) {
            uint8_t notes[MAX_NOTES];
            if (io_pread(fd, notes, segment->p_filesz, segment->p_offset) < 0)
                return bad_kernel(err, "the ELF file is cut short");
            read_notes(notes, segment->p_filesz, entry);
        }
    }
    entry->is_linux |= entry->long_mode;
    return loaded ? 0 : bad_kernel(err, "the ELF file has nothing to load");
}

static int load_bzimage(const struct guest_memory *memory, int fd, struct setup_header *header,
                        struct kernel_entry *entry, struct forkd_error *err)
{
    if (header->version < 0x020c || (header->xloadflags & XLF_KERNEL_64) == 0)
        return bad_kernel(err, "the bzImage has no 64-bit entry point (boot protocol 2.12)");
    struct stat info;
    if (fstat(fd, &info) < 0)
        return error_set(err, errno, "stat", "kernel", NULL);
    uint64_t setup = (header->setup_sects == 0 ? 4u : header->setup_sects) * SETUP_SECTOR + SETUP_SECTOR;
    if ((uint64_t)info.st_size <= setup)
        return bad_kernel(err, "the bzImage is cut short");
    uint64_t length = (uint64_t)info.st_size - setup;
    if (length < (uint64_t)header->syssize * 16)
        return bad_kernel(err, "the bzImage is cut short");
    uint64_t address = header->pref_address;
    if (address < PLATFORM_HIGH_RAM)
        return bad_kernel(err, "the bzImage names an impossible load address");
    uint64_t needed = header->init_size > length ? header->init_size : length;
    if (guest_memory_at(memory, address, needed) == NULL)
        return error_set(err, ENOMEM, "load", "kernel",
                         "it needs %llu MiB of memory from 0x%llx to unpack itself",
                         (unsigned long long)(needed >> 20), (unsigned long long)address);
    *entry = (struct kernel_entry){.address = address + ENTRY_64_OFFSET, .long_mode = true, .is_linux = true};
    return read_to_guest(memory, fd, "kernel", setup, address, length, err);
}

/* Boot information for PVH; low memory is always there, so these pointers exist. */
static void write_start_info(const struct guest_memory *memory, uint64_t initrd, uint64_t initrd_size)
{
    struct start_info *info = guest_memory_at(memory, PLATFORM_START_INFO, GUEST_PAGE_SIZE);
    struct start_module *module = (struct start_module *)(info + 1);
    struct start_memory *map = (struct start_memory *)(module + 1);
    struct memory_range ranges[6];
    uint32_t count = memory_map(memory, ranges);
    for (uint32_t i = 0; i < count; i++)
        map[i] = (struct start_memory){
            .address = ranges[i].address, .size = ranges[i].size, .type = ranges[i].type};
    *module = (struct start_module){.address = initrd, .size = initrd_size};
    *info = (struct start_info){.magic = START_INFO_MAGIC,
                                .version = 1,
                                .module_count = initrd_size > 0 ? 1 : 0,
                                .modules = PLATFORM_START_INFO + sizeof *info,
                                .command_line = PLATFORM_COMMAND_LINE,
                                .rsdp = PLATFORM_ACPI,
                                .memory_map = PLATFORM_START_INFO + sizeof *info + sizeof *module,
                                .memory_map_count = count};
}

static void write_zero_page(const struct guest_memory *memory, const struct setup_header *header,
                            uint64_t initrd, uint64_t initrd_size, size_t command_line_size)
{
    struct boot_params *params = guest_memory_at(memory, PLATFORM_ZERO_PAGE, sizeof *params);
    memset(params, 0, sizeof *params);
    if (header != NULL)
        params->hdr = *header;
    params->hdr.boot_flag = 0xaa55;
    params->hdr.header = SETUP_HEADER_MAGIC;
    params->hdr.type_of_loader = LOADER_UNDEFINED;
    params->hdr.cmd_line_ptr = PLATFORM_COMMAND_LINE;
    params->hdr.cmdline_size = (uint32_t)command_line_size;
    params->hdr.ramdisk_image = (uint32_t)initrd;
    params->hdr.ramdisk_size = (uint32_t)initrd_size;
    params->acpi_rsdp_addr = PLATFORM_ACPI;
    struct memory_range ranges[6];
    params->e820_entries = (uint8_t)memory_map(memory, ranges);
    for (uint8_t i = 0; i < params->e820_entries; i++)
        params->e820_table[i] = (struct boot_e820_entry){
            .addr = ranges[i].address, .size = ranges[i].size, .type = ranges[i].type};
}

int kernel_load(const struct guest_memory *memory, int kernel_fd, int initrd_fd, const char *command_line,
                struct kernel_entry *entry, struct forkd_error *err)
{
    /* The ELF header and the setup header both lie in the first two sectors and a bit. */
    uint8_t start[SETUP_SECTOR + 512];
    if (io_pread(kernel_fd, start, sizeof start, 0) < 0)
        return bad_kernel(err, "the file is too short");
    struct setup_header header;
    memcpy(&header, start + offsetof(struct boot_params, hdr), sizeof header);
    bool elf = memcmp(start, ELFMAG, SELFMAG) == 0;
    int result;
    if (elf) {
        Elf64_Ehdr elf_header;
        memcpy(&elf_header, start, sizeof elf_header);
        result = load_elf(memory, kernel_fd, &elf_header, entry, err);
    } else if (header.boot_flag == 0xaa55 && header.header == SETUP_HEADER_MAGIC) {
        result = load_bzimage(memory, kernel_fd, &header, entry, err);
    } else {
        return bad_kernel(err, "the file is no kernel");
    }
    if (result < 0)
        return result;
    size_t length = strlen(command_line) + 1;
    if (length > PLATFORM_COMMAND_LINE_MAX)
        return error_set(err, EINVAL, "load", "command line", "%zu bytes; the limit is %u", length - 1,
                         PLATFORM_COMMAND_LINE_MAX - 1);
    memcpy(guest_memory_at(memory, PLATFORM_COMMAND_LINE, length), command_line, length);
    uint64_t initrd = 0;
    uint64_t initrd_size = 0;
    if ((result = load_initrd(memory, initrd_fd, &initrd, &initrd_size, err)) < 0)
        return result;
    if (entry->long_mode)
        write_zero_page(memory, elf ? NULL : &header, initrd, initrd_size, length);
    else
        write_start_info(memory, initrd, initrd_size);
    return 0;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool long_mode)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .db = long_mode ? 0 : 1,
                                .s = 1,
                                .l = long_mode ? 1 : 0,
                                .g = 1};
}

/* Identity-map the first 4 GiB with 2 MiB pages: more than the 64-bit entry asks for. */
static void write_page_tables(const struct guest_memory *memory)
{
    enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80 };
    uint64_t *tables = guest_memory_at(memory, PLATFORM_PAGE_TABLES, 6ull * GUEST_PAGE_SIZE);
    memset(tables, 0, 6ull * GUEST_PAGE_SIZE);
    uint64_t *directories = tables + 512;
    tables[0] = (PLATFORM_PAGE_TABLES + GUEST_PAGE_SIZE) | PRESENT | WRITABLE;
    for (uint64_t i = 0; i < 4; i++) {
        directories[i] = (PLATFORM_PAGE_TABLES + (2 + i) * GUEST_PAGE_SIZE) | PRESENT | WRITABLE;
        for (uint64_t page = 0; page < 512; page++)
            directories[512 * (i + 1) + page] = ((i << 30) + (page << 21)) | PRESENT | WRITABLE | LARGE;
    }
}

int kernel_set_entry(const struct guest_memory *memory, const struct kernel_entry *entry,
                     struct kvm_regs *regs, struct kvm_sregs *sregs, struct forkd_error *err)
{
    uint64_t gdt[] = {0, 0, entry->long_mode ? GDT_CODE_64 : GDT_CODE_32, GDT_DATA};
    void *at = guest_memory_at(memory, PLATFORM_GDT, sizeof gdt);
    if (at == NULL)
        return error_set(err, ENOMEM, "load", "kernel", "no low memory");
    memcpy(at, gdt, sizeof gdt);
    sregs->gdt.base = PLATFORM_GDT;
    sregs->gdt.limit = sizeof gdt - 1;
    sregs->idt.base = 0;
    sregs->idt.limit = 0;
    sregs->cs = flat_segment(SELECTOR_CODE, 0xb, entry->long_mode);
    struct kvm_segment data = flat_segment(SELECTOR_DATA, 0x3, false);
    sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
    /* VMX enters no guest whose TSS is not busy (SDM volume 3C, 27.3.1.2); SVM does not look. */
    sregs->tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
    memset(regs, 0, sizeof *regs);
    regs->rflags = 2;
    regs->rip = entry->address;
    sregs->cr0 = (sregs->cr0 & ~0x80000000ull) | 1; /* protection on, paging off */
    if (!entry->long_mode) {
        regs->rbx = PLATFORM_START_INFO;
        return 0;
    }
    regs->rsi = PLATFORM_ZERO_PAGE;
    write_page_tables(memory);
    sregs->cr3 = PLATFORM_PAGE_TABLES;
    sregs->cr4 |= 1u << 5;                 /* PAE */
    sregs->cr0 |= 0x80000000ull;           /* paging */
    sregs->efer |= (1u << 8) | (1u << 10); /* LME, LMA */
    return 0;
}

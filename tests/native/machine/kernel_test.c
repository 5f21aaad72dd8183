/* SPDX-License-Identifier: Apache-2.0 */
/* Kernel files, good and bad, as the loader sees them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "machine/kernel.h"
#include "machine/platform.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY (64ull << 20)
#define CODE 0x1000u
#define IMAGE_SIZE 0x3000u

static struct guest_memory memory;
static uint8_t image[IMAGE_SIZE];

static int map_memory(void **state)
{
    (void)state;
    memory.size = MEMORY;
    memory.host =
        mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory.host == MAP_FAILED;
}

static int unmap_memory(void **state)
{
    (void)state;
    return munmap(memory.host, MEMORY);
}

/* An ELF kernel: one segment of a page at 16 MiB, and a PVH note that names 16 MiB + 16 as the entry. */
static Elf64_Phdr *make_elf(void)
{
    memset(image, 0, sizeof image);
    Elf64_Ehdr header = {.e_type = ET_EXEC,
                         .e_machine = EM_X86_64,
                         .e_entry = 0x1000020,
                         .e_phoff = sizeof header,
                         .e_phentsize = sizeof(Elf64_Phdr),
                         .e_phnum = 2};
    memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    memcpy(image, &header, sizeof header);
    Elf64_Phdr *segments = (Elf64_Phdr *)(image + sizeof header);
    segments[0] = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_offset = CODE, .p_paddr = 0x1000000, .p_filesz = 4096, .p_memsz = 8192};
    segments[1] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 0x2000, .p_filesz = 20};
    memset(image + CODE, 0x90, 4096);
    uint32_t note[] = {4, 4, 18, 0, 0x1000010};
    memcpy(&note[3], "Xen", 4);
    memcpy(image + 0x2000, note, sizeof note);
    return segments;
}

static struct setup_header *make_bzimage(void)
{
    memset(image, 0, sizeof image);
    struct setup_header *header = (struct setup_header *)(image + offsetof(struct boot_params, hdr));
    *header = (struct setup_header){.setup_sects = 1,
                                    .boot_flag = 0xaa55,
                                    .header = 0x53726448,
                                    .version = 0x020f,
                                    .xloadflags = XLF_KERNEL_64,
                                    .pref_address = 0x1000000,
                                    .init_size = 1 << 20,
                                    .syssize = (IMAGE_SIZE - 1024) / 16};
    return header;
}

static int load(const char *command_line, struct kernel_entry *entry, struct forkd_error *error)
{
    int fd = memfd_create("kernel", MFD_CLOEXEC);
    assert_int_equal(write(fd, image, sizeof image), sizeof image);
    int result = kernel_load(&memory, fd, -1, command_line, entry, error);
    close(fd);
    return result;
}

static void assert_refused(int code)
{
    struct kernel_entry entry;
    struct forkd_error error = {0};
    assert_int_equal(load("", &entry, &error), -code);
    assert_int_equal(error.code, -code);
}

static void elf_with_a_pvh_note_enters_there(void **state)
{
    (void)state;
    make_elf();
    struct kernel_entry entry;
    assert_int_equal(load("console=ttyS0", &entry, NULL), 0);
    assert_false(entry.long_mode);
    assert_int_equal(entry.address, 0x1000010);
    assert_memory_equal(memory.host + 0x1000000, image + CODE, 4096);
    assert_string_equal(memory.host + PLATFORM_COMMAND_LINE, "console=ttyS0");
}

/* What runs on any KVM, and what does not: see check_flavour in machine.c. */
static void linux_is_told_by_its_note_its_format_or_its_entry(void **state)
{
    (void)state;
    Elf64_Phdr *segments = make_elf();
    struct kernel_entry entry;
    assert_int_equal(load("", &entry, NULL), 0);
    assert_false(entry.is_linux);
    segments[1].p_filesz = 44;
    uint32_t note[] = {6, 4, 0x101, 0, 0, 0}; /* LINUX_ELFNOTE_LTO_INFO */
    memcpy(&note[3], "Linux", 6);
    memcpy(image + 0x2014, note, sizeof note);
    assert_int_equal(load("", &entry, NULL), 0);
    assert_true(entry.is_linux);
    assert_int_equal(entry.address, 0x1000010);
    make_elf()[1].p_type = PT_NULL;
    assert_int_equal(load("", &entry, NULL), 0);
    assert_true(entry.is_linux);
    make_bzimage();
    assert_int_equal(load("", &entry, NULL), 0);
    assert_true(entry.is_linux);
}

static void elf_without_a_note_enters_in_long_mode(void **state)
{
    (void)state;
    make_elf()[1].p_type = PT_NULL;
    struct kernel_entry entry;
    assert_int_equal(load("quiet", &entry, NULL), 0);
    assert_true(entry.long_mode);
    assert_int_equal(entry.address, 0x1000020);
    const struct boot_params *params = (const struct boot_params *)(memory.host + PLATFORM_ZERO_PAGE);
    assert_int_equal(params->hdr.cmd_line_ptr, PLATFORM_COMMAND_LINE);
    assert_int_equal(params->acpi_rsdp_addr, PLATFORM_ACPI);
    assert_int_equal(params->e820_entries, 5);
    assert_int_equal(params->e820_table[4].addr + params->e820_table[4].size, MEMORY);
}

static void elf_segment_beyond_memory_is_refused(void **state)
{
    (void)state;
    make_elf()[0].p_paddr = MEMORY - 4096;
    assert_refused(ENOMEM);
    make_elf()[0].p_paddr = UINT64_MAX - 4096;
    assert_refused(ENOMEM);
    make_elf()[0].p_memsz = UINT64_MAX;
    assert_refused(ENOMEM);
}

static void elf_segment_over_low_memory_is_refused(void **state)
{
    (void)state;
    make_elf()[0].p_paddr = PLATFORM_ACPI;
    assert_refused(ENOEXEC);
}

static void elf_segment_larger_in_the_file_than_in_memory_is_refused(void **state)
{
    (void)state;
    make_elf()[0].p_memsz = 1;
    assert_refused(ENOEXEC);
}

static void elf_cut_short_is_refused(void **state)
{
    (void)state;
    make_elf()[0].p_offset = IMAGE_SIZE - 100;
    struct kernel_entry entry;
    struct forkd_error error;
    assert_true(load("", &entry, &error) < 0);
    make_elf();
    ((Elf64_Ehdr *)image)->e_phoff = IMAGE_SIZE;
    assert_refused(ENOEXEC);
}

static void elf_of_another_machine_is_refused(void **state)
{
    (void)state;
    make_elf();
    ((Elf64_Ehdr *)image)->e_machine = EM_AARCH64;
    assert_refused(ENOEXEC);
}

static void note_that_is_larger_than_its_segment_is_ignored(void **state)
{
    (void)state;
    make_elf();
    ((uint32_t *)(image + 0x2000))[1] = UINT32_MAX;
    struct kernel_entry entry;
    assert_int_equal(load("", &entry, NULL), 0);
    assert_true(entry.long_mode);
}

static void bzimage_enters_at_its_64_bit_entry(void **state)
{
    (void)state;
    make_bzimage();
    memset(image + 1024, 0x42, 64);
    struct kernel_entry entry;
    assert_int_equal(load("", &entry, NULL), 0);
    assert_true(entry.long_mode);
    assert_int_equal(entry.address, 0x1000200);
    assert_memory_equal(memory.host + 0x1000000, image + 1024, IMAGE_SIZE - 1024);
}

static void bad_bzimages_are_refused(void **state)
{
    (void)state;
    make_bzimage()->version = 0x0203;
    assert_refused(ENOEXEC);
    make_bzimage()->xloadflags = 0;
    assert_refused(ENOEXEC);
    make_bzimage()->syssize = UINT32_MAX;
    assert_refused(ENOEXEC);
    make_bzimage()->pref_address = 0;
    assert_refused(ENOEXEC);
    make_bzimage()->init_size = UINT32_MAX;
    assert_refused(ENOMEM);
    make_bzimage()->header = 0;
    assert_refused(ENOEXEC);
}

static void command_line_that_is_too_long_is_refused(void **state)
{
    (void)state;
    make_elf();
    char line[PLATFORM_COMMAND_LINE_MAX + 1];
    memset(line, 'x', sizeof line);
    line[PLATFORM_COMMAND_LINE_MAX] = '\0';
    struct kernel_entry entry;
    assert_int_equal(load(line, &entry, NULL), -EINVAL);
    line[PLATFORM_COMMAND_LINE_MAX - 1] = '\0';
    assert_int_equal(load(line, &entry, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elf_with_a_pvh_note_enters_there),
        cmocka_unit_test(linux_is_told_by_its_note_its_format_or_its_entry),
        cmocka_unit_test(elf_without_a_note_enters_in_long_mode),
        cmocka_unit_test(elf_segment_beyond_memory_is_refused),
        cmocka_unit_test(elf_segment_over_low_memory_is_refused),
        cmocka_unit_test(elf_segment_larger_in_the_file_than_in_memory_is_refused),
        cmocka_unit_test(elf_cut_short_is_refused),
        cmocka_unit_test(elf_of_another_machine_is_refused),
        cmocka_unit_test(note_that_is_larger_than_its_segment_is_ignored),
        cmocka_unit_test(bzimage_enters_at_its_64_bit_entry),
        cmocka_unit_test(bad_bzimages_are_refused),
        cmocka_unit_test(command_line_that_is_too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, map_memory, unmap_memory);
}

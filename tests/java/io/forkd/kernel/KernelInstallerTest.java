package io.forkd.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.files.Trees;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.GZIPInputStream;
import org.apache.commons.compress.archivers.ar.ArArchiveEntry;
import org.apache.commons.compress.archivers.ar.ArArchiveOutputStream;
import org.apache.commons.compress.archivers.cpio.CpioArchiveEntry;
import org.apache.commons.compress.archivers.cpio.CpioArchiveInputStream;
import org.apache.commons.compress.archivers.tar.TarArchiveEntry;
import org.apache.commons.compress.archivers.tar.TarArchiveOutputStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.tukaani.xz.LZMA2Options;
import org.tukaani.xz.XZOutputStream;

/** From a package made here to the two files that a guest boots. */
class KernelInstallerTest {
    private static final String MODULES = "lib/modules/6.9-test/";

    @TempDir
    Path directory;

    private final Map<String, byte[]> files = new LinkedHashMap<>();

    @BeforeEach
    void describePackage() {
        files.put("boot/vmlinuz-6.9-test", BzImageTest.bzImage(BzImageTest.elf()));
        files.put(MODULES + "modules.builtin", bytes("kernel/fs/ext4/ext4.ko\nkernel/drivers/x/virtio-rng.ko\n"));
        files.put(MODULES + "kernel/virtio_mmio.ko", module("depends=virtio,virtio-ring\0"));
        files.put(MODULES + "kernel/virtio.ko", module("depends=\0"));
        files.put(MODULES + "kernel/virtio-ring.ko", module("license=GPL\0depends=virtio\0"));
        files.put(MODULES + "kernel/virtio_blk.ko", module("softdep=pre: crc32c\0depends=virtio\0"));
        files.put(MODULES + "kernel/crc32c_generic.ko", module("depends=\0"));
        files.put(MODULES + "kernel/vmw_vsock_virtio_transport.ko", module("depends=\0"));
        files.put(MODULES + "kernel/unused.ko", module("depends=\0"));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** An ELF file of three sections: none, the names, and .modinfo. */
    static byte[] module(String modinfo) {
        byte[] names = bytes("\0.shstrtab\0.modinfo\0");
        byte[] info = bytes(modinfo);
        int headers = 64 + names.length + info.length;
        ByteBuffer elf = ByteBuffer.allocate(headers + 3 * 64).order(ByteOrder.LITTLE_ENDIAN);
        elf.putInt(0, 0x464c457f).put(4, (byte) 2).put(5, (byte) 1);
        elf.putLong(0x28, headers)
                .putShort(0x3a, (short) 64)
                .putShort(0x3c, (short) 3)
                .putShort(0x3e, (short) 1);
        elf.position(64).put(names).put(info);
        elf.putInt(headers + 64, 1).putLong(headers + 64 + 0x18, 64).putLong(headers + 64 + 0x20, names.length);
        elf.putInt(headers + 128, 11)
                .putLong(headers + 128 + 0x18, 64 + names.length)
                .putLong(headers + 128 + 0x20, info.length);
        return elf.array();
    }

    private Path deb() throws IOException {
        ByteArrayOutputStream data = new ByteArrayOutputStream();
        try (TarArchiveOutputStream tar = new TarArchiveOutputStream(new XZOutputStream(data, new LZMA2Options(1)))) {
            for (Map.Entry<String, byte[]> file : files.entrySet()) {
                TarArchiveEntry entry = new TarArchiveEntry("./" + file.getKey(), true);
                entry.setSize(file.getValue().length);
                tar.putArchiveEntry(entry);
                tar.write(file.getValue());
                tar.closeArchiveEntry();
            }
        }
        Path deb = directory.resolve("linux-image.deb");
        try (ArArchiveOutputStream ar = new ArArchiveOutputStream(Files.newOutputStream(deb))) {
            ar.putArchiveEntry(new ArArchiveEntry("debian-binary", 4));
            ar.write(bytes("2.0\n"));
            ar.closeArchiveEntry();
            ar.putArchiveEntry(new ArArchiveEntry("data.tar.xz", data.size()));
            ar.write(data.toByteArray());
            ar.closeArchiveEntry();
        }
        return deb;
    }

    private KernelInstaller installer() throws IOException {
        Path guest = Files.write(directory.resolve("guest"), bytes("the init"));
        return new KernelInstaller(directory.resolve("out"), guest, step -> {});
    }

    private Map<String, byte[]> initrd() throws IOException {
        Map<String, byte[]> entries = new LinkedHashMap<>();
        byte[] packed = Files.readAllBytes(directory.resolve("out/initrd.img"));
        try (CpioArchiveInputStream archive =
                new CpioArchiveInputStream(new GZIPInputStream(new ByteArrayInputStream(packed)))) {
            for (CpioArchiveEntry entry; (entry = archive.getNextEntry()) != null; ) {
                entries.put(entry.getName(), archive.readAllBytes());
            }
        }
        return entries;
    }

    @Test
    void kernel_and_initrd_are_made() throws IOException {
        assertThat(installer().fromFiles(List.of(deb())).version()).isEqualTo("6.9-test");
        assertThat(directory.resolve("out/vmlinux")).hasBinaryContent(BzImageTest.elf());
        assertThat(initrd()).containsKeys("dev", "proc", "sys", "lib/modules/virtio_mmio.ko");
        assertThat(initrd().get("init")).asString().isEqualTo("the init");
        assertThat(Trees.list(directory.resolve("out")))
                .extracting(path -> path.getFileName().toString())
                .containsExactly("initrd.img", "vmlinux");
    }

    @Test
    void modules_are_listed_after_what_they_need_and_only_those_needed() throws IOException {
        installer().fromFiles(List.of(deb()));
        assertThat(initrd().get("lib/modules/forkd.list")).asString().isEqualTo("""
                        /lib/modules/virtio.ko
                        /lib/modules/virtio_ring.ko
                        /lib/modules/virtio_mmio.ko
                        /lib/modules/crc32c_generic.ko
                        /lib/modules/virtio_blk.ko
                        /lib/modules/vmw_vsock_virtio_transport.ko
                        """);
    }

    @Test
    void same_package_gives_the_same_initrd() throws IOException {
        installer().fromFiles(List.of(deb()));
        byte[] first = Files.readAllBytes(directory.resolve("out/initrd.img"));
        installer().fromFiles(List.of(deb()));
        assertThat(directory.resolve("out/initrd.img")).hasBinaryContent(first);
    }

    @Test
    void kernel_without_a_needed_module_is_refused() throws IOException {
        files.remove(MODULES + "kernel/virtio_blk.ko");
        Path deb = deb();
        assertThatThrownBy(() -> installer().fromFiles(List.of(deb))).hasMessageContaining("it has no virtio_blk");
        assertThat(directory.resolve("out/vmlinux")).doesNotExist();
    }

    @Test
    void damaged_module_is_named() throws IOException {
        files.put(MODULES + "kernel/virtio.ko", bytes("not ELF"));
        Path deb = deb();
        assertThatThrownBy(() -> installer().fromFiles(List.of(deb))).hasMessageContaining("virtio.ko");
    }

    @Test
    void package_whose_members_leave_the_folder_is_refused() throws IOException {
        files.put("lib/modules/../../../evil", bytes("x"));
        Path deb = deb();
        assertThatThrownBy(() -> installer().fromFiles(List.of(deb))).hasMessageContaining("evil");
        assertThat(directory.resolve("evil")).doesNotExist();
    }

    @Test
    void package_without_a_kernel_is_refused() throws IOException {
        files.remove("boot/vmlinuz-6.9-test");
        Path deb = deb();
        assertThatThrownBy(() -> installer().fromFiles(List.of(deb))).hasMessageContaining("a kernel (boot/vmlinuz-*)");
        assertThatThrownBy(() -> installer().fromFiles(List.of(directory.resolve("none.deb"))))
                .hasMessageContaining("does not exist");
    }
}

package io.forkd.kernel;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.stream.Collectors;
import java.util.zip.GZIPOutputStream;
import org.apache.commons.compress.archivers.cpio.CpioArchiveEntry;
import org.apache.commons.compress.archivers.cpio.CpioArchiveOutputStream;
import org.apache.commons.compress.archivers.cpio.CpioConstants;

/**
 * The initial RAM disk of a guest: {@code /init}, which is forkd-guest, the modules, and their paths in loading order in
 * {@code /lib/modules/forkd.list}. The same input gives the same bytes.
 */
final class Initramfs {
    private static final int DIRECTORY = CpioConstants.C_ISDIR | 0755;
    private static final int FILE = CpioConstants.C_ISREG | 0644;
    private static final int PROGRAM = CpioConstants.C_ISREG | 0755;

    private Initramfs() {}

    /** Packed with gzip, which every distribution's kernel can unpack. */
    static byte[] of(byte[] guest, List<KernelModule> modules) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        try (OutputStream packed = new GZIPOutputStream(bytes, 1 << 16);
                CpioArchiveOutputStream archive = new CpioArchiveOutputStream(packed)) {
            for (String directory : List.of("dev", "proc", "sys", "lib", "lib/modules")) {
                add(archive, directory, DIRECTORY, new byte[0]);
            }
            add(archive, "init", PROGRAM, guest);
            for (KernelModule module : modules) {
                add(archive, path(module).substring(1), FILE, module.content());
            }
            String list = modules.stream().map(module -> path(module) + "\n").collect(Collectors.joining());
            add(archive, "lib/modules/forkd.list", FILE, list.getBytes(StandardCharsets.US_ASCII));
        }
        return bytes.toByteArray();
    }

    private static String path(KernelModule module) {
        return "/lib/modules/" + module.name() + ".ko";
    }

    private static void add(CpioArchiveOutputStream archive, String name, int mode, byte[] content) throws IOException {
        CpioArchiveEntry entry = new CpioArchiveEntry(CpioConstants.FORMAT_NEW, name, content.length);
        entry.setMode(mode);
        entry.setNumberOfLinks((mode & CpioConstants.C_ISDIR) == CpioConstants.C_ISDIR ? 2 : 1);
        archive.putArchiveEntry(entry);
        archive.write(content);
        archive.closeArchiveEntry();
    }
}

package io.forkd.kernel;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** A module of the kernel, unpacked. */
final class KernelModule {
    private static final int ELF64_LITTLE_ENDIAN = 0x0102;

    private final String name;
    private final byte[] content;
    private final List<String> dependencies;

    private KernelModule(String name, byte[] content, List<String> dependencies) {
        this.name = name;
        this.content = content;
        this.dependencies = dependencies;
    }

    /** With underscores, as the kernel knows it. */
    String name() {
        return name;
    }

    byte[] content() {
        return content;
    }

    /** Names of modules that must be loaded before. */
    List<String> dependencies() {
        return dependencies;
    }

    static KernelModule parse(String name, byte[] content) throws IOException {
        List<String> dependencies = new ArrayList<>();
        for (String entry : section(ByteBuffer.wrap(content).order(ByteOrder.LITTLE_ENDIAN), ".modinfo")
                .split("\0", -1)) {
            if (entry.startsWith("depends=") && entry.length() > "depends=".length()) {
                dependencies.addAll(List.of(entry.substring("depends=".length()).split(",")));
            }
            if (entry.startsWith("softdep=pre: ")) {
                dependencies.addAll(
                        List.of(entry.substring("softdep=pre: ".length()).split(" ")));
            }
        }
        return new KernelModule(
                name,
                content,
                dependencies.stream().map(KernelModule::canonical).toList());
    }

    /** Dashes and underscores are the same in names of modules. */
    static String canonical(String name) {
        return name.replace('-', '_');
    }

    /** The content of an ELF section; every offset is checked. */
    private static String section(ByteBuffer elf, String wanted) throws IOException {
        try {
            if (elf.getInt(0) != 0x464c457f || elf.getShort(4) != ELF64_LITTLE_ENDIAN) {
                throw new IOException("it is no 64-bit ELF file");
            }
            int headers = Math.toIntExact(elf.getLong(0x28));
            int size = elf.getShort(0x3a);
            int count = elf.getShort(0x3c);
            int names = headerOffset(elf, headers + size * elf.getShort(0x3e));
            for (int i = 0; i < count; i++) {
                int header = headers + size * i;
                if (string(elf, names + elf.getInt(header)).equals(wanted)) {
                    byte[] content = new byte[Math.toIntExact(elf.getLong(header + 0x20))];
                    elf.get(headerOffset(elf, header), content);
                    return new String(content, StandardCharsets.UTF_8);
                }
            }
            throw new IOException("it has no section " + wanted);
        } catch (IndexOutOfBoundsException | ArithmeticException e) {
            throw new IOException("its ELF headers are damaged", e);
        }
    }

    private static int headerOffset(ByteBuffer elf, int header) {
        return Math.toIntExact(elf.getLong(header + 0x18));
    }

    private static String string(ByteBuffer elf, int offset) {
        int end = offset;
        while (elf.get(end) != 0) {
            end++;
        }
        byte[] bytes = new byte[end - offset];
        elf.get(offset, bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }
}

package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.rootfs.Directory.Entry;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * Writes an ext4 image through the program forkd-mkfs, which knows that format: contents of files first, as they come,
 * then the tree that they belong to. docs/images.md has the form of what is sent.
 */
final class Ext4Writer implements AutoCloseable {
    private static final String MAGIC = "FORKDFS1";
    private static final String LABEL = "forkd-rootfs";
    private static final int BYTES_PER_INODE = 8192;
    private static final int BUFFER = 256 << 10;

    /** 1980-01-01, like archives that have to say something: nothing in an image depends on when it was built. */
    private static final int TIME = 315_532_800;

    private final Process process;
    private final OutputStream out;
    private final long bytes;
    private final ByteBuffer numbers = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN);
    private final byte[] copy = new byte[BUFFER];
    private int blobs;
    private Directory root = new Directory();

    private Ext4Writer(Process process, long bytes) {
        this.process = process;
        this.out = new BufferedOutputStream(process.getOutputStream(), BUFFER);
        this.bytes = bytes;
    }

    /**
     * @param command the program and what to make
     * @param identity 32 bytes that the file system's UUID and hash seed are made of
     */
    static Ext4Writer start(List<String> command, long bytes, byte[] identity) {
        Process process;
        try {
            process = new ProcessBuilder(command)
                    .redirectError(ProcessBuilder.Redirect.INHERIT)
                    .start();
        } catch (IOException e) {
            throw ForkdException.of("run " + command.get(0), e);
        }
        Ext4Writer writer = new Ext4Writer(process, bytes);
        byte[] uuid = identity.clone();
        uuid[6] = (byte) ((uuid[6] & 0x0f) | 0x80); // version 8: made in a way of our own
        uuid[8] = (byte) ((uuid[8] & 0x3f) | 0x80);
        writer.send(() -> {
            writer.out.write(MAGIC.getBytes(StandardCharsets.US_ASCII));
            writer.number(bytes, 8);
            writer.number(BYTES_PER_INODE, 4);
            writer.number(TIME, 4);
            writer.out.write(uuid, 0, 32);
            byte[] label = new byte[16];
            System.arraycopy(LABEL.getBytes(StandardCharsets.US_ASCII), 0, label, 0, LABEL.length());
            writer.out.write(label);
        });
        return writer;
    }

    long bytes() {
        return bytes;
    }

    /** Sends a file's content and returns its number. */
    int blob(InputStream content, long size) throws BadLayerException {
        sendHead(size);
        long done = 0;
        while (done < size) {
            int got = read(content, (int) Math.min(copy.length, size - done));
            int length = got;
            send(() -> out.write(copy, 0, length));
            done += got;
        }
        return blobs++;
    }

    private int read(InputStream content, int most) throws BadLayerException {
        try {
            int got = content.read(copy, 0, most);
            if (got > 0) {
                return got;
            }
        } catch (BadLayerException e) {
            throw e;
        } catch (IOException e) {
            // Said below.
        }
        throw new BadLayerException("its content is cut short");
    }

    private void sendHead(long size) {
        send(() -> {
            out.write('B');
            number(size, 8);
        });
    }

    void drop(int blob) {
        send(() -> {
            out.write('D');
            number(blob, 4);
        });
    }

    /** Sends the tree, completes the image and waits until it is on the disk. Returns the bytes in use. */
    long finish(Tree tree) {
        root = tree.root();
        send(() -> {
            writeTree(root);
            out.write('E');
            out.write(1);
            out.close();
        });
        String said = said();
        if (said.startsWith("ok ")) {
            return Long.parseLong(said.substring(3));
        }
        throw failure(said);
    }

    private record Visit(Directory directory, Directory parent) {}

    /** Directories first come, first served, names sorted: the same tree gives the same bytes. */
    private void writeTree(Directory root) throws IOException {
        int next = 0;
        root.index = next++;
        Deque<Visit> open = new ArrayDeque<>();
        open.push(new Visit(root, root));
        while (!open.isEmpty()) {
            Visit visit = open.pop();
            Map<String, Entry> sorted = new TreeMap<>(visit.directory().entries);
            List<Inode> fresh = new ArrayList<>();
            List<Visit> below = new ArrayList<>();
            for (Entry entry : sorted.values()) {
                Inode inode = entry.inode();
                if (inode.index == Inode.NONE) {
                    inode.index = next++;
                    fresh.add(inode);
                }
                if (inode instanceof Directory directory) {
                    below.add(new Visit(directory, visit.directory()));
                }
            }
            writeDirectory(visit, sorted, below.size());
            for (Inode inode : fresh) {
                if (!(inode instanceof Directory)) {
                    writeInode(inode);
                }
            }
            for (int i = below.size() - 1; i >= 0; i--) {
                open.push(below.get(i));
            }
        }
    }

    /** A name of the file that has this number, which none has before the tree was sent. */
    private static String path(Directory root, int index) {
        record Step(Directory directory, Optional<Step> before, String name) {}
        Deque<Step> open = new ArrayDeque<>();
        open.push(new Step(root, Optional.empty(), ""));
        while (!open.isEmpty()) {
            Step step = open.pop();
            for (Map.Entry<String, Entry> entry : step.directory().entries.entrySet()) {
                Inode inode = entry.getValue().inode();
                Step here = new Step(
                        inode instanceof Directory directory ? directory : root, Optional.of(step), entry.getKey());
                if (inode.index == index) {
                    StringBuilder path = new StringBuilder();
                    for (Optional<Step> at = Optional.of(here);
                            at.get().before().isPresent();
                            at = at.get().before()) {
                        path.insert(0, "/" + at.get().name());
                    }
                    return path.toString();
                }
                if (inode instanceof Directory) {
                    open.push(here);
                }
            }
        }
        return "/";
    }

    private void writeDirectory(Visit visit, Map<String, Entry> sorted, int directories) throws IOException {
        writeHead(visit.directory(), 2 + directories);
        number(visit.parent().index, 4);
        number(sorted.size(), 4);
        for (Map.Entry<String, Entry> entry : sorted.entrySet()) {
            number(entry.getValue().inode().index, 4);
            number(entry.getValue().inode().modeWithType(), 4);
            text(Names.bytes(entry.getKey()));
        }
        writeXattrs(visit.directory());
    }

    private void writeInode(Inode inode) throws IOException {
        writeHead(inode, inode.names);
        switch (inode.type) {
            case FILE -> number(inode.blob, 4);
            case SYMLINK -> text(Names.bytes(inode.target));
            default -> {
                number(inode.major, 4);
                number(inode.minor, 4);
            }
        }
        writeXattrs(inode);
    }

    private void writeHead(Inode inode, int links) throws IOException {
        out.write('I');
        number(inode.index, 4);
        number(inode.modeWithType(), 4);
        number(inode.uid, 4);
        number(inode.gid, 4);
        number(inode.mtimeSeconds, 8);
        number(inode.mtimeNanos, 4);
        number(links, 4);
    }

    private void writeXattrs(Inode inode) throws IOException {
        number(inode.xattrs.size(), 4);
        for (Map.Entry<String, byte[]> xattr : new TreeMap<>(inode.xattrs).entrySet()) {
            text(xattr.getKey().getBytes(StandardCharsets.UTF_8));
            text(xattr.getValue());
        }
    }

    private void text(byte[] text) throws IOException {
        number(text.length, 4);
        out.write(text);
    }

    private void number(long value, int length) throws IOException {
        numbers.putLong(0, value);
        out.write(numbers.array(), 0, length);
    }

    /** Something to send. */
    @FunctionalInterface
    private interface Sending {
        void send() throws IOException;
    }

    private void send(Sending sending) {
        try {
            sending.send();
        } catch (IOException e) {
            // It has ended, and said why.
            throw failure(said());
        }
    }

    private String said() {
        try {
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            process.getInputStream().transferTo(said);
            process.waitFor();
            return said.toString(StandardCharsets.UTF_8).strip();
        } catch (IOException e) {
            return "";
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new ForkdException(Kind.FAILED, "interrupted");
        }
    }

    private ForkdException failure(String said) {
        if (said.startsWith("full ")) {
            long needed = Long.parseLong(said.substring(5)) >> 20;
            return new ForkdException(
                    Kind.FAILED,
                    "the image does not fit into " + (bytes >> 20) + " MiB: it needs " + needed + " MiB",
                    new Remedy.ImageOfSize(needed));
        }
        if (said.startsWith("inode ")) {
            String[] parts = said.split(" ", 3);
            String path = path(root, Integer.parseInt(parts[1]));
            return new ForkdException(Kind.FAILED, "cannot put " + Names.text(path) + " into the image: " + parts[2]);
        }
        return new ForkdException(
                Kind.FAILED,
                "cannot write the image: "
                        + (said.startsWith("error ")
                                ? said.substring(6)
                                : "forkd-mkfs ended with status " + process.exitValue()));
    }

    /** Ends the program, if it still runs; the image is then incomplete. */
    @Override
    public void close() {
        process.destroyForcibly();
        try {
            process.waitFor();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}

package io.forkd.sandbox;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * One process, and no other that gets its number later.
 *
 * @param startTime in clock ticks since the host booted, as in /proc/PID/stat
 */
public record ProcessId(int pid, long startTime) {
    private static final Path PROC = Path.of("/proc");

    /** Flags in /proc/net/unix; what it has accepted has its name, too. */
    private static final String LISTENS = "00010000";

    /** Fields of /proc/PID/stat after the name, which may have blanks and brackets in it. */
    private static final int STATE = 0;

    private static final int START_TIME = 19;

    /** The process that has this number now. */
    public static Optional<ProcessId> of(int pid) {
        return stat(pid).map(fields -> new ProcessId(pid, Long.parseLong(fields[START_TIME])));
    }

    /** Whether somebody has stopped it: it answers nobody until it is continued. */
    public boolean isStopped() {
        return stat(pid)
                .filter(fields -> Long.parseLong(fields[START_TIME]) == startTime)
                .map(fields -> fields[STATE].equals("T") || fields[STATE].equals("t"))
                .orElse(false);
    }

    /** Empty when it has ended. */
    public Optional<Watched> watch() {
        try {
            Watched watched = new Watched(FileChannel.open(file(pid), StandardOpenOption.READ));
            // The number may have become another's before that.
            if (of(pid).equals(Optional.of(this))) {
                return Optional.of(watched);
            }
            watched.close();
        } catch (IOException e) {
            // It has ended.
        }
        return Optional.empty();
    }

    /** A process that is looked at often: its file is kept open, and is never another's. For one thread at a time. */
    public static final class Watched implements AutoCloseable {
        /** Number, name, state. */
        private static final int BEGINNING = 64;

        private final FileChannel stat;
        private final ByteBuffer beginning = ByteBuffer.allocate(BEGINNING);

        private Watched(FileChannel stat) {
            this.stat = stat;
        }

        /** Whether it has neither ended nor been stopped. */
        public boolean isRunning() {
            try {
                beginning.clear();
                stat.read(beginning, 0);
                String text = new String(beginning.array(), 0, beginning.position(), StandardCharsets.ISO_8859_1);
                int state = text.lastIndexOf(')') + 2;
                return state >= 2 && state < text.length() && "TtZX".indexOf(text.charAt(state)) < 0;
            } catch (IOException e) {
                return false;
            }
        }

        @Override
        public void close() {
            try {
                stat.close();
            } catch (IOException e) {
                // Nothing was written to it.
            }
        }
    }

    /**
     * Who has the listening socket of this name open, for when nothing else tells. Only processes of this user are looked
     * into, unless it is root.
     */
    public static Optional<ProcessId> listeningAt(Path socket) {
        try (Stream<String> sockets = lines(PROC.resolve("net/unix"))) {
            Optional<String> link = sockets.map(line -> line.trim().split(" +", 8))
                    .filter(fields ->
                            fields.length == 8 && fields[3].equals(LISTENS) && fields[7].equals(socket.toString()))
                    .map(fields -> "socket:[" + fields[6] + "]")
                    .findFirst();
            return link.flatMap(open -> ProcessHandle.allProcesses()
                    .map(process -> (int) process.pid())
                    .filter(pid -> hasOpen(pid, open))
                    .findFirst()
                    .flatMap(ProcessId::of));
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    private static boolean hasOpen(int pid, String link) {
        try (var descriptors =
                Files.newDirectoryStream(PROC.resolve(Integer.toString(pid)).resolve("fd"))) {
            for (Path descriptor : descriptors) {
                if (Files.readSymbolicLink(descriptor).toString().equals(link)) {
                    return true;
                }
            }
        } catch (IOException | DirectoryIteratorException e) {
            // It ended, or is not ours to look into.
        }
        return false;
    }

    private static Optional<String[]> stat(int pid) {
        try (Stream<String> lines = lines(file(pid))) {
            String line = String.join("\n", lines.toList());
            String[] fields = line.substring(line.lastIndexOf(')') + 2).split(" ", -1);
            return fields.length > START_TIME ? Optional.of(fields) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty();
        }
    }

    private static Path file(int pid) {
        return PROC.resolve(Integer.toString(pid)).resolve("stat");
    }

    /** Names in these files are any bytes. */
    private static Stream<String> lines(Path file) throws IOException {
        return new String(Files.readAllBytes(file), StandardCharsets.UTF_8).lines();
    }
}

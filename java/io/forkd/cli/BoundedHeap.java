package io.forkd.cli;

import com.sun.management.HotSpotDiagnosticMXBean;
import com.sun.management.VMOption.Origin;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.Charset;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;

/**
 * Runs the commands that build images, or send and fetch them, in a JVM with a bounded heap. A jar cannot say how much memory it needs, and a
 * JVM that is told nothing lets garbage pile up to a quarter of the machine: 3 GiB for 700 000 files.
 */
final class BoundedHeap {
    private static final Set<String> LARGE = Set.of("from-image", "parent", "quickstart", "run", "push", "pull");
    private static final String BOUND = "-Xmx320m";
    /** Tells the second JVM who started it. */
    private static final String STARTER = "forkd.starter";

    private BoundedHeap() {}

    /** Runs this process's command line in a second one, with a bound; empty where that is not needed. */
    static OptionalInt run(String... arguments) {
        long starter = Long.getLong(STARTER, 0);
        if (starter > 0) {
            endWith(starter);
            return OptionalInt.empty();
        }
        if (arguments.length == 0 || !LARGE.contains(arguments[0]) || isBounded() || !Locales.canPassOn(arguments)) {
            return OptionalInt.empty();
        }
        try {
            return OptionalInt.of(
                    waitFor(new ProcessBuilder(command()).inheritIO().start()));
        } catch (IOException e) {
            // There is no other java; rather too much memory than no image.
            return OptionalInt.empty();
        }
    }

    /** Whether somebody said how large the heap may be. */
    private static boolean isBounded() {
        Origin origin = ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class)
                .getVMOption("MaxHeapSize")
                .getOrigin();
        return origin != Origin.DEFAULT && origin != Origin.ERGONOMIC;
    }

    private static List<String> command() throws IOException {
        List<String> command = ownCommand();
        command.addAll(1, List.of("-D" + STARTER + "=" + ProcessHandle.current().pid(), BOUND));
        return command;
    }

    /** What runs this process's command line once more, with the bound that this one has, and ends with nobody. */
    static List<String> ownCommand() throws IOException {
        List<String> command = new ArrayList<>(
                List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString()));
        // As Java reads and writes arguments.
        Charset encoding = Charset.forName(System.getProperty("sun.jnu.encoding", "UTF-8"));
        String[] ours = new String(Files.readAllBytes(Path.of("/proc/self/cmdline")), encoding).split("\0", -1);
        command.addAll(Arrays.asList(ours).subList(1, ours.length - 1));
        command.removeIf(argument -> argument.startsWith("-D" + STARTER + "="));
        return command;
    }

    /** A signal that ends this process ends the other one first. */
    private static int waitFor(Process process) {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            process.destroy();
            join(process);
        }));
        return join(process);
    }

    private static int join(Process process) {
        while (true) {
            try {
                return process.waitFor();
            } catch (InterruptedException e) {
                // It has to end first.
            }
        }
    }

    /** Without the process that waits for it nobody would end this one. */
    private static void endWith(long starter) {
        Thread thread = new Thread(() -> {
            ProcessHandle.of(starter).ifPresent(process -> process.onExit().join());
            System.exit(Kind.FAILED.exitStatus());
        });
        thread.setDaemon(true);
        thread.start();
    }
}

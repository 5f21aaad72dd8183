package io.forkd.files;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(120)
class FileLockTest {
    private static final Duration LONG = Duration.ofMinutes(1);
    private static final Duration SHORT = Duration.ofMillis(300);

    @TempDir
    Path directory;

    private final ExecutorService threads = Executors.newCachedThreadPool();
    private final List<Process> processes = new ArrayList<>();
    private final List<String> said = new ArrayList<>();
    private final AtomicBoolean unwanted = new AtomicBoolean();
    private Path file;

    private final Waiter waiter = new Waiter() {
        @Override
        public void check() {
            if (unwanted.get()) {
                throw new ForkdException(ForkdException.Kind.FAILED, "interrupted");
            }
        }

        @Override
        public synchronized void say(String line) {
            said.add(line);
            unwanted.set(true);
        }
    };

    @BeforeEach
    void name() {
        file = directory.resolve("lock");
    }

    @AfterEach
    void end() throws InterruptedException {
        threads.shutdownNow();
        for (Process process : processes) {
            process.destroyForcibly().waitFor();
        }
        assertThat(threads.awaitTermination(30, TimeUnit.SECONDS)).isTrue();
    }

    @Test
    void who_may_not_read_it_cannot_lock_it() throws IOException {
        try (FileLock lock = FileLock.exclusive(file)) {
            assertThat(Files.getPosixFilePermissions(file)).isEqualTo(PosixFilePermissions.fromString("rw-------"));
        }
    }

    /** Holds the lock until it is killed. */
    public static final class Holder {
        private Holder() {}

        public static void main(String[] arguments) throws IOException, InterruptedException {
            Path file = Path.of(arguments[0]);
            try (FileLock lock =
                    arguments[1].equals("shared") ? FileLock.tryShared(file).orElseThrow() : FileLock.exclusive(file)) {
                System.out.println("held");
                Thread.sleep(600_000);
            }
        }
    }

    /** Adds one to the number in a file, in several threads, under the lock. */
    public static final class Counter {
        static final int THREADS = 4;
        static final int TIMES = 100;

        private Counter() {}

        static void count(Path file) throws IOException {
            for (int i = 0; i < TIMES; i++) {
                try (FileLock lock = FileLock.exclusive(file, LONG)) {
                    Path number = file.resolveSibling("number");
                    int now = Integer.parseInt(Files.readString(number));
                    Files.writeString(number, Integer.toString(now + 1));
                }
            }
        }

        public static void main(String[] arguments) throws Exception {
            countInThreads(Path.of(arguments[0]));
        }

        static void countInThreads(Path file) throws Exception {
            ExecutorService pool = Executors.newFixedThreadPool(THREADS);
            try {
                List<Callable<Boolean>> jobs = new ArrayList<>();
                for (int i = 0; i < THREADS; i++) {
                    jobs.add(() -> {
                        count(file);
                        return true;
                    });
                }
                for (Future<Boolean> job : pool.invokeAll(jobs)) {
                    job.get();
                }
            } finally {
                pool.shutdown();
            }
        }
    }

    private Process start(Class<?> program, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-cp",
                System.getProperty("java.class.path"),
                program.getName(),
                file.toString()));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start();
        processes.add(process);
        return process;
    }

    private Process holder(String how) throws IOException {
        Process holder = start(Holder.class, how);
        BufferedReader output = holder.inputReader();
        assertThat(output.readLine()).isEqualTo("held");
        return holder;
    }

    private static void stop(Process process) throws Exception {
        assertThat(new ProcessBuilder("kill", "-STOP", Long.toString(process.pid()))
                        .start()
                        .waitFor())
                .isZero();
    }

    @Test
    void locks_of_the_file_are_those_that_are_held_by_flock() {
        List<String> locks = List.of(
                "1: FLOCK  ADVISORY  WRITE 100 fd:01:7 0 EOF",
                "1: -> FLOCK  ADVISORY  WRITE 101 fd:01:7 0 EOF",
                "2: POSIX  ADVISORY  WRITE 102 fd:01:7 0 EOF",
                "3: FLOCK  ADVISORY  READ  103 fd:01:7 0 EOF",
                "4: FLOCK  ADVISORY  WRITE 104 fd:01:77 0 EOF",
                "5: FLOCK");
        assertThat(LockHolder.of(locks, "fd:01:7", LockHolder.Family.FLOCK))
                .containsExactly(new LockHolder(100, true), new LockHolder(103, false));
    }

    @Test
    void threads_and_processes_exclude_each_other() throws Exception {
        Path number = Files.writeString(directory.resolve("number"), "0");
        Process other = start(Counter.class);
        Counter.countInThreads(file);
        assertThat(other.waitFor()).isZero();
        assertThat(number).hasContent(Integer.toString(2 * Counter.THREADS * Counter.TIMES));
    }

    @Test
    void lock_that_each_holder_removes_last_excludes_all_the_same() throws Exception {
        AtomicInteger inside = new AtomicInteger();
        List<Future<Boolean>> jobs = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            jobs.add(threads.submit(() -> {
                for (int j = 0; j < 100; j++) {
                    try (FileLock lock = FileLock.exclusive(file, LONG)) {
                        assertThat(inside.incrementAndGet()).isEqualTo(1);
                        inside.decrementAndGet();
                        Files.delete(file);
                    }
                }
                return true;
            }));
        }
        for (Future<Boolean> job : jobs) {
            assertThat(job.get()).isTrue();
        }
    }

    @Test
    void shared_lock_is_held_until_the_last_of_its_threads_gives_it_back() throws Exception {
        FileLock first = FileLock.tryShared(file).orElseThrow();
        FileLock second =
                threads.submit(() -> FileLock.tryShared(file).orElseThrow()).get();
        assertThat(FileLock.tryExclusive(file)).isEmpty();
        assertThat(FileLock.isHeld(file)).isTrue();
        assertThat(FileLock.isExclusive(file)).isFalse();

        first.close();
        first.close();
        assertThat(FileLock.tryExclusive(file)).isEmpty();
        assertThat(start(Counter.class).isAlive()).isTrue();
        second.close();
        FileLock.tryExclusive(file).orElseThrow().close();
    }

    @Test
    void processes_share_it_too() throws Exception {
        Process holder = holder("shared");
        FileLock.tryShared(file).orElseThrow().close();
        assertThat(FileLock.tryExclusive(file)).isEmpty();
        assertThat(FileLock.isExclusive(file)).isFalse();
        holder.destroyForcibly().waitFor();
        FileLock.tryExclusive(file).orElseThrow().close();
    }

    @Test
    void threads_are_served_in_the_order_in_which_they_came() throws Exception {
        List<Integer> order = new ArrayList<>();
        List<Future<?>> jobs = new ArrayList<>();
        try (FileLock held = FileLock.exclusive(file)) {
            for (int i = 0; i < 8; i++) {
                int number = i;
                CompletableFuture<Thread> thread = new CompletableFuture<>();
                jobs.add(threads.submit(() -> {
                    thread.complete(Thread.currentThread());
                    try (FileLock lock = FileLock.exclusive(file, LONG)) {
                        order.add(number);
                    }
                    return number;
                }));
                while (thread.get().getState() != Thread.State.TIMED_WAITING) {
                    Thread.sleep(1);
                }
            }
        }
        for (Future<?> job : jobs) {
            job.get();
        }
        assertThat(order).isSorted().hasSize(8);
    }

    @Test
    void thread_that_is_interrupted_waits_no_longer_and_does_not_stand_in_the_way() throws Exception {
        CountDownLatch waits = new CountDownLatch(1);
        try (FileLock held = FileLock.exclusive(file)) {
            Future<?> job = threads.submit(() -> {
                waits.countDown();
                return FileLock.exclusive(file, LONG);
            });
            waits.await();
            Thread.sleep(20);
            threads.shutdownNow();
            assertThatThrownBy(job::get).hasRootCauseMessage("interrupted").hasCauseInstanceOf(ForkdException.class);
        }
        FileLock.exclusive(file, SHORT).close();
    }

    @Test
    void lock_of_a_killed_process_is_free() throws Exception {
        Process holder = holder("exclusive");
        assertThat(FileLock.tryExclusive(file)).isEmpty();
        Future<FileLock> waiting = threads.submit(() -> FileLock.exclusive(file, LONG));
        holder.destroyForcibly();
        waiting.get().close();
    }

    @Test
    void wait_for_what_is_held_shortly_ends_and_names_the_holder() throws Exception {
        Process holder = holder("exclusive");
        assertThatThrownBy(() -> FileLock.exclusive(file, SHORT))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining(file + " has been locked")
                .hasMessageContaining("the process " + holder.pid() + " (java)");
        try (FileLock mine = FileLock.exclusive(directory.resolve("mine"))) {
            assertThatThrownBy(() -> FileLock.exclusive(directory.resolve("mine"), SHORT))
                    .hasMessageContaining("another thread of this process");
        }
    }

    @Test
    void holder_that_is_stopped_is_named_with_what_lets_it_go_on() throws Exception {
        Process holder = holder("exclusive");
        stop(holder);
        assertThatThrownBy(() -> FileLock.exclusive(file, "the image of x", SHORT, waiter))
                .isInstanceOf(ForkdException.class)
                .hasMessageContaining("the image of x (" + file + ")")
                .hasMessageContaining("the process " + holder.pid() + " (java), which is stopped")
                .hasMessageContaining("kill -CONT " + holder.pid());
    }

    @Test
    void long_wait_is_told_and_ends_when_nobody_wants_it_any_more() throws Exception {
        Process holder = holder("exclusive");
        assertThatThrownBy(() -> FileLock.exclusive(file, "the image of x", SHORT, waiter))
                .hasMessage("interrupted");
        assertThat(said)
                .containsExactly(
                        "Waiting for the image of x (" + file + "): the process " + holder.pid() + " (java) is at it");
    }
}

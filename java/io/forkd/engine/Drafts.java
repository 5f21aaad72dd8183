package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.files.OwnedDirectory;
import io.forkd.sandbox.ProcessId;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotStore.Entry;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Snapshots that are there for what is made of them alone. They lie where nobody lists them, and each is called after the
 * process that makes it: so it is known to be left over as soon as that is gone.
 */
final class Drafts {
    private static final Pattern FORM = Pattern.compile("draft-([0-9]{1,10})-([0-9]{1,18})-[0-9]+");

    private final SnapshotStore store;
    private final AtomicLong made = new AtomicLong();

    Drafts(SnapshotStore store) {
        this.store = store;
    }

    SnapshotStore store() {
        return store;
    }

    SnapshotTag next() {
        ProcessId us = ProcessId.of(Math.toIntExact(ProcessHandle.current().pid()))
                .orElseThrow(() -> new IllegalStateException("/proc does not know this process"));
        return new SnapshotTag("draft-" + us.pid() + "-" + us.startTime() + "-" + made.incrementAndGet());
    }

    void remove(SnapshotTag tag) {
        try {
            store.remove(tag, true, each -> true);
        } catch (ForkdException e) {
            // It was never made; or the next sweep tries again.
        }
    }

    Set<Path> diskImages() {
        return store.diskImages();
    }

    /** Removes what processes have left that were killed. */
    void sweep() {
        for (Entry entry : store.list()) {
            Matcher parts = FORM.matcher(entry.tag());
            if (parts.matches() && !isRunning(parts.group(1), parts.group(2)) && !isUsed(entry.directory())) {
                remove(new SnapshotTag(entry.tag()));
            }
        }
        store.sweep();
    }

    /** By a process of another world, in which others have these numbers. */
    private static boolean isUsed(Path directory) {
        try {
            return OwnedDirectory.isAlive(directory);
        } catch (IOException e) {
            return true; // The next sweep looks again.
        }
    }

    private static boolean isRunning(String pid, String startTime) {
        try {
            ProcessId maker = new ProcessId(Integer.parseInt(pid), Long.parseLong(startTime));
            return ProcessId.of(maker.pid()).equals(Optional.of(maker));
        } catch (NumberFormatException e) {
            return false; // No process has that number.
        }
    }
}

package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.snapshot.Snapshot;
import io.forkd.snapshot.SnapshotStore;
import io.forkd.snapshot.SnapshotTag;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Snapshots that are there for what is made of them alone. */
class DraftsTest {
    private static final SnapshotStore.Writers NOBODY = new SnapshotStore.Writers() {
        @Override
        public boolean isWriting(Snapshot snapshot) {
            return false;
        }

        @Override
        public void requireUnused(Snapshot snapshot) {}

        @Override
        public void end(Snapshot snapshot) {}
    };

    @TempDir
    Path root;

    private Path make(String tag) throws IOException {
        Path directory = Files.createDirectories(root.resolve(tag));
        Files.writeString(directory.resolve("memory.bin"), "x");
        return directory;
    }

    @Test
    void one_is_left_over_as_soon_as_its_process_is_gone() throws Exception {
        Drafts drafts = new Drafts(new SnapshotStore(root, NOBODY));
        SnapshotTag tag = drafts.next();
        String[] words = tag.value().split("-", -1);
        Path ours = make(tag.value());
        Path dead = make("draft-4194999-1-1");
        Path earlier = make("draft-" + words[1] + "-" + (Long.parseLong(words[2]) - 1) + "-1");
        Path other = make("other");
        drafts.sweep();
        assertThat(dead).doesNotExist();
        assertThat(earlier).doesNotExist();
        assertThat(ours).exists();
        assertThat(other).exists();
        drafts.remove(tag);
        assertThat(ours).doesNotExist();
    }
}

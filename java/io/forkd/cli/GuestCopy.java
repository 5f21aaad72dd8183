package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestEntry;
import io.forkd.agent.GuestEvents;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestFileReader;
import io.forkd.agent.GuestFileWriter;
import io.forkd.agent.GuestFiles;
import io.forkd.agent.GuestPath;
import io.forkd.cli.Copy.Item;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.function.Consumer;

/** Files of a guest, told of or made. */
final class GuestCopy {
    private static final int DEPTH = 64;

    private GuestCopy() {}

    /**
     * What is at a path and below it.
     *
     * @param leftOut hears of what is not copied
     */
    record Source(GuestFiles files, GuestEntry root, Consumer<String> leftOut) implements Copy.Source {
        private record Place(GuestPath path, List<String> names) {}

        @Override
        public void copyTo(Copy.Sink sink) throws IOException {
            copy(root, List.of(), sink);
            Deque<Place> directories = new ArrayDeque<>();
            if (root.type() == GuestEntry.Type.DIRECTORY) {
                directories.add(new Place(root.path(), List.of()));
            }
            while (!directories.isEmpty()) {
                Place place = directories.remove();
                try (GuestEvents<GuestEntry> events = files.list(place.path(), DEPTH)) {
                    for (Optional<GuestEntry> next = events.next(); next.isPresent(); next = events.next()) {
                        GuestEntry entry = next.get();
                        List<String> below = names(entry, place.path());
                        List<String> names = new ArrayList<>(place.names());
                        names.addAll(below);
                        copy(entry, names, sink);
                        if (below.size() == DEPTH && entry.type() == GuestEntry.Type.DIRECTORY) {
                            directories.add(new Place(entry.path(), names));
                        }
                    }
                }
            }
        }

        private static List<String> names(GuestEntry entry, GuestPath root) {
            return entry.path().below(root).stream()
                    .map(name -> {
                        if (name.isUtf8()) {
                            return name.text();
                        }
                        throw new ForkdException(
                                Kind.FAILED, "cannot copy " + entry.path() + ": its name is not UTF-8");
                    })
                    .toList();
        }

        private void copy(GuestEntry entry, List<String> names, Copy.Sink sink) throws IOException {
            entry.error().ifPresent(why -> leftOut.accept("what is in " + entry.path() + " is left out: " + why));
            Item item = new Item(
                    names,
                    entry.type() == GuestEntry.Type.FILE
                            ? Copy.Type.FILE
                            : entry.type() == GuestEntry.Type.DIRECTORY ? Copy.Type.DIRECTORY : Copy.Type.SYMLINK,
                    entry.size(),
                    entry.mode(),
                    entry.uid(),
                    entry.gid(),
                    entry.modified(),
                    entry.target().map(GuestPath::text));
            switch (entry.type()) {
                case FILE -> {
                    try (GuestFileReader file = files.read(entry.path(), 0, OptionalLong.empty())) {
                        sink.take(item, Channels.newInputStream(file));
                    }
                }
                case DIRECTORY, SYMLINK -> sink.take(item, InputStream.nullInputStream());
                default ->
                    leftOut.accept(entry.path() + " is left out: it is a "
                            + entry.type().text());
            }
        }
    }

    /**
     * Makes files at a path and below it.
     *
     * @param owners whether they keep theirs; otherwise they are root's
     */
    record Sink(GuestFiles files, GuestPath root, boolean owners) implements Copy.Sink {
        @Override
        public void take(Item item, InputStream content) throws IOException {
            GuestPath path = path(item.names());
            switch (item.type()) {
                case DIRECTORY -> files.makeDirectory(path, options(item));
                case FILE -> write(path, item, content);
                case SYMLINK -> link(path, item);
                case HARD_LINK -> {
                    GuestPath target = path(TarCopy.names(item.target().orElse("")));
                    try (GuestFileReader file = files.read(target, 0, OptionalLong.empty())) {
                        write(path, item, Channels.newInputStream(file));
                    }
                }
            }
        }

        private GuestPath path(List<String> names) {
            GuestPath path = root;
            for (String name : names) {
                path = path.resolve(name);
            }
            return path;
        }

        private FileOptions options(Item item) {
            return new FileOptions(
                    OptionalInt.of(item.mode()),
                    true, // an archive need not have them
                    OptionalLong.of(owners ? item.uid() : 0),
                    OptionalLong.of(owners ? item.gid() : 0),
                    Optional.of(item.modified()));
        }

        private void write(GuestPath path, Item item, InputStream content) throws IOException {
            byte[] chunk = new byte[1 << 16];
            try (GuestFileWriter file = files.write(path, options(item))) {
                for (int count = content.read(chunk); count >= 0; count = content.read(chunk)) {
                    file.write(ByteBuffer.wrap(chunk, 0, count));
                }
                file.finish();
            }
        }

        private void link(GuestPath path, Item item) {
            FileOptions options = options(item);
            GuestPath target = GuestPath.of(item.target().orElse(""));
            try {
                files.link(path, target, options.uid(), options.gid());
            } catch (GuestException.Refused e) {
                if (!e.code().equals("EEXIST")) {
                    throw e;
                }
                files.remove(path, false);
                files.link(path, target, options.uid(), options.gid());
            }
        }

        @Override
        public void close() {
            // Each file is there when it has been taken.
        }
    }
}

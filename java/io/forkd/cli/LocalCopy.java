package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.cli.Copy.Item;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileTime;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;

/** Files of this machine, told of or made. */
final class LocalCopy {
    private static final int PERMISSIONS = 0777;

    private LocalCopy() {}

    /**
     * What is at a path and below it; a link is a link.
     *
     * @param leftOut hears of what is not copied
     */
    record Source(Path root, Consumer<String> leftOut) implements Copy.Source {
        @Override
        public void copyTo(Copy.Sink sink) throws IOException {
            Files.walkFileTree(root, new SimpleFileVisitor<>() {
                @Override
                public FileVisitResult preVisitDirectory(Path directory, BasicFileAttributes attributes)
                        throws IOException {
                    copy(directory, attributes, sink);
                    return FileVisitResult.CONTINUE;
                }

                @Override
                public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                    copy(file, attributes, sink);
                    return FileVisitResult.CONTINUE;
                }
            });
        }

        private void copy(Path path, BasicFileAttributes basic, Copy.Sink sink) throws IOException {
            if (basic.isOther()) {
                leftOut.accept(path + " is left out: it is no file, directory or link");
                return;
            }
            List<String> names = new ArrayList<>();
            if (!path.equals(root)) {
                root.relativize(path).forEach(name -> names.add(name.toString()));
            }
            Map<String, Object> unix = Files.readAttributes(path, "unix:mode,uid,gid", LinkOption.NOFOLLOW_LINKS);
            Copy.Type type = basic.isDirectory()
                    ? Copy.Type.DIRECTORY
                    : basic.isSymbolicLink() ? Copy.Type.SYMLINK : Copy.Type.FILE;
            Item item = new Item(
                    names,
                    type,
                    basic.size(),
                    number(unix, "mode") & 07777,
                    number(unix, "uid") & 0xffff_ffffL,
                    number(unix, "gid") & 0xffff_ffffL,
                    basic.lastModifiedTime().toInstant(),
                    type == Copy.Type.SYMLINK
                            ? Optional.of(Files.readSymbolicLink(path).toString())
                            : Optional.empty());
            if (type == Copy.Type.FILE) {
                try (InputStream content = Files.newInputStream(path)) {
                    sink.take(item, content);
                }
            } else {
                sink.take(item, InputStream.nullInputStream());
            }
        }

        private static int number(Map<String, Object> attributes, String name) {
            return attributes.get(name) instanceof Integer number ? number : 0;
        }
    }

    /**
     * Makes files at a path and below it, for somebody who is not trusted: none is made outside. A link is made when all
     * else has been, so that nothing goes through one; and what is there already is not followed below the path.
     */
    static final class Sink implements Copy.Sink {
        private final Path root;
        private final boolean owners;
        private final List<Item> links = new ArrayList<>();
        private final Deque<Item> directories = new ArrayDeque<>();

        /** @param owners whether they keep theirs; otherwise they are ours */
        Sink(Path root, boolean owners) {
            this.root = root;
            this.owners = owners;
        }

        @Override
        public void take(Item item, InputStream content) throws IOException {
            switch (item.type()) {
                case DIRECTORY -> {
                    Path path = place(item.names());
                    boolean there = Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS);
                    if (!there) {
                        Files.createDirectory(path);
                    }
                    // Who may do what in somebody's home is not for a guest to say.
                    if (!there || owners) {
                        directories.push(item);
                    }
                }
                case FILE -> write(item, content);
                case SYMLINK -> links.add(item);
                case HARD_LINK -> throw new AssertionError(item); // of archives, which go to guests
            }
        }

        private void write(Item item, InputStream content) throws IOException {
            Path path = place(item.names());
            removeAll(path);
            try (OutputStream out =
                    Files.newOutputStream(path, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                content.transferTo(out);
            }
            set(path, item);
        }

        private static void removeAll(Path path) throws IOException {
            if (!Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
                Files.deleteIfExists(path);
            }
        }

        /** Where it is, when everything on the way is a directory. */
        private Path place(List<String> names) {
            Path path = root;
            for (int i = 0; i < names.size(); i++) {
                String name = names.get(i);
                if (i > 0 && !Files.isDirectory(path, LinkOption.NOFOLLOW_LINKS)) {
                    throw new ForkdException(Kind.FAILED, "cannot copy to " + path + ": it is no directory");
                }
                if (name.isEmpty() || name.equals(".") || name.equals("..") || name.indexOf('/') >= 0) {
                    throw new ForkdException(Kind.FAILED, "cannot copy to " + path + ": a file there has no name");
                }
                path = path.resolve(name);
            }
            return path;
        }

        private void set(Path path, Item item) throws IOException {
            if (owners) {
                Files.setAttribute(path, "unix:uid", (int) item.uid(), LinkOption.NOFOLLOW_LINKS);
                Files.setAttribute(path, "unix:gid", (int) item.gid(), LinkOption.NOFOLLOW_LINKS);
            }
            if (item.type() != Copy.Type.SYMLINK) {
                Files.setAttribute(path, "unix:mode", item.mode() & PERMISSIONS, LinkOption.NOFOLLOW_LINKS);
                Files.setLastModifiedTime(path, FileTime.from(item.modified()));
            }
        }

        @Override
        public void close() throws IOException {
            for (Item link : links) {
                Path path = place(link.names());
                removeAll(path);
                Files.createSymbolicLink(path, Path.of(link.target().orElse("")));
                if (owners) {
                    set(path, link);
                }
            }
            for (Item directory : directories) { // the deepest first; some cannot be written to any more then
                set(place(directory.names()), directory);
            }
        }
    }
}

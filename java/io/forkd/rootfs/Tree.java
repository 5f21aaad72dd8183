package io.forkd.rootfs;

import io.forkd.rootfs.Directory.Entry;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Optional;
import java.util.function.IntConsumer;

/**
 * The files of an image while layer after layer is put on them. Nothing here is a path of the host: links are followed
 * within the tree, where {@code ..} of the root is the root.
 */
final class Tree {
    private static final int MAX_LINKS = 40;
    private static final int MAX_PATH = 4095;
    private static final int MAX_NAME = 255;

    private final Directory root = new Directory();
    private final IntConsumer dropBlob;
    private int layer;
    private int puts;
    private long nameBytes;

    /** @param dropBlob hears of content that nothing refers to any more */
    Tree(IntConsumer dropBlob) {
        this.dropBlob = dropBlob;
        root.names = 1;
    }

    Directory root() {
        return root;
    }

    /** Names that files were given, those of directories that no layer has among them. */
    int puts() {
        return puts;
    }

    /** Bytes of those names, and of what symlinks lead to. */
    long nameBytes() {
        return nameBytes;
    }

    void beginLayer() {
        layer++;
    }

    /** A directory and a name in it, which need not exist. */
    record Place(Directory directory, String name) {
        Optional<Entry> entry() {
            return Optional.ofNullable(directory.entries.get(name));
        }
    }

    /**
     * Checks a member's name and finds its directory; empty for the root itself, and where a directory is missing. A
     * name that begins with a slash, as some builders write them, means the same as without.
     */
    Optional<Place> place(String path, boolean create) throws BadLayerException {
        List<String> parts = Names.components(path);
        if (parts.contains("..")) {
            throw new BadLayerException("its name leads out with ..");
        }
        return place(parts, path, create);
    }

    /** Where a hard link leads to: a name like a member's. */
    Optional<Place> target(String path) throws BadLayerException {
        List<String> parts = Names.components(path);
        if (parts.contains("..")) {
            throw new BadLayerException("it is a link to " + Names.text(path) + ", which leads out with ..");
        }
        return place(parts, path, false);
    }

    private Optional<Place> place(List<String> parts, String path, boolean create) throws BadLayerException {
        if (path.length() > MAX_PATH) {
            throw new BadLayerException("its name has more than " + MAX_PATH + " bytes");
        }
        for (String part : parts) {
            if (part.length() > MAX_NAME || part.indexOf('\0') >= 0) {
                throw new BadLayerException("a part of its name has more than " + MAX_NAME + " bytes, or a NUL");
            }
        }
        if (parts.isEmpty()) {
            return Optional.empty();
        }
        return directory(parts.subList(0, parts.size() - 1), create)
                .map(directory -> new Place(directory, parts.get(parts.size() - 1)));
    }

    /** Walks down as the kernel would in a chroot, and makes missing directories if that is wanted. */
    private Optional<Directory> directory(List<String> parts, boolean create) throws BadLayerException {
        Deque<Directory> above = new ArrayDeque<>();
        Directory here = root;
        Deque<String> rest = new ArrayDeque<>(parts);
        int links = 0;
        while (!rest.isEmpty()) {
            String part = rest.pop();
            if (part.equals("..")) {
                here = above.isEmpty() ? root : above.pop();
                continue;
            }
            Entry entry = here.entries.get(part);
            if (entry == null) {
                if (!create) {
                    return Optional.empty();
                }
                Directory made = new Directory();
                put(new Place(here, part), made);
                above.push(here);
                here = made;
            } else if (entry.inode() instanceof Directory directory) {
                above.push(here);
                here = directory;
            } else if (entry.inode().type == Member.Type.SYMLINK) {
                if (++links > MAX_LINKS) {
                    throw new BadLayerException("its name leads through a loop of links");
                }
                String target = entry.inode().target;
                if (target.startsWith("/")) {
                    above.clear();
                    here = root;
                }
                List<String> more = Names.components(target);
                for (int i = more.size() - 1; i >= 0; i--) {
                    rest.push(more.get(i));
                }
                if (rest.size() > MAX_PATH) {
                    throw new BadLayerException("its name leads through too many links");
                }
            } else if (create) {
                throw new BadLayerException("its name leads through " + Names.text(part) + ", which is no directory");
            } else {
                return Optional.empty();
            }
        }
        return Optional.of(here);
    }

    /** What a path leads to, with links followed, also the last one. */
    Optional<Inode> follow(String path) throws BadLayerException {
        String now = path;
        for (int i = 0; i < MAX_LINKS; i++) {
            Optional<Place> place = place(Names.components(now), now, false);
            Optional<Entry> entry = place.flatMap(Place::entry);
            if (entry.isEmpty() || entry.get().inode().type != Member.Type.SYMLINK) {
                return entry.map(Entry::inode);
            }
            String target = entry.get().inode().target;
            now = target.startsWith("/") ? target : now.substring(0, Math.max(0, now.lastIndexOf('/'))) + "/" + target;
        }
        return Optional.empty();
    }

    /** Gives a file a name, in place of what had it before. */
    void put(Place place, Inode inode) {
        inode.names++;
        puts++;
        nameBytes += place.name().length() + inode.target.length();
        Entry before = place.directory().entries.put(place.name(), new Entry(inode, layer));
        if (before != null) {
            release(before.inode());
        }
    }

    /** A directory keeps what is in it; what else is in its place goes. */
    Directory putDirectory(Place place) {
        Entry before = place.directory().entries.get(place.name());
        if (before != null && before.inode() instanceof Directory directory) {
            place.directory().entries.put(place.name(), new Entry(directory, layer));
            return directory;
        }
        Directory directory = new Directory();
        put(place, directory);
        return directory;
    }

    private void release(Inode gone) {
        Deque<Inode> all = new ArrayDeque<>(List.of(gone));
        while (!all.isEmpty()) {
            Inode inode = all.pop();
            if (--inode.names > 0) {
                continue;
            }
            if (inode instanceof Directory directory) {
                directory.entries.values().forEach(entry -> all.push(entry.inode()));
                directory.entries.clear();
            } else if (inode.blob != Inode.NONE) {
                dropBlob.accept(inode.blob);
                inode.blob = Inode.NONE;
            }
        }
    }

    /** Takes away what lower layers have under this name; what the present layer has put there stays. */
    void whiteout(Place place) {
        Optional<Entry> entry = place.entry();
        if (entry.isPresent()) {
            removeLower(place.directory(), place.name(), entry.get());
        }
    }

    /** The same for all names of a directory. */
    void makeOpaque(Directory directory) {
        for (String name : new ArrayList<>(directory.entries.keySet())) {
            whiteout(new Place(directory, name));
        }
    }

    /** Depth first with a stack of our own: paths may be longer than Java's. */
    private void removeLower(Directory parent, String name, Entry entry) {
        record Frame(Directory parent, String name, Entry entry, Iterator<String> rest) {}
        Deque<Frame> stack = new ArrayDeque<>();
        stack.push(new Frame(parent, name, entry, children(entry)));
        while (!stack.isEmpty()) {
            Frame frame = stack.peek();
            if (frame.rest().hasNext()) {
                String child = frame.rest().next();
                Directory directory = (Directory) frame.entry().inode();
                Entry below = directory.entries.get(child);
                if (below != null) {
                    stack.push(new Frame(directory, child, below, children(below)));
                }
                continue;
            }
            stack.pop();
            boolean kept = frame.entry().inode() instanceof Directory directory && !directory.entries.isEmpty();
            if (frame.entry().layer() < layer && !kept) {
                frame.parent().entries.remove(frame.name());
                release(frame.entry().inode());
            }
        }
    }

    private static Iterator<String> children(Entry entry) {
        return entry.inode() instanceof Directory directory
                ? new ArrayList<>(directory.entries.keySet()).iterator()
                : List.<String>of().iterator();
    }
}

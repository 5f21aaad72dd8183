package io.forkd.files;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.file.FileStore;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Looks whether there is room for what is about to be written, before any of it is: a disk that is full is everybody's
 * trouble. What goes to one file system is taken together.
 */
public final class Room {
    private record Wanted(Path place, FileStore store, long bytes, String what) {}

    private final List<Wanted> all = new ArrayList<>();

    /**
     * Adds what is to be written.
     *
     * @param place where it is to be; it need not be there yet
     * @param bytes of it
     * @param what that is, for people
     */
    public Room and(Path place, long bytes, String what) {
        Path there = place.toAbsolutePath();
        while (!Files.exists(there)) {
            there = Optional.ofNullable(there.getParent()).orElse(Path.of("/"));
        }
        try {
            all.add(new Wanted(there, Files.getFileStore(there), bytes, what));
            return this;
        } catch (IOException e) {
            throw ForkdException.of("look for room in " + there, e);
        }
    }

    /** The same of what is moved there when it is done: where it comes from the same file system, it takes no more. */
    public Room moved(Path place, long bytes, String what) {
        Room there = new Room().and(place, bytes, what);
        if (all.stream().noneMatch(each -> each.store().equals(there.all.get(0).store()))) {
            all.addAll(there.all);
        }
        return this;
    }

    /** Fails, and says where, when there is not enough. */
    public void require() {
        for (Wanted each : all) {
            List<Wanted> same = all.stream()
                    .filter(other -> other.store().equals(each.store()))
                    .toList();
            long bytes = 0;
            for (Wanted other : same) {
                bytes = other.bytes() > Long.MAX_VALUE - bytes ? Long.MAX_VALUE : bytes + other.bytes();
            }
            long free;
            try {
                free = each.store().getUsableSpace();
            } catch (IOException e) {
                throw ForkdException.of("look for room in " + each.place(), e);
            }
            if (bytes > free) {
                throw new ForkdException(
                        Kind.FAILED,
                        "there is no room for "
                                + String.join(
                                        " and ",
                                        same.stream()
                                                .filter(other -> other.bytes() > 0)
                                                .map(Wanted::what)
                                                .toList())
                                + ": " + bytes + " bytes are needed, and " + each.place() + " has " + free + " free",
                        "Make room there.");
            }
        }
    }
}

package io.forkd.daemon.e2b;

import io.forkd.Json;
import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestChange;
import io.forkd.agent.GuestEntry;
import io.forkd.agent.GuestEvents;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestFiles;
import io.forkd.agent.GuestPath;
import io.forkd.agent.GuestStreams;
import io.forkd.daemon.Guests.Open;
import io.forkd.http.HeldInput;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BiFunction;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** {@code filesystem.Filesystem}, but for its watchers. */
final class FilesystemService {
    private static final int DEEPEST = 64;

    /** Of what a list has, as JSON. */
    private static final int MOST_BYTES = 8 << 20;

    /** Of all lists that are being made, which take ten times that meanwhile. */
    private static final long MOST_TOGETHER = 32L << 20;

    /** Which is held piece by piece, from a list's second one on. */
    private static final int PIECE = 256 << 10;

    private final HeldInput room =
            new HeldInput(MOST_TOGETHER, "the lists of directories that are being made are too long together");

    private static ObjectNode object() {
        return JsonNodeFactory.instance.objectNode();
    }

    private static ObjectNode entry(ObjectNode entry) {
        return object().set("entry", entry);
    }

    /** As that user, with the path that a field names. */
    private static ObjectNode ask(
            EnvdCall call, Fields message, String field, BiFunction<GuestFiles, GuestPath, ObjectNode> question) {
        return call.ask(guest -> {
            Account account = call.account(guest);
            GuestPath path = account.path(call.base(account), message.text(field));
            return question.apply(guest.files(account.user()), path);
        });
    }

    ObjectNode stat(EnvdCall call, Fields message) {
        return ask(call, message, "path", (files, path) -> entry(Entries.of(files, path)));
    }

    ObjectNode makeDir(EnvdCall call, Fields message) {
        return call.ask(guest -> {
            Account account = call.account(guest);
            GuestPath path = account.path(call.base(account), message.text("path"));
            GuestFiles files = guest.files(account.user());
            boolean made;
            try {
                made = account.make(
                        guest, path, again -> files.makeDirectory(path, FileOptions.DEFAULT.withParents()) || again);
            } catch (Refused e) {
                throw e.code().equals("EEXIST") ? ConnectFailure.invalid(path + " is there, and is no directory") : e;
            }
            if (!made) {
                throw new ConnectFailure(Code.ALREADY_EXISTS, "the directory " + path + " is there already");
            }
            return entry(Entries.of(files, path));
        });
    }

    ObjectNode move(EnvdCall call, Fields message) {
        return call.ask(guest -> {
            Account account = call.account(guest);
            GuestFiles files = guest.files(account.user());
            GuestPath from = account.path(call.base(account), message.text("source"));
            GuestPath to = account.path(call.base(account), message.text("destination"));
            files.stat(from, false); // Before anything is made for it.
            GuestPath parent = Account.parent(to);
            account.make(
                    guest, parent, again -> files.makeDirectory(parent, FileOptions.DEFAULT.withParents()) || again);
            files.move(from, to);
            return entry(Entries.of(files, to));
        });
    }

    ObjectNode remove(EnvdCall call, Fields message) {
        return ask(call, message, "path", (files, path) -> {
            try {
                files.remove(path, true);
            } catch (Refused e) {
                if (!e.code().equals("ENOENT")) {
                    throw e;
                }
            }
            return object();
        });
    }

    /** What is listed, and by whom it is looked at. */
    private record Listing(GuestFiles files, GuestPath root, GuestEvents<GuestEntry> events) implements AutoCloseable {
        @Override
        public void close() {
            events.close();
        }
    }

    ObjectNode listDir(EnvdCall call, Fields message) {
        long asked = Math.max(1, message.number("depth"));
        int depth = (int) Math.min(asked, DEEPEST);
        Open<Listing> open = call.open(guest -> {
            Account account = call.account(guest);
            GuestFiles files = guest.files(account.user());
            GuestPath root = account.path(call.base(account), message.text("path"));
            return new Listing(files, root, files.list(root, depth));
        });
        ObjectNode answer = object();
        ArrayNode entries = answer.putArray("entries");
        int bytes = 0;
        List<HeldInput.Place> held = new ArrayList<>();
        try (open) {
            Listing listing = open.stream();
            for (Optional<GuestEntry> next = listing.events().next();
                    next.isPresent();
                    next = listing.events().next()) {
                GuestEntry found = next.get();
                if (asked > DEEPEST
                        && found.type() == GuestEntry.Type.DIRECTORY
                        && found.path().below(listing.root()).size() == DEEPEST) {
                    throw new ConnectFailure(
                            Code.RESOURCE_EXHAUSTED,
                            "there is more than " + DEEPEST + " levels down: list " + found.path());
                }
                ObjectNode json = Entries.of(listing.files(), found);
                bytes += Json.bytes(json).length;
                if (bytes > MOST_BYTES) {
                    throw new ConnectFailure(
                            Code.RESOURCE_EXHAUSTED,
                            "the list of " + listing.root() + " is longer than " + MOST_BYTES
                                    + " bytes: list its directories one by one");
                }
                if (bytes / PIECE > held.size()) {
                    held.add(room.hold(call.http().account(), PIECE));
                }
                entries.add(json);
            }
        } catch (RuntimeException e) {
            throw EnvdCall.failure(open, e);
        } finally {
            held.forEach(HeldInput.Place::close);
        }
        return answer;
    }

    /**
     * What a client wants to hear of.
     *
     * @param entries by which it is looked at what has changed, when that is wanted
     */
    record Watched(GuestPath root, Optional<GuestFiles> entries, GuestEvents<GuestChange> events)
            implements AutoCloseable {
        @Override
        public void close() {
            events.close();
        }
    }

    static Watched watch(EnvdCall call, GuestStreams guest, Fields message) {
        Account account = call.account(guest);
        GuestFiles files = guest.files(account.user());
        GuestPath root = account.path(call.base(account), message.text("path"));
        if (files.stat(root, true).type() != GuestEntry.Type.DIRECTORY) {
            throw ConnectFailure.invalid(root + " is no directory");
        }
        return new Watched(
                root,
                Optional.of(files).filter(any -> message.flag("includeEntry", false)),
                files.watch(root, message.flag("recursive", false)));
    }
}

package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.GuestEntry;
import io.forkd.agent.GuestException;
import io.forkd.agent.GuestFiles;
import io.forkd.agent.GuestPath;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

@Command(
        name = "cp",
        description = "Copies files and directories to a guest, or from one. As docker cp does: a directory that is"
                + " there gets SOURCE put into it, or what is in SOURCE when that ends with /. ; what is not there is"
                + " made, in a directory that is there.",
        sortOptions = false)
final class CopyCommand implements Callable<Integer> {
    /** A path of this machine with a colon in it begins with a slash or a dot. */
    private static final Pattern GUEST = Pattern.compile("([^:/.][^:/]*):(.*)", Pattern.DOTALL);

    private static final String STREAM = "-";

    /** As whom guests' files are read and written. */
    private static final String ROOT = "0:0";

    private final Shell shell;

    @Parameters(
            index = "0",
            paramLabel = "SOURCE",
            description = "PATH, ID:PATH of a sandbox or a child, or - for a tar archive on stdin.")
    String source = "";

    @Parameters(
            index = "1",
            paramLabel = "TARGET",
            description = "ID:PATH, PATH, or - to write a tar archive to stdout.")
    String target = "";

    @Option(
            names = {"-a", "--archive"},
            description = "Keep owners. Without it they are root in the guest, and you here.")
    boolean archive;

    @Option(
            names = {"-L", "--follow-link"},
            description = "When SOURCE is a symbolic link, copy what it leads to.")
    boolean follow;

    @Mixin
    RemoteOptions remote = new RemoteOptions();

    private boolean incomplete;

    CopyCommand(Shell shell) {
        this.shell = shell;
    }

    /** In a guest. */
    private record Place(GuestFiles files, String path) {}

    @Override
    public Integer call() {
        Optional<Place> from = place(source);
        Optional<Place> to = place(target);
        if (from.isPresent() == to.isPresent()) {
            throw new ForkdException(
                    Kind.USAGE,
                    from.isPresent()
                            ? "both are in guests: copy from one to this machine, then to the other"
                            : "neither is in a guest: one must be ID:PATH");
        }
        try {
            shell.call().interruptibly(() -> {
                if (from.isPresent()) {
                    copyFrom(from.get());
                } else {
                    copyTo(to.orElseThrow());
                }
                return 0;
            });
            return incomplete ? Kind.FAILED.exitStatus() : 0;
        } catch (GuestException.Absent e) {
            throw Session.explained(e);
        } catch (Shell.OutputLost e) {
            return e.report(shell);
        }
    }

    private Optional<Place> place(String text) {
        Matcher matcher = GUEST.matcher(text);
        if (!matcher.matches()) {
            return Optional.empty();
        }
        String path = matcher.group(2).startsWith("/") ? matcher.group(2) : "/" + matcher.group(2);
        return Optional.of(
                new Place(remote.backend(shell).streams(matcher.group(1)).files(ROOT), path));
    }

    private void leaveOut(String what) {
        shell.warn(what);
        incomplete = true;
    }

    // --- from a guest ---

    private void copyFrom(Place from) {
        boolean content = isContent(from.path());
        GuestEntry root =
                from.files().stat(path(from.path()), follow || from.path().endsWith("/") || content);
        boolean directory = root.type() == GuestEntry.Type.DIRECTORY;
        if (from.path().endsWith("/") && !directory) {
            throw new ForkdException(Kind.FAILED, source + " is no directory");
        }
        Copy.Source files = new GuestCopy.Source(from.files(), root, this::leaveOut);
        String name = content || path(from.path()).text().equals("/")
                ? "."
                : path(from.path()).name().text();
        try (Copy.Sink sink = target.equals(STREAM)
                ? new TarCopy.Sink(shell.out(), name)
                : new LocalCopy.Sink(local(name, directory, content), archive)) {
            files.copyTo(sink);
        } catch (IOException e) {
            throw ForkdException.of("copy to " + target, e);
        }
        if (target.equals(STREAM) && shell.out().checkError()) {
            throw new Shell.OutputLost();
        }
    }

    /** Where what is called so goes. */
    private Path local(String name, boolean directory, boolean content) {
        Path path = Path.of(target);
        boolean there = Files.exists(path);
        if (there && Files.isDirectory(path)) {
            if (name.equals("..")) {
                throw new ForkdException(Kind.USAGE, source + " has no name");
            }
            return content || name.equals(".") ? real(path) : real(path).resolve(name);
        }
        if (there && directory) {
            throw new ForkdException(Kind.CONFLICT, "cannot copy the directory " + source + " to the file " + target);
        }
        if (!there && !directory && target.endsWith("/")) {
            throw new ForkdException(Kind.NOT_FOUND, "there is no directory " + target);
        }
        Path parent = Optional.ofNullable(path.toAbsolutePath().getParent()).orElse(path.toAbsolutePath());
        if (!Files.isDirectory(parent)) {
            throw new ForkdException(Kind.NOT_FOUND, "there is no directory " + parent);
        }
        return there
                ? real(path)
                : real(parent).resolve(Optional.ofNullable(path.getFileName()).orElse(path));
    }

    private static Path real(Path path) {
        try {
            return path.toRealPath();
        } catch (IOException e) {
            throw ForkdException.of("find " + path, e);
        }
    }

    // --- to a guest ---

    private void copyTo(Place to) {
        Optional<GuestEntry> there = stat(to);
        boolean intoDirectory = there.isPresent() && there.get().type() == GuestEntry.Type.DIRECTORY;
        if (source.equals(STREAM)) {
            if (!intoDirectory) {
                throw new ForkdException(
                        Kind.NOT_FOUND, "there is no directory " + target + ", and an archive needs one");
            }
            copy(new TarCopy.Source(System.in, this::leaveOut), to, path(to.path()));
            return;
        }
        Path from = Path.of(source);
        boolean content = isContent(source);
        if (!Files.exists(from, LinkOption.NOFOLLOW_LINKS)) {
            throw new ForkdException(Kind.NOT_FOUND, "there is no " + source);
        }
        Path root = follow || content || source.endsWith("/") ? real(from) : from;
        boolean directory = Files.isDirectory(root, LinkOption.NOFOLLOW_LINKS);
        if (source.endsWith("/") && !directory) {
            throw new ForkdException(Kind.FAILED, source + " is no directory");
        }
        if (there.isPresent() && !intoDirectory && directory) {
            throw new ForkdException(Kind.CONFLICT, "cannot copy the directory " + source + " to the file " + target);
        }
        if (there.isEmpty() && !directory && to.path().endsWith("/")) {
            throw new ForkdException(Kind.NOT_FOUND, "there is no directory " + target);
        }
        if (there.isEmpty()) {
            requireParent(to);
        }
        String name = Optional.ofNullable(from.toAbsolutePath().normalize().getFileName())
                .map(Path::toString)
                .orElse("");
        GuestPath place = path(to.path());
        copy(
                new LocalCopy.Source(root, this::leaveOut),
                to,
                intoDirectory && !content && !name.isEmpty() ? place.resolve(name) : place);
    }

    private Optional<GuestEntry> stat(Place place) {
        try {
            return Optional.of(place.files().stat(path(place.path()), true));
        } catch (GuestException.Refused e) {
            if (e.code().equals("ENOENT")) {
                return Optional.empty();
            }
            throw e;
        }
    }

    private void requireParent(Place to) {
        String path = path(to.path()).text();
        String parent = path.substring(0, Math.max(1, path.lastIndexOf('/')));
        if (to.files().stat(GuestPath.of(parent), true).type() != GuestEntry.Type.DIRECTORY) {
            throw new ForkdException(Kind.NOT_FOUND, parent + " is no directory in the guest");
        }
    }

    private void copy(Copy.Source from, Place to, GuestPath root) {
        try (Copy.Sink sink = new GuestCopy.Sink(to.files(), root, archive)) {
            from.copyTo(sink);
        } catch (IOException e) {
            throw ForkdException.of("copy " + source, e);
        }
    }

    // --- paths ---

    /** Whether what is in it is meant, and not itself. */
    private static boolean isContent(String path) {
        return path.equals(".") || path.endsWith("/.");
    }

    /** Without what only says that a directory is meant. */
    private static GuestPath path(String path) {
        return GuestPath.of(isContent(path) ? path.substring(0, path.length() - 1) : path)
                .trimmed();
    }
}

package io.forkd.daemon.e2b;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestException.Lost;
import io.forkd.agent.GuestException.Refused;
import io.forkd.agent.GuestPath;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.GuestProcess.Exit;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.ProcessName;
import io.forkd.agent.RunRequest;
import io.forkd.daemon.Guests;
import io.forkd.daemon.e2b.BuildLog.Level;
import io.forkd.engine.BuildRequest;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import tools.jackson.databind.JsonNode;

/** The steps of a build, in a guest: everything that a client says is done there, and nothing of it on this host. */
final class BuildSteps implements BuildRequest.Preparation {

    /** What a template's service is called, so that a template that is made of it can end it. */
    private static final String SERVICE = "e2b-start";

    private static final int SIGKILL = 9;

    private static final Duration READY = Duration.ofMinutes(10);
    private static final Duration BETWEEN = Duration.ofMillis(500);

    /** How long a service is waited for of which nobody has said when it is ready. */
    private static final Duration SETTLE = Duration.ofSeconds(20);

    private static final int MOST_TAIL = 1024;
    private static final int MOST_VALUE = 32 << 10;

    /** Of a path, where patterns begin: clients have looked for what they fit. */
    private static final Pattern PATTERN = Pattern.compile("[*?\\[{]");

    private static final Pattern VARIABLE =
            Pattern.compile("\\\\\\$|\\$([A-Za-z_][A-Za-z0-9_]*)|\\$\\{([A-Za-z_][A-Za-z0-9_]*)}");
    private static final Pattern USER = Pattern.compile("[A-Za-z_][A-Za-z0-9_.-]{0,31}");
    private static final Pattern NAME = Pattern.compile("[A-Za-z_][A-Za-z0-9_]*");

    /** Makes the user {@code $1}, with the shell {@code $2}. */
    private static final String ADD_USER = """
            set -e
            if command -v useradd >/dev/null; then useradd --create-home --user-group --shell "$2" -- "$1"
            elif command -v adduser >/dev/null; then adduser -D -s "$2" -- "$1"
            else
                id=1000
                while grep -q "^[^:]*:[^:]*:$id:" /etc/passwd /etc/group; do id=$((id + 1)); done
                echo "$1:x:$id:" >>/etc/group
                echo "$1:*:$id:$id::/home/$1:$2" >>/etc/passwd
                mkdir -p "/home/$1"
                if [ -d /etc/skel ]; then cp -a /etc/skel/. "/home/$1"; fi
                chown -R "$id:$id" "/home/$1"
            fi""";

    /** Lets it do whatever root may, as soon as there is sudo. */
    private static final String ADD_SUDO = """
            mkdir -p /etc/sudoers.d && (umask 227 && echo "$1 ALL=(ALL:ALL) NOPASSWD: ALL" >/etc/sudoers.d/e2b)""";

    /**
     * Takes an archive apart that it is sent, beside its place, and gives what is {@code $1} in it the place {@code $2}: what
     * is in a directory is put into the one that is there. Its owner is {@code $3}, its mode {@code $4}.
     */
    private static final String COPY = """
            set -e
            from=$1 to=$2 owner=$3 mode=$4
            if [ -d /var/tmp ]; then all=/var/tmp/e2b-copy-$$; else all=/tmp/e2b-copy-$$; fi
            mkdir "$all"
            tar -x${5}f - -C "$all"
            what=$all/$from
            if ! [ -e "$what" ] && ! [ -L "$what" ]; then echo "the archive has no $from" >&2; exit 1; fi
            chown -Rh "$owner" "$what"
            if [ "$mode" ] && ! [ -L "$what" ]; then chmod -R "$mode" "$what"; fi
            if [ -d "$what" ] && ! [ -L "$what" ]; then
                mkdir -p "$to"
                keep='--no-overwrite-dir --keep-directory-symlink' # of what is there, whose it is; GNU tar alone can
                tar $keep -cf /dev/null -T /dev/null >/dev/null 2>&1 || keep=
                tar -cf - -C "$what" . | tar $keep -xf - -C "$to"
            else
                case $to in */) mkdir -p "$to";; *) mkdir -p "$(dirname "$to")";; esac
                cp -a "$what" "$to"
            fi
            rm -rf "$all"
            """;

    private final Build build;
    private final BuildOrder order;
    private final Uploads uploads;

    /** What is so far so. */
    private Defaults now;

    /** For commands; empty when the image has none. */
    private Optional<String> shell = Optional.empty();

    /** @param defaults of what it is built from */
    BuildSteps(Build build, BuildOrder order, Uploads uploads, Defaults defaults) {
        this.build = build;
        this.order = order;
        this.uploads = uploads;
        this.now = defaults;
    }

    @Override
    public Map<String, JsonNode> prepare(GuestStreams guest) {
        try {
            begin(guest);
            int number = 0;
            for (Step step : order.steps()) {
                build.at(Integer.toString(++number));
                build.tell(
                        Level.INFO, "[builder " + number + "/" + order.steps().size() + "] " + step.text());
                take(guest, step);
            }
            build.at(Build.FINALIZE);
            finish(guest);
        } catch (ConnectFailure e) {
            throw new ForkdException(Kind.FAILED, e.text());
        }
        return new Note(build.plan().template(), build.id(), now, Optional.empty()).fields();
    }

    private static ForkdException failed(String sentence) {
        return new ForkdException(Kind.FAILED, sentence);
    }

    // --- before and after ---

    private void begin(GuestStreams guest) {
        shell = List.of("/bin/bash", "/bin/sh").stream()
                .filter(path -> isThere(guest, path))
                .findFirst();
        if (order.image().isPresent() && !isThere(guest, now.user())) {
            if (shell.isEmpty()) {
                build.tell(Level.WARN, "The image has no shell: no user '" + now.user() + "' is made");
            } else {
                addUser(guest, now.user());
            }
        }
        if (order.image().isPresent() && shell.isPresent()) {
            script(guest, ADD_SUDO, List.of(now.user()), Optional.empty());
        }
        if (order.start().isPresent() || order.ready().isPresent()) {
            endService(guest);
        }
    }

    private static boolean isThere(GuestStreams guest, String pathOrUser) {
        try {
            if (pathOrUser.startsWith("/")) {
                guest.files("0").stat(GuestPath.of(pathOrUser), true);
            } else {
                Account.find(guest, pathOrUser);
            }
            return true;
        } catch (Refused | ConnectFailure e) {
            return false;
        }
    }

    /** That of the template that it is built from, which runs in this guest. */
    private static void endService(GuestStreams guest) {
        try (GuestProcess service = guest.attach(new ProcessName.Tag(SERVICE), Optional.empty())) {
            guest.signal(service.name(), SIGKILL, true);
            service.await(new Output(Level.DEBUG, "", Optional.empty()));
        } catch (Refused e) {
            // There is none, or it has ended by itself.
        }
    }

    private void finish(GuestStreams guest) {
        if (order.start().isEmpty() && order.ready().isEmpty()) {
            return;
        }
        if (order.start().isEmpty()) {
            awaitReady(guest, new CompletableFuture<>());
            return;
        }
        String command = order.start().get();
        build.tell(Level.INFO, "Running start command: " + command);
        CompletableFuture<Exit> ended = new CompletableFuture<>();
        RunRequest request = command(account(guest), command, Optional.of(SERVICE));
        try (GuestProcess service = started(guest, request, "start command failed")) {
            Guests.inThread("forkd-e2b-start", () -> {
                Output output = new Output(Level.INFO, "start", Optional.of(build));
                Exit exit = service.await(output);
                output.end();
                ended.complete(exit);
            });
            awaitReady(guest, ended);
        }
    }

    private void awaitReady(GuestStreams guest, CompletableFuture<Exit> service) {
        long start = System.nanoTime();
        long limit = (order.ready().isPresent() ? READY : SETTLE).toNanos();
        order.ready().ifPresent(command -> build.tell(Level.INFO, "Waiting for template to be ready: " + command));
        while (true) {
            if (service.isDone() && service.join().code() != 0) {
                throw failed("start command failed: " + ProcessService.status(service.join()));
            }
            Duration left = Duration.ofNanos(limit - (System.nanoTime() - start));
            if (left.isNegative() || left.isZero()) {
                if (order.ready().isPresent()) {
                    throw failed("ready command failed: it has not ended with 0 within " + READY.toSeconds() + " s");
                }
                break;
            }
            if (order.ready().isPresent()) {
                RunRequest request = command(account(guest), order.ready().get(), Optional.empty())
                        .withTimeout(left);
                Output output = new Output(Level.DEBUG, "ready", Optional.of(build));
                if (run(guest, request, output, Optional.empty(), "ready command failed")
                                .code()
                        == 0) {
                    break;
                }
            }
            pause();
        }
        build.tell(Level.INFO, "Template is ready");
    }

    private static void pause() {
        try {
            Thread.sleep(BETWEEN.toMillis());
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw failed("interrupted");
        }
    }

    // --- steps ---

    private void take(GuestStreams guest, Step step) {
        switch (step.type()) {
            case "RUN" -> run(guest, step);
            case "COPY" -> copy(guest, step);
            case "ENV" -> {
                Map<String, String> more = new LinkedHashMap<>();
                for (int i = 0; i < step.args().size(); i += 2) {
                    if (!NAME.matcher(step.arg(i)).matches()) {
                        throw failed("'" + step.arg(i) + "' is no name of a variable");
                    }
                    more.put(step.arg(i), expanded(guest, step.arg(i + 1)));
                    requireLength(Defaults.length(more));
                }
                now = now.with(more);
                requireLength(Defaults.length(now.environment()));
            }
            case "WORKDIR" -> {
                Account owner = account(guest);
                GuestPath path = owner.path(now.directory().orElse("/"), expanded(guest, step.arg(0)));
                guest.files("0")
                        .makeDirectory(path, FileOptions.DEFAULT.withParents().withOwner(owner.uid(), owner.gid()));
                now = now.in(path.text());
            }
            case "USER" -> {
                String user = expanded(guest, step.arg(0));
                if (!isThere(guest, user)) {
                    addUser(guest, user);
                }
                now = now.as(user);
            }
            default -> throw new AssertionError(step);
        }
    }

    private void run(GuestStreams guest, Step step) {
        String user = step.arg(1);
        Account account = user.isEmpty() ? account(guest) : Account.find(guest, user);
        String what = "failed to run command '" + step.arg(0) + "'";
        Output output = new Output(Level.INFO, "builder " + build.step(), Optional.of(build));
        Exit exit = run(guest, command(account, step.arg(0), Optional.empty()), output, Optional.empty(), what);
        require(exit, output, what);
    }

    private void copy(GuestStreams guest, Step step) {
        String from = source(step.arg(0));
        Account account = account(guest);
        String owner = step.arg(2).isEmpty() ? account.name() : step.arg(2);
        String base = now.directory().orElse(account.home());
        String to = account.path(base, step.arg(1)).text() + (step.arg(1).endsWith("/") ? "/" : "");
        String what = "failed to copy '" + step.arg(0) + "' to '" + step.arg(1) + "'";
        try (Uploads.Archive archive = uploads.open(
                        build.plan().owner(), step.files().orElseThrow())
                .orElseThrow(() -> failed(what + ": its files were not sent; build it again"))) {
            List<String> args = List.of(
                    from, to, owner.contains(":") ? owner : owner + ":", step.arg(3), archive.compressed() ? "z" : "");
            script(guest, COPY, args, Optional.of(archive));
        } catch (IOException e) {
            throw failed(what + ": " + ForkdException.reason(e));
        } catch (ScriptFailed e) {
            throw failed(what + ": " + e.getMessage());
        }
    }

    /** What a path means in an archive, as far as it is no pattern. */
    static String source(String given) {
        List<String> names = new ArrayList<>();
        for (String name : given.split("/", -1)) {
            if (PATTERN.matcher(name).find()) {
                break;
            }
            if (name.equals("..")) {
                if (names.isEmpty()) {
                    throw failed("'" + given + "' is outside of what was sent");
                }
                names.remove(names.size() - 1);
            } else if (!name.isEmpty() && !name.equals(".")) {
                names.add(name);
            }
        }
        return names.isEmpty() ? "." : String.join("/", names);
    }

    private void addUser(GuestStreams guest, String user) {
        if (!USER.matcher(user).matches()) {
            throw failed("'" + user + "' is no name of a user");
        }
        try {
            script(guest, ADD_USER, List.of(user, shell.orElse("/bin/sh")), Optional.empty());
        } catch (ScriptFailed e) {
            throw failed("failed to create user '" + user + "': " + e.getMessage());
        }
    }

    /** With the values of variables, as the guest's programs have them; {@code \$} is a dollar sign. */
    private String expanded(GuestStreams guest, String text) {
        Matcher variable = VARIABLE.matcher(text);
        StringBuilder out = new StringBuilder();
        while (variable.find()) {
            String name = variable.group(1) == null ? variable.group(2) : variable.group(1);
            variable.appendReplacement(out, Matcher.quoteReplacement(name == null ? "$" : value(guest, name)));
            requireLength(out.length());
        }
        return variable.appendTail(out).toString();
    }

    /** Values may name values. */
    private static void requireLength(long characters) {
        if (characters > Defaults.MOST_VARIABLES) {
            throw failed(
                    "with the values of its variables it is longer than " + Defaults.MOST_VARIABLES + " characters");
        }
    }

    private String value(GuestStreams guest, String name) {
        String known = now.environment().get(name);
        if (known != null) {
            return known;
        }
        if (shell.isEmpty()) {
            return "";
        }
        Value value = new Value();
        RunRequest request = new RunRequest(
                List.of(shell.get(), "-c", "printf %s \"${" + name + "-}\""),
                account(guest).environment(),
                Optional.of("/"),
                Optional.of(Account.ROOT_ID),
                false,
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                false);
        String what = "cannot look at the variable " + name;
        try (GuestProcess process = started(guest, request, what)) {
            Exit exit = process.await(value);
            if (exit.code() != 0) {
                throw failed(what + ": " + ProcessService.status(exit));
            }
        }
        return value.text();
    }

    // --- programs ---

    private Account account(GuestStreams guest) {
        return now.user().equals(Defaults.NONE.user())
                ? Account.usual(guest, now.user())
                : Account.find(guest, now.user());
    }

    /** As a user's command is run. */
    private RunRequest command(Account account, String command, Optional<String> tag) {
        Map<String, String> environment = account.environment();
        environment.putAll(now.environment());
        return new RunRequest(
                List.of(requireShell(), "-l", "-c", command),
                environment,
                Optional.of(now.directory().orElse(account.home())),
                Optional.of(account.user()),
                false,
                Optional.empty(),
                Optional.empty(),
                tag,
                tag.isPresent());
    }

    private String requireShell() {
        return shell.orElseThrow(
                () -> failed("the image has neither /bin/bash nor /bin/sh, by which commands are run"));
    }

    /** What a script of ours says went wrong. */
    private static final class ScriptFailed extends ForkdException {
        private static final long serialVersionUID = 1;

        private ScriptFailed(String sentence) {
            super(Kind.FAILED, sentence);
        }
    }

    /** Runs one of ours as root. */
    private void script(GuestStreams guest, String script, List<String> args, Optional<Uploads.Archive> input) {
        List<String> words = new ArrayList<>(List.of(requireShell(), "-c", script, "e2b"));
        words.addAll(args);
        RunRequest request = new RunRequest(
                words,
                Map.of("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                Optional.of("/"),
                Optional.of(Account.ROOT_ID),
                input.isPresent(),
                Optional.empty(),
                Optional.empty(),
                Optional.empty(),
                false);
        Output output = new Output(Level.DEBUG, "builder " + build.step(), Optional.of(build));
        Exit exit = run(guest, request, output, input, "failed");
        if (exit.code() != 0) {
            throw new ScriptFailed(output.tail().isBlank() ? ProcessService.status(exit) : output.tail());
        }
    }

    private static void require(Exit exit, Output output, String what) {
        if (exit.code() != 0) {
            String tail = output.tail().strip();
            throw failed(what + ": " + ProcessService.status(exit) + (tail.isEmpty() ? "" : ": " + tail));
        }
    }

    private static GuestProcess started(GuestStreams guest, RunRequest request, String what) {
        try {
            return guest.run(request);
        } catch (Refused e) {
            throw failed(what + ": " + e.sentence());
        }
    }

    private static Exit run(
            GuestStreams guest, RunRequest request, Output output, Optional<Uploads.Archive> input, String what) {
        try (GuestProcess process = started(guest, request, what)) {
            // It writes while it reads.
            input.ifPresent(archive -> Guests.inThread("forkd-e2b-copy", () -> {
                try {
                    process.feed(archive.bytes());
                } catch (IOException e) {
                    process.close();
                }
            }));
            Exit exit = process.await(output);
            output.end();
            return exit;
        } catch (Lost e) {
            throw failed(what + ": " + e.sentence());
        }
    }

    /** What a program writes, line by line. */
    private static final class Output implements GuestProcess.Output {
        private final Level level;
        private final String who;
        private final Optional<Build> build;
        private final Line stdout = new Line("stdout");
        private final Line stderr = new Line("stderr");
        private final Tail tail = new Tail();

        private Output(Level level, String who, Optional<Build> build) {
            this.level = level;
            this.who = who;
            this.build = build;
        }

        @Override
        public void stdout(ByteBuffer bytes) {
            stdout.take(bytes);
        }

        @Override
        public void stderr(ByteBuffer bytes) {
            stderr.take(bytes);
        }

        void end() {
            stdout.tell();
            stderr.tell();
        }

        /** The last that it wrote. */
        String tail() {
            return tail.text();
        }

        private final class Line {
            private final String name;
            private final byte[] bytes = new byte[BuildLog.MOST_CHARACTERS];
            private int length;

            private Line(String name) {
                this.name = name;
            }

            private void take(ByteBuffer more) {
                while (more.hasRemaining()) {
                    byte next = more.get();
                    tail.add(next);
                    if (next == '\n' || length == bytes.length) {
                        tell();
                    }
                    if (next != '\n') {
                        bytes[length++] = next;
                    }
                }
            }

            private void tell() {
                String text = new String(bytes, 0, length, StandardCharsets.UTF_8).strip();
                length = 0;
                if (!text.isEmpty()) {
                    build.ifPresent(of -> of.tell(level, "[" + who + "] [" + name + "]: " + text));
                }
            }
        }
    }

    /** The beginning of what a program writes. */
    private static final class Value implements GuestProcess.Output {
        private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

        @Override
        public void stdout(ByteBuffer more) {
            byte[] some = new byte[Math.min(more.remaining(), MOST_VALUE - bytes.size())];
            more.get(some);
            bytes.writeBytes(some);
        }

        @Override
        public void stderr(ByteBuffer more) {}

        private String text() {
            return bytes.toString(StandardCharsets.UTF_8);
        }
    }

    /** The end of what comes. */
    private static final class Tail {
        private final byte[] ring = new byte[MOST_TAIL];
        private long count;

        private void add(byte next) {
            ring[(int) (count++ % MOST_TAIL)] = next;
        }

        private String text() {
            int length = (int) Math.min(count, MOST_TAIL);
            byte[] bytes = new byte[length];
            for (int i = 0; i < length; i++) {
                bytes[i] = ring[(int) ((count - length + i) % MOST_TAIL)];
            }
            return new String(bytes, StandardCharsets.UTF_8);
        }
    }
}

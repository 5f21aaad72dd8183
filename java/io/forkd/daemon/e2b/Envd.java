package io.forkd.daemon.e2b;

import io.forkd.daemon.Guests;
import io.forkd.http.HttpCall;
import io.forkd.http.Response;
import io.forkd.sandbox.Found.Known;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;

/**
 * What E2B's clients ask in a sandbox: the daemon that its images run at port 49983, which here is none of the guest's.
 * Programs and files are those of the guest's streams, which have no network.
 */
final class Envd {
    /** Called by its path alone, with a client that was let in. */
    private interface Method {
        Response answer(EnvdCall call);
    }

    static final String FILES = "/files";

    private final Guests guests;
    private final FilesRoute files;
    private final Map<String, Method> methods = new HashMap<>();

    Envd(Guests guests, Bodies bodies) {
        this.guests = guests;
        Connect connect = new Connect(bodies);
        files = new FilesRoute(bodies);
        ProcessService processes = new ProcessService();
        FilesystemService filesystem = new FilesystemService();
        WatchService watchers = new WatchService();

        String process = "/process.Process/";
        stream(connect, process + "Start", call -> message -> processes.start(call, message));
        stream(connect, process + "Connect", call -> message -> processes.connect(call, message));
        unary(connect, process + "List", call -> message -> processes.list(call));
        unary(connect, process + "SendInput", call -> message -> processes.sendInput(call, message));
        unary(connect, process + "SendSignal", call -> message -> processes.sendSignal(call, message));
        unary(connect, process + "CloseStdin", call -> message -> processes.closeStdin(call, message));
        unary(connect, process + "Update", call -> message -> processes.update(call, message));
        methods.put(
                process + "StreamInput",
                call -> connect.clientStream(call.http(), body -> processes.streamInput(call, body)));

        String tree = "/filesystem.Filesystem/";
        unary(connect, tree + "Stat", call -> message -> filesystem.stat(call, message));
        unary(connect, tree + "MakeDir", call -> message -> filesystem.makeDir(call, message));
        unary(connect, tree + "Move", call -> message -> filesystem.move(call, message));
        unary(connect, tree + "ListDir", call -> message -> filesystem.listDir(call, message));
        unary(connect, tree + "Remove", call -> message -> filesystem.remove(call, message));
        stream(connect, tree + "WatchDir", call -> message -> watchers.watchDir(call, message));
        unary(connect, tree + "CreateWatcher", call -> message -> watchers.create(call, message));
        unary(connect, tree + "GetWatcherEvents", call -> message -> watchers.events(call, message));
        unary(connect, tree + "RemoveWatcher", call -> message -> watchers.remove(call, message));
    }

    private void unary(
            Connect connect,
            String path,
            Function<EnvdCall, Function<Fields, tools.jackson.databind.node.ObjectNode>> method) {
        methods.put(path, call -> connect.unary(call.http(), method.apply(call)));
    }

    private void stream(Connect connect, String path, Function<EnvdCall, Function<Fields, Connect.Told>> method) {
        methods.put(path, call -> connect.stream(call.http(), call, method.apply(call)));
    }

    /** Whether a URL of a file is signed with that token, for what is asked. */
    static boolean isSigned(HttpCall http, String token) {
        return http.path().equals(FILES) && Signature.isGood(http, operation(http), token);
    }

    private static String operation(HttpCall http) {
        return reads(http) ? "read" : "write";
    }

    private static boolean reads(HttpCall http) {
        return http.method().equals("GET") || http.method().equals("HEAD");
    }

    /** Whether a path is one of this interface. */
    static boolean isIts(String path) {
        return path.startsWith("/process.")
                || path.startsWith("/filesystem.")
                || path.equals(FILES)
                || path.equals("/health");
    }

    /** Whatever is asked; what goes wrong is answered, too. */
    Response answer(HttpCall http, Known sandbox, Profile profile) {
        String path = http.path();
        if (path.equals("/health")) {
            return reads(http) ? Response.empty(204) : FilesRoute.refusedMethod(http.method());
        }
        if (path.equals(FILES)) {
            return FilesRoute.answered(() -> {
                boolean signed = requireToken(http, profile, Optional.of(operation(http)));
                // A signature is good for the user that it names, and for no other.
                Optional<String> user = http.query("username")
                        .filter(name -> !name.isEmpty())
                        .or(() -> signed ? Optional.empty() : user(http));
                return files.answer(new EnvdCall(guests, http, sandbox, profile, user));
            });
        }
        Method method = methods.get(path);
        return Connect.answered(() -> {
            requireToken(http, profile, Optional.empty());
            if (method == null) {
                throw new ConnectFailure(Code.NOT_FOUND, "there is no " + path + " here");
            }
            if (!http.method().equals("POST")) {
                return FilesRoute.refusedMethod(http.method());
            }
            return method.answer(new EnvdCall(guests, http, sandbox, profile, user(http)));
        });
    }

    /**
     * Lets in who has the token, or a signature for it.
     *
     * @param operation what a signature is for, where it is enough
     * @return whether it was a signature
     */
    private static boolean requireToken(HttpCall http, Profile profile, Optional<String> operation) {
        if (profile.token().isEmpty()) {
            return false;
        }
        String token = profile.token().get();
        Optional<String> given = http.header("X-Access-Token");
        if (given.isPresent()) {
            if (Signature.same(given.get(), token)) {
                return false;
            }
        } else if (operation.filter(name -> Signature.isGood(http, name, token)).isPresent()) {
            return true;
        }
        throw new ConnectFailure(
                Code.UNAUTHENTICATED,
                given.isPresent()
                        ? "the access token is not this sandbox's"
                        : "the access token is missing"
                                + (operation.isPresent() ? ", and the URL has no signature that is good" : ""));
    }

    /** Who is meant by Basic authentication, which has no password here; empty when it is not said. */
    private static Optional<String> user(HttpCall http) {
        String scheme = "basic ";
        return http.header("Authorization")
                .filter(value -> value.toLowerCase(Locale.ROOT).startsWith(scheme))
                .map(value -> {
                    try {
                        byte[] decoded = Base64.getDecoder()
                                .decode(value.substring(scheme.length()).strip());
                        return new String(decoded, StandardCharsets.UTF_8).split(":", 2)[0];
                    } catch (IllegalArgumentException e) {
                        throw new ConnectFailure(Code.UNAUTHENTICATED, "the user is not given in base64");
                    }
                })
                .filter(name -> !name.isEmpty());
    }
}

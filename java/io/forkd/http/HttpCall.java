package io.forkd.http;

import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** One request, as its handler sees it. */
public final class HttpCall {
    private final String method;
    private final String path;
    private final Map<String, String> parameters;
    private final String query;
    private final Caller caller;
    private final String remote;
    private final boolean secure;
    private final List<Header> headers;
    private final byte[] body;
    private final InputStream input;

    private final Object lock = new Object();
    private boolean cancelled;
    private boolean ended;
    private List<Runnable> hooks = new ArrayList<>();

    private volatile Optional<String> account;

    HttpCall(
            String method,
            String path,
            Map<String, String> parameters,
            String query,
            Caller caller,
            String remote,
            boolean secure,
            List<Header> headers,
            byte[] body,
            InputStream input) {
        this.method = method;
        this.path = path;
        this.parameters = parameters;
        this.query = query;
        this.caller = caller;
        this.remote = remote;
        this.secure = secure;
        this.headers = headers;
        this.body = body;
        this.input = input;
        this.account = caller.owner();
    }

    public String method() {
        return method;
    }

    /** As it was sent, still encoded. */
    public String path() {
        return path;
    }

    /** The decoded segment that the route's template names {@code :name}. */
    public String parameter(String name) {
        String value = parameters.get(name);
        if (value == null) {
            throw new IllegalArgumentException("the route has no parameter " + name);
        }
        return value;
    }

    public Caller caller() {
        return caller;
    }

    /** The user on whose account it is: who has made it, or whom its handler has said; empty when it is no user's. */
    public Optional<String> account() {
        return account;
    }

    /** For a handler that serves whoever has a secret of a thing: whose that is. */
    public void setAccount(Optional<String> user) {
        account = user;
    }

    /** The address and port of the client, or {@code unix}. */
    public String remote() {
        return remote;
    }

    /** Whether it came by TLS. */
    public boolean isSecure() {
        return secure;
    }

    /** All of them, in the order in which they came. */
    public List<Header> headers() {
        return headers;
    }

    /** Of a name, the first one's value. */
    public Optional<String> header(String name) {
        return headers.stream()
                .filter(header -> header.name().equalsIgnoreCase(name))
                .map(Header::value)
                .findFirst();
    }

    /** As it was sent, still encoded; empty when there is none. */
    public String query() {
        return query;
    }

    /**
     * The body of a route that reads it as it comes: all of it or none. It waits for the client, and so is for a {@linkplain
     * Response#later thread of one's own}. It fails when the client is gone.
     */
    public InputStream input() {
        return input;
    }

    /**
     * The body of a route that takes one.
     *
     * @throws HttpFailure 400 when it is no JSON in UTF-8, 422 when it is no object
     */
    public Body body() {
        return Body.parse(body);
    }

    /** The same where nothing has to be sent; empty when nothing was. */
    public Optional<Body> optionalBody() {
        return body.length == 0 ? Optional.empty() : Optional.of(body());
    }

    /**
     * The decoded value that the URL's query gives for a name.
     *
     * @throws HttpFailure 400 when it is given twice, or wrongly encoded
     */
    public Optional<String> query(String name) {
        List<String> values = queries(name);
        if (values.size() > 1) {
            throw new HttpFailure(400, name + " is given twice in the URL");
        }
        return values.stream().findFirst();
    }

    /**
     * All that the URL's query gives for a name, decoded, in their order.
     *
     * @throws HttpFailure 400 when one is wrongly encoded
     */
    public List<String> queries(String name) {
        List<String> values = new ArrayList<>();
        for (String pair : query.split("&", -1)) {
            int equals = pair.indexOf('=');
            String key = equals < 0 ? pair : pair.substring(0, equals);
            if (PercentCoding.decode(key.replace('+', ' ')).equals(name)) {
                values.add(PercentCoding.decode(
                        equals < 0 ? "" : pair.substring(equals + 1).replace('+', ' ')));
            }
        }
        return values;
    }

    /**
     * False when it is absent.
     *
     * @throws HttpFailure 400 when it is neither {@code true} nor {@code false}
     */
    public boolean queryFlag(String name) {
        String value = query(name).orElse("false");
        if (!value.equals("true") && !value.equals("false")) {
            throw new HttpFailure(400, name + " in the URL must be true or false");
        }
        return value.equals("true");
    }

    /**
     * A whole number that the URL's query gives for a name.
     *
     * @throws HttpFailure 400 when it is none within the bounds, both included
     */
    public OptionalLong queryNumber(String name, long least, long most) {
        Optional<String> text = query(name);
        if (text.isEmpty()) {
            return OptionalLong.empty();
        }
        try {
            long value = Long.parseLong(text.get());
            if (value >= least && value <= most) {
                return OptionalLong.of(value);
            }
        } catch (NumberFormatException e) {
            // As any other that is wrong.
        }
        throw new HttpFailure(400, name + " in the URL must be a whole number from " + least + " to " + most);
    }

    /**
     * Has {@code hook} run when nobody waits for the answer any more: the client has gone away,
     * or closed its side, or the server stops. At
     * once, when that is so already; at most once; on a thread that must not be held up. Not after the answer, but
     * perhaps when the handler is about to give one.
     */
    public void onCancel(Runnable hook) {
        synchronized (lock) {
            if (!cancelled) {
                hooks.add(hook);
                return;
            }
        }
        hook.run();
    }

    public boolean isCancelled() {
        synchronized (lock) {
            return cancelled;
        }
    }

    void end() {
        synchronized (lock) {
            ended = true;
        }
    }

    void cancel() {
        List<Runnable> run;
        synchronized (lock) {
            if (ended) {
                return;
            }
            cancelled = true;
            run = hooks;
            hooks = new ArrayList<>();
        }
        for (Runnable hook : run) {
            try {
                hook.run();
            } catch (RuntimeException e) {
                Diagnostics.log().error("a call could not be cancelled", e);
            }
        }
    }
}

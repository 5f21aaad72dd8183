package io.forkd.image;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.math.BigInteger;
import java.net.Authenticator;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.Proxy;
import java.net.URI;
import java.net.URLDecoder;
import java.net.UnknownHostException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** Which proxy a request goes through, by the usual variables: {@code HTTPS_PROXY}, {@code HTTP_PROXY}, {@code NO_PROXY}. */
final class Proxies {
    private static final int DEFAULT_PORT = 80;
    private static final Pattern ADDRESS =
            Pattern.compile("[0-9]{1,3}(\\.[0-9]{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*");
    private static final Pattern NETWORK = Pattern.compile("(.+)/([0-9]{1,3})");
    private static final Pattern WITH_PORT = Pattern.compile("([^:]+|\\[.+]):([0-9]{1,5})");

    static {
        // Java sends no password to a proxy that TLS is to go through, unless told that it may.
        System.setProperty("jdk.http.auth.tunneling.disabledSchemes", "");
    }

    private final Map<String, String> environment;

    Proxies(Map<String, String> environment) {
        this.environment = environment;
    }

    /** Whether TLS to that host goes through one. */
    boolean isFor(String host, int port) {
        URI uri = URI.create(
                "https://" + (host.contains(":") && !host.startsWith("[") ? "[" + host + "]" : host) + ":" + port);
        return !given(uri).isEmpty() && !isExcepted(uri);
    }

    private static String variable(URI uri) {
        return uri.getScheme() + "_proxy";
    }

    private String given(URI uri) {
        String name = variable(uri);
        return environment.getOrDefault(name, environment.getOrDefault(name.toUpperCase(Locale.ROOT), ""));
    }

    HttpURLConnection open(URI uri) throws IOException {
        String given = given(uri);
        if (given.isEmpty() || isExcepted(uri)) {
            return (HttpURLConnection) uri.toURL().openConnection(Proxy.NO_PROXY);
        }
        URI proxy = parse(variable(uri), given);
        InetSocketAddress address = InetSocketAddress.createUnresolved(
                proxy.getHost(), proxy.getPort() < 0 ? DEFAULT_PORT : proxy.getPort());
        HttpURLConnection connection =
                (HttpURLConnection) uri.toURL().openConnection(new Proxy(Proxy.Type.HTTP, address));
        Optional.ofNullable(proxy.getRawUserInfo()).ifPresent(login -> connection.setAuthenticator(new Login(login)));
        return connection;
    }

    private static URI parse(String variable, String given) {
        try {
            URI proxy = URI.create(given.contains("://") ? given : "http://" + given);
            if (proxy.getHost() != null && proxy.getScheme().equalsIgnoreCase("http")) {
                return proxy;
            }
            if (proxy.getHost() != null) {
                throw new ForkdException(
                        Kind.USAGE,
                        variable + " names a proxy that speaks " + proxy.getScheme()
                                + ", and forkd speaks only HTTP to one",
                        "Name one that speaks HTTP, which TLS goes through as well: " + variable + "=http://HOST:PORT");
            }
        } catch (IllegalArgumentException e) {
            // Said below, without what may be a password.
        }
        throw new ForkdException(
                Kind.USAGE, variable + " names no proxy", "It is http://HOST:PORT or http://USER:PASSWORD@HOST:PORT.");
    }

    private boolean isExcepted(URI uri) {
        String excepted = environment.getOrDefault("no_proxy", environment.getOrDefault("NO_PROXY", ""));
        String host = bare(Optional.ofNullable(uri.getHost()).orElse(""));
        int port = uri.getPort() >= 0 ? uri.getPort() : uri.getScheme().equals("https") ? 443 : 80;
        return Arrays.stream(excepted.split(",")).map(String::strip).anyMatch(one -> matches(one, host, port));
    }

    /** A domain, with or without a port; an address, or a network of them: only addresses are looked for in those. */
    private static boolean matches(String exception, String host, int port) {
        Matcher network = NETWORK.matcher(exception);
        if (network.matches()) {
            return contains(network.group(1), Integer.parseInt(network.group(2)), host);
        }
        Matcher withPort = WITH_PORT.matcher(exception);
        if (withPort.matches()) {
            return Integer.parseInt(withPort.group(2)) == port && matches(withPort.group(1), host, port);
        }
        String end = bare(exception).replaceFirst("^\\.", "");
        return end.equals("*") || (!end.isEmpty() && (host.equals(end) || host.endsWith("." + end)));
    }

    private static boolean contains(String network, int bits, String host) {
        if (!ADDRESS.matcher(network).matches() || !ADDRESS.matcher(host).matches()) {
            return false;
        }
        try {
            byte[] one = InetAddress.getByName(network).getAddress();
            byte[] other = InetAddress.getByName(host).getAddress();
            int rest = 8 * one.length - bits;
            return one.length == other.length
                    && rest >= 0
                    && new BigInteger(1, one).shiftRight(rest).equals(new BigInteger(1, other).shiftRight(rest));
        } catch (UnknownHostException e) {
            return false;
        }
    }

    private static String bare(String host) {
        return host.startsWith("[") && host.endsWith("]") ? host.substring(1, host.length() - 1) : host;
    }

    /** Gives a proxy the user and password of its URL, once: one that does not take them would be asked again and again. */
    private static final class Login extends Authenticator {
        private final String user;
        private final String password;
        private boolean given;

        Login(String login) {
            int colon = login.indexOf(':');
            this.user = decoded(colon < 0 ? login : login.substring(0, colon));
            this.password = decoded(colon < 0 ? "" : login.substring(colon + 1));
        }

        private static String decoded(String text) {
            return URLDecoder.decode(text.replace("+", "%2B"), StandardCharsets.UTF_8);
        }

        @Override
        protected @Nullable PasswordAuthentication getPasswordAuthentication() {
            if (given || getRequestorType() != RequestorType.PROXY) {
                return null;
            }
            given = true;
            return new PasswordAuthentication(user, password.toCharArray());
        }
    }
}

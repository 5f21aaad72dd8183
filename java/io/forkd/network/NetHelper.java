package io.forkd.network;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A running forkd-net: requests and answers in turn, for any thread. */
final class NetHelper implements AutoCloseable {
    private static final Pattern ANSWER = Pattern.compile("(ok|error ([0-9]{1,4})) ([0-9]{1,9})");
    private static final Pattern LIBRARY = Pattern.compile("(?s).*loading shared libraries: (\\S+):.*");
    private static final int MOST_SAID = 4096;
    private static final int EPERM = 1;
    private static final int EEXIST = 17;

    private final Process process;
    private final OutputStream to;
    private final InputStream from;

    private NetHelper(Process process) {
        this.process = process;
        this.to = new BufferedOutputStream(process.getOutputStream(), 1 << 16);
        this.from = new BufferedInputStream(process.getInputStream());
    }

    static NetHelper start(List<String> command) {
        try {
            return new NetHelper(new ProcessBuilder(command).start());
        } catch (IOException e) {
            throw ForkdException.of("start " + command.get(0), e);
        }
    }

    boolean isAlive() {
        return process.isAlive();
    }

    /** Returns what it printed. */
    String ask(String request) {
        return ask(request, new byte[0], false);
    }

    /** As {@link #ask(String)}, with commands of nft(8). */
    String ask(String request, String script) {
        return ask(request, script.getBytes(StandardCharsets.UTF_8), true);
    }

    private synchronized String ask(String request, byte[] script, boolean scripted) {
        String head;
        String text;
        int code;
        try {
            to.write((request + (scripted ? " " + script.length : "") + "\n").getBytes(StandardCharsets.UTF_8));
            to.write(script);
            to.flush();
            head = line();
            Matcher answer = ANSWER.matcher(head);
            if (!answer.matches()) {
                throw new IOException("it answers '" + head + "'");
            }
            code = answer.group(2) == null ? 0 : Integer.parseInt(answer.group(2));
            text = new String(from.readNBytes(Integer.parseInt(answer.group(3))), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw ended(e);
        }
        if (code != 0) {
            String more = said();
            throw failure(code, more.isEmpty() ? text : text + " (" + more + ")");
        }
        return text;
    }

    private String line() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int next = from.read(); next != '\n'; next = from.read()) {
            if (next < 0 || line.size() > 64) {
                throw new IOException("it ended");
            }
            line.write(next);
        }
        return line.toString(StandardCharsets.UTF_8);
    }

    /** What it and what it started have written to their standard error, before what they did last. */
    private String said() {
        try {
            InputStream errors = process.getErrorStream();
            return new String(errors.readNBytes(Math.min(errors.available(), MOST_SAID)), StandardCharsets.UTF_8)
                    .strip()
                    .replace('\n', ' ');
        } catch (IOException e) {
            return "";
        }
    }

    private ForkdException ended(IOException cause) {
        String text = said();
        process.destroyForcibly(); // which closes what it said
        Matcher library = LIBRARY.matcher(text);
        if (library.matches()) {
            return new ForkdException(
                    Kind.FAILED,
                    "networks of children need the library " + library.group(1) + ", which this machine does not have",
                    "apt-get install libnftables1 libmnl0, as root.");
        }
        return new ForkdException(
                Kind.FAILED, "forkd-net cannot be used: " + (text.isEmpty() ? cause.getMessage() : text));
    }

    static ForkdException notRoot(String text) {
        return new ForkdException(
                Kind.FAILED, text + ": networks of children need CAP_NET_ADMIN and CAP_SYS_ADMIN", "Do it as root.");
    }

    static ForkdException noTun(String text) {
        return new ForkdException(
                Kind.FAILED, text, "modprobe tun, as root; in a container, pass the device /dev/net/tun on.");
    }

    static ForkdException readOnly(String text) {
        return new ForkdException(
                Kind.FAILED,
                text,
                "In a unit, leave out ProtectKernelTunables=; in a container, have /proc/sys writable.");
    }

    private static ForkdException failure(int code, String text) {
        if (code == EPERM) {
            return notRoot(text);
        }
        if (text.startsWith("open /dev/net/tun")) {
            return noTun(text);
        }
        if (text.startsWith("write /proc/sys/")) {
            return readOnly(text);
        }
        return new ForkdException(code == EEXIST ? Kind.CONFLICT : Kind.FAILED, text);
    }

    @Override
    public void close() {
        try {
            to.close();
            process.waitFor();
        } catch (IOException e) {
            process.destroyForcibly();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            process.destroyForcibly();
        }
    }
}

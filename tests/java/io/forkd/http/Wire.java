package io.forkd.http;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.channels.Channels;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/** A client of bytes: it sends what it is told, and reads one answer after the other. */
final class Wire implements AutoCloseable {
    /** An answer; names of headers in lower case. */
    record Answer(int status, Map<String, String> headers, String body) {}

    private static final int PATIENCE_MILLIS = 30_000;

    private final AutoCloseable socket;
    private final InputStream in;
    private final OutputStream out;

    private Wire(AutoCloseable socket, InputStream in, OutputStream out) {
        this.socket = socket;
        this.in = in;
        this.out = out;
    }

    static Wire to(InetSocketAddress address) throws IOException {
        Socket socket = new Socket();
        socket.connect(address);
        return of(socket);
    }

    static Wire of(Socket socket) throws IOException {
        socket.setSoTimeout(PATIENCE_MILLIS);
        return new Wire(socket, socket.getInputStream(), socket.getOutputStream());
    }

    static Wire to(Path unixSocket) throws IOException {
        SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX);
        channel.connect(UnixDomainSocketAddress.of(unixSocket));
        return new Wire(channel, Channels.newInputStream(channel), Channels.newOutputStream(channel));
    }

    /** Sends the bytes of a text, with each line ended as HTTP wants it. */
    Wire send(String text) throws IOException {
        return sendRaw(text.replace("\n", "\r\n").getBytes(StandardCharsets.UTF_8));
    }

    Wire sendRaw(byte[] bytes) throws IOException {
        out.write(bytes);
        out.flush();
        return this;
    }

    /** A request without a body; the lines of more headers are each ended. */
    Answer ask(String method, String target, String headers) throws IOException {
        send(method + " " + target + " HTTP/1.1\nHost: forkd\n" + headers + "\n");
        return answer(!method.equals("HEAD"));
    }

    Answer get(String target) throws IOException {
        return ask("GET", target, "");
    }

    Answer postJson(String target, byte[] body) throws IOException {
        send("POST " + target + " HTTP/1.1\nHost: forkd\nContent-Type: application/json\nContent-Length: " + body.length
                + "\n\n");
        sendRaw(body);
        return answer();
    }

    Answer postJson(String target, String body) throws IOException {
        return postJson(target, body.getBytes(StandardCharsets.UTF_8));
    }

    Answer answer() throws IOException {
        return answer(true);
    }

    Answer answer(boolean withBody) throws IOException {
        String statusLine = line();
        int status = Integer.parseInt(statusLine.split(" ", 3)[1]);
        Map<String, String> headers = new TreeMap<>();
        for (String line = line(); !line.isEmpty(); line = line()) {
            String[] parts = line.split(":", 2);
            headers.put(parts[0].toLowerCase(Locale.ROOT), parts[1].strip());
        }
        if (status == 100) {
            return answer(withBody);
        }
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        if (withBody && headers.getOrDefault("transfer-encoding", "").equals("chunked")) {
            for (int length = Integer.parseInt(line(), 16); length > 0; length = Integer.parseInt(line(), 16)) {
                body.writeBytes(exactly(length));
                line();
            }
            line();
        } else if (withBody) {
            body.writeBytes(exactly(Integer.parseInt(headers.getOrDefault("content-length", "0"))));
        }
        return new Answer(status, headers, body.toString(StandardCharsets.UTF_8));
    }

    private byte[] exactly(int length) throws IOException {
        byte[] bytes = in.readNBytes(length);
        if (bytes.length < length) {
            throw new IOException("the connection ended after " + bytes.length + " of " + length + " bytes");
        }
        return bytes;
    }

    String line() throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int c = in.read(); c != '\n'; c = in.read()) {
            if (c < 0) {
                throw new IOException("the connection ended");
            }
            line.write(c);
        }
        return line.toString(StandardCharsets.UTF_8).stripTrailing();
    }

    /** Whether the server has ended the connection, which may take a while. */
    boolean ends() throws IOException {
        try {
            return in.read() < 0;
        } catch (SocketException e) {
            return true;
        }
    }

    @Override
    public void close() throws IOException {
        try {
            socket.close();
        } catch (IOException e) {
            throw e;
        } catch (Exception e) {
            throw new IOException(e);
        }
    }
}

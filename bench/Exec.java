// SPDX-License-Identifier: Apache-2.0

import io.forkd.agent.AgentAddress;
import io.forkd.agent.AgentClient;
import io.forkd.agent.AgentClient.Output;
import io.forkd.agent.FileOptions;
import io.forkd.agent.GuestFileReader;
import io.forkd.agent.GuestFileWriter;
import io.forkd.agent.GuestPath;
import io.forkd.agent.GuestProcess;
import io.forkd.agent.GuestStreams;
import io.forkd.agent.RunRequest;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.OptionalLong;

/** Exec SOCKET: for each line of stdin, what that takes in milliseconds, with the client in this process. */
final class Exec {
    private static final int MIB = 1 << 20;

    private static final GuestProcess.Output NOWHERE = new GuestProcess.Output() {
        @Override
        public void stdout(ByteBuffer bytes) {}

        @Override
        public void stderr(ByteBuffer bytes) {}
    };

    private Exec() {}

    public static void main(String[] arguments) throws Exception {
        GuestStreams guest = new GuestStreams(Path.of(arguments[0]));
        AgentClient agent = new AgentClient(new AgentAddress.Vsock(Path.of(arguments[0])));
        ByteArrayOutputStream nowhere = new ByteArrayOutputStream();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.split(" ");
            long start = System.nanoTime();
            switch (words[0]) {
                case "true" -> agent.exec(List.of("true"), Duration.ofSeconds(30), Output.into(nowhere, nowhere));
                case "stream" -> run(guest, RunRequest.of("true"));
                case "out" -> run(guest, RunRequest.of("write", Integer.toString(MIB)));
                case "in" -> feed(guest);
                case "up" -> up(guest, Integer.parseInt(words[1]));
                case "down" -> down(guest, Integer.parseInt(words[1]));
                default -> throw new IllegalArgumentException(line);
            }
            System.out.println(String.format(Locale.ROOT, "%.4f", (System.nanoTime() - start) / 1e6));
        }
    }

    private static void run(GuestStreams guest, RunRequest request) {
        try (GuestProcess process = guest.run(request)) {
            process.await(NOWHERE);
        }
    }

    /** What comes in goes out again: a program that only reads is none of this guest's. */
    private static void feed(GuestStreams guest) throws Exception {
        try (GuestProcess process = guest.run(RunRequest.of("cat").withStdin())) {
            Thread feeder = new Thread(() -> {
                try {
                    process.feed(new ByteArrayInputStream(new byte[MIB]));
                } catch (java.io.IOException e) {
                    throw new java.io.UncheckedIOException(e);
                }
            });
            feeder.start();
            process.await(NOWHERE);
            feeder.join();
        }
    }

    private static void up(GuestStreams guest, int mib) {
        ByteBuffer bytes = ByteBuffer.allocate(64 << 10);
        try (GuestFileWriter file = guest.files().write(GuestPath.of("/sink"), FileOptions.DEFAULT)) {
            for (int i = 0; i < mib * 16; i++) {
                file.write(bytes.clear());
            }
            file.finish();
        }
    }

    private static void down(GuestStreams guest, int mib) {
        ByteBuffer bytes = ByteBuffer.allocate(64 << 10);
        try (GuestFileReader file =
                guest.files().read(GuestPath.of("/pattern"), 0, OptionalLong.of((long) mib * MIB))) {
            while (file.read(bytes.clear()) >= 0) {
                // As fast as it comes.
            }
        }
    }
}

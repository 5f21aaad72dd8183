package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/** A port-forward that outlives this command: a process of its own, which ends with its sandbox. */
final class Forwarder {
    private Forwarder() {}

    /**
     * Starts it, and waits until it listens; returns what it says.
     *
     * @param variables that say where the sandbox is
     */
    static JsonNode start(String id, List<String> ports, Map<String, String> variables) {
        try {
            List<String> command = new ArrayList<>(List.of("setsid"));
            command.addAll(ourselves());
            command.addAll(List.of("port-forward", "--json", id));
            command.addAll(ports);
            ProcessBuilder builder = new ProcessBuilder(command)
                    .redirectInput(Path.of("/dev/null").toFile());
            builder.environment().putAll(variables);
            Process process = builder.start();
            StringBuilder said = new StringBuilder();
            BufferedReader lines = process.inputReader(StandardCharsets.UTF_8);
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                said.append(line);
                if (line.endsWith("]")) {
                    return Json.parse(said.toString().getBytes(StandardCharsets.UTF_8));
                }
            }
            throw failed(reason(new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8).strip()));
        } catch (IOException e) {
            throw failed(ForkdException.reason(e));
        }
    }

    private static ForkdException failed(String why) {
        return new ForkdException(Kind.FAILED, "its ports cannot be reached on this machine: " + why);
    }

    /** Of an error in JSON. */
    private static String reason(String error) {
        try {
            return Json.parse(error.getBytes(StandardCharsets.UTF_8))
                    .path("error")
                    .path("message")
                    .asString(error);
        } catch (JacksonException e) {
            return error;
        }
    }

    /** The command line of this process up to its verb. */
    private static List<String> ourselves() throws IOException {
        Charset encoding = Charset.forName(System.getProperty("sun.jnu.encoding", "UTF-8"));
        List<String> all =
                List.of(new String(Files.readAllBytes(Path.of("/proc/self/cmdline")), encoding).split("\0", -1));
        int jar = all.indexOf("-jar");
        List<String> command =
                new ArrayList<>(all.subList(0, jar >= 0 ? jar + 2 : all.indexOf(Main.class.getName()) + 1));
        command.set(0, Path.of(System.getProperty("java.home"), "bin", "java").toString());
        return command;
    }
}

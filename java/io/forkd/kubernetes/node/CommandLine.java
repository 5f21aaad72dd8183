package io.forkd.kubernetes.node;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** The command line beside the daemon, for what goes to registries and comes from there. */
final class CommandLine {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final int MOST_ERROR = 1000;

    private final List<String> forkd;

    CommandLine(List<String> forkd) {
        this.forkd = forkd;
    }

    /**
     * Fetches a snapshot from a registry.
     *
     * @param ref a tenant's words, which are no option whatever they are
     */
    void pull(String ref, String tag, boolean insecure) throws IOException, InterruptedException {
        transfer(Map.of(), List.of("pull", "--tag", tag, "--force", "--json"), ref, insecure);
    }

    /** Puts the snapshot of a store into a registry. */
    void push(Path store, String tag, String ref, boolean insecure) throws IOException, InterruptedException {
        transfer(
                Map.of("FORKD_SNAPSHOT_ROOT", store.toString()),
                List.of("push", "--tag", tag, "--json"),
                ref,
                insecure);
    }

    private void transfer(Map<String, String> environment, List<String> verb, String ref, boolean insecure)
            throws IOException, InterruptedException {
        List<String> arguments = new ArrayList<>(verb);
        if (insecure) {
            arguments.add("--insecure-registry");
        }
        arguments.addAll(List.of("--", ref));
        var unused = run(environment, arguments);
    }

    /** Where the daemon has what it keeps. */
    Path data() throws IOException, InterruptedException {
        return Path.of(JSON.readTree(run(Map.of(), List.of("where", "--json")))
                .path("dir")
                .asText());
    }

    /** @throws IOException with what it said when it failed */
    private String run(Map<String, String> environment, List<String> arguments)
            throws IOException, InterruptedException {
        List<String> command = new ArrayList<>(forkd);
        command.addAll(arguments);
        Path error = Files.createTempFile("forkd-node", ".err");
        try {
            ProcessBuilder builder = new ProcessBuilder(command).redirectError(error.toFile());
            builder.environment().putAll(environment);
            Process process = builder.start();
            process.getOutputStream().close();
            String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
            int status = process.waitFor();
            if (status != 0) {
                throw new IOException(said(Files.readString(error, StandardCharsets.UTF_8), status));
            }
            return out;
        } finally {
            Files.deleteIfExists(error);
        }
    }

    /** Its last line is JSON, as was asked for, when it says what went wrong. */
    private static String said(String error, int status) {
        String last = error.strip().replaceFirst("(?s).*\n", "");
        try {
            String message = JSON.readTree(last).path("error").path("message").asText("");
            if (!message.isEmpty()) {
                return message;
            }
        } catch (JsonProcessingException e) {
            // Then it is text.
        }
        return last.isEmpty()
                ? "the command ended with status " + status
                : last.substring(0, Math.min(last.length(), MOST_ERROR));
    }
}

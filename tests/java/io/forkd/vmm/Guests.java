package io.forkd.vmm;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/** The guests of our own in tests/native/guests. */
public final class Guests {
    private Guests() {}

    /** A kernel, made of the guest's source. */
    public static Path compile(String name, Path directory) throws IOException, InterruptedException {
        Path guest = directory.resolve(name + ".elf");
        Process process = new ProcessBuilder("tests/native/guests/compile", name, guest.toString())
                .redirectErrorStream(true)
                .start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor()).as(output).isZero();
        return guest;
    }
}

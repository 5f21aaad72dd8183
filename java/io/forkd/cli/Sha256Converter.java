package io.forkd.cli;

import io.forkd.image.Digest;
import java.util.Locale;
import picocli.CommandLine.ITypeConverter;

/** Reads a SHA-256, with or without its name. */
final class Sha256Converter implements ITypeConverter<Digest> {
    @Override
    public Digest convert(String text) {
        return new Digest("sha256", text.replaceFirst("^sha256:", "").toLowerCase(Locale.ROOT));
    }
}

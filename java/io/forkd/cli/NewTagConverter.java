package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.snapshot.SnapshotTag;
import picocli.CommandLine.ITypeConverter;

/** Of a snapshot that is to be made: not one that looks like an option, as clients of the daemon may name them. */
final class NewTagConverter implements ITypeConverter<SnapshotTag> {
    @Override
    public SnapshotTag convert(String value) {
        if (value.startsWith("-")) {
            throw new ForkdException(
                    Kind.USAGE, "'" + value + "' is not a tag: it must begin with a letter, a digit or _");
        }
        return new SnapshotTag(value);
    }
}

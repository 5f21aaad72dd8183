package io.forkd.cli;

import io.forkd.snapshot.SnapshotTag;
import picocli.CommandLine.ITypeConverter;

/** Of a snapshot that is there. */
final class TagConverter implements ITypeConverter<SnapshotTag> {
    @Override
    public SnapshotTag convert(String value) {
        return new SnapshotTag(value);
    }
}

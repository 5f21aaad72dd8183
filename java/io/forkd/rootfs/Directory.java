package io.forkd.rootfs;

import java.util.HashMap;
import java.util.Map;

/** A directory of the merged tree. */
final class Directory extends Inode {
    /** A name in a directory, and the layer that put it there last. */
    record Entry(Inode inode, int layer) {}

    final Map<String, Entry> entries = new HashMap<>(4);

    Directory() {
        super(Member.Type.DIRECTORY);
        mode = 0755;
    }
}

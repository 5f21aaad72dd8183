package io.forkd.rootfs;

import java.util.Map;

/** A file of any type in the merged tree; hard links are names for one. There may be a million of them. */
class Inode {
    static final int NONE = -1;

    final Member.Type type;
    int mode;
    int uid;
    int gid;
    long mtimeSeconds;
    int mtimeNanos;
    Map<String, byte[]> xattrs = Map.of();

    /** Of a symlink. */
    String target = "";

    /** Of a device. */
    int major;

    int minor;

    /** Where the content of a file is. */
    int blob = NONE;

    /** Of a file. */
    long size;

    /** Names that it has. */
    int names;

    /** Its number in the file system, once it has one. */
    int index = NONE;

    Inode(Member.Type type) {
        this.type = type;
    }

    int modeWithType() {
        return type.bits() | mode;
    }

    void describe(Member member) {
        mode = member.mode();
        uid = (int) member.uid();
        gid = (int) member.gid();
        mtimeSeconds = member.mtimeSeconds();
        mtimeNanos = member.mtimeNanos();
        xattrs = member.xattrs();
    }
}

package io.forkd;

/** Something of the host that a guest may use only so much of. */
public enum Limit {
    CONSOLE("console_limit_kib", 4, 64 << 10, 1 << 10),
    DISK("disk_limit_mib", 0, Limit.MOST_MIB, 10 << 10),
    DISK_BYTES("disk_bps", 0, Long.MAX_VALUE, 0),
    DISK_REQUESTS("disk_iops", 0, Long.MAX_VALUE, 0),
    NET_BYTES("net_bps", 0, Long.MAX_VALUE, 0),
    VSOCK_CONNECTIONS("vsock_connections", 1, 1023, 1023),
    VSOCK_BUFFER("vsock_buffer_mib", 1, Limit.MOST_MIB, 64);

    private static final long MOST_MIB = 1L << 40;

    private final String field;
    private final long least;
    private final long most;
    private final long standard;

    Limit(String field, long least, long most, long standard) {
        this.field = field;
        this.least = least;
        this.most = most;
        this.standard = standard;
    }

    /** In JSON, which says its unit, too; with dashes, of the command line's option. */
    public String field() {
        return field;
    }

    /** Where that is 0, 0 is no limit. */
    public long least() {
        return least;
    }

    public long most() {
        return most;
    }

    public boolean allows(long value) {
        return value >= least && value <= most;
    }

    /** What it is where nobody says anything, as {@code struct forkd_limits} in forkd.h has it. */
    public long standard() {
        return standard;
    }

    /** Whether that many are more than those. */
    public boolean isMore(long value, long than) {
        boolean unbounded = least == 0 && than == 0;
        return !unbounded && (value > than || (least == 0 && value == 0));
    }
}

package io.forkd;

import java.math.BigDecimal;
import java.util.OptionalLong;

/** Something of the host that a guest may use only so much of. */
public enum Limit {
    CONSOLE("console_limit_kib", 4, 64 << 10, 1 << 10),
    DISK("disk_limit_mib", 0, Limit.MOST_MIB, 10 << 10),
    DISK_BYTES("disk_bps", 0, Long.MAX_VALUE, 0),
    DISK_REQUESTS("disk_iops", 0, Long.MAX_VALUE, 0),
    NET_BYTES("net_bps", 0, Long.MAX_VALUE, 0),
    VSOCK_CONNECTIONS("vsock_connections", 1, 1023, 1023),
    VSOCK_BUFFER("vsock_buffer_mib", 1, Limit.MOST_MIB, 64),
    MEMORY("memory_limit_mib", 1, Limit.MOST_MIB, Limit.MOST_MIB),
    CPUS("cpus", 0, 1_000_000, 0, 3),
    PROCESSES("pids_limit", 0, 1 << 22, 0),
    IO_BYTES("io_bps", 0, Long.MAX_VALUE, 0),
    IO_REQUESTS("io_iops", 0, Limit.MOST_REQUESTS, 0);

    private static final long MOST_MIB = 1L << 40;
    private static final long MOST_REQUESTS = (1L << 32) - 1;

    private final String field;
    private final long least;
    private final long most;
    private final long standard;
    private final int decimals;

    Limit(String field, long least, long most, long standard) {
        this(field, least, most, standard, 0);
    }

    Limit(String field, long least, long most, long standard, int decimals) {
        this.field = field;
        this.least = least;
        this.most = most;
        this.standard = standard;
        this.decimals = decimals;
    }

    /** How many a number of it may have. All values here are in units of the last one. */
    public int decimals() {
        return decimals;
    }

    /** A value as it is said. */
    public BigDecimal shown(long value) {
        BigDecimal number = BigDecimal.valueOf(value, decimals).stripTrailingZeros();
        return number.scale() < 0 ? number.setScale(0) : number;
    }

    /** The other way round; empty when it has more decimals, or is too large for any. */
    public OptionalLong value(BigDecimal number) {
        try {
            return OptionalLong.of(number.movePointRight(decimals).longValueExact());
        } catch (ArithmeticException e) {
            return OptionalLong.empty();
        }
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

    /** What it is where nobody says anything, as {@code struct forkd_limits} in forkd.h has it, if it is there. */
    public long standard() {
        return standard;
    }

    /** Whether that value is a limit at all. */
    public boolean bounds(long value) {
        return value != 0 || least != 0;
    }

    /** Whether that many are more than those. */
    public boolean isMore(long value, long than) {
        boolean unbounded = least == 0 && than == 0;
        return !unbounded && (value > than || (least == 0 && value == 0));
    }
}

package io.forkd.network;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** A range of IPv4 addresses that have the first {@code bits} bits alike; the others are zero in {@code address}. */
record Cidr(long address, int bits) {
    private static final Pattern FORM = Pattern.compile("([0-9.]+)(?:/([0-9]{1,2}))?");
    private static final Pattern ADDRESS = Pattern.compile("(0|[1-9][0-9]{0,2})(\\.(0|[1-9][0-9]{0,2})){3}");

    Cidr {
        address &= mask(bits);
    }

    private static long mask(int bits) {
        return bits == 0 ? 0 : 0xffff_ffffL << (32 - bits) & 0xffff_ffffL;
    }

    /** {@code 192.0.2.0/24}, or an address alone; empty when it is neither. */
    static Optional<Cidr> parse(String text) {
        Matcher matcher = FORM.matcher(text);
        if (!matcher.matches()) {
            return Optional.empty();
        }
        int bits = matcher.group(2) == null ? 32 : Integer.parseInt(matcher.group(2));
        return bits > 32 ? Optional.empty() : parseAddress(matcher.group(1)).map(address -> new Cidr(address, bits));
    }

    static Optional<Long> parseAddress(String text) {
        if (!ADDRESS.matcher(text).matches()) {
            return Optional.empty();
        }
        long address = 0;
        for (String part : text.split("\\.", -1)) {
            int octet = Integer.parseInt(part);
            if (octet > 255) {
                return Optional.empty();
            }
            address = address << 8 | octet;
        }
        return Optional.of(address);
    }

    static Cidr of(String text) {
        return parse(text).orElseThrow(() -> new IllegalArgumentException(text));
    }

    boolean contains(Cidr other) {
        return other.bits >= bits && (other.address & mask(bits)) == address;
    }

    boolean meets(Cidr other) {
        return contains(other) || other.contains(this);
    }

    static String text(long address) {
        return (address >> 24) + "." + (address >> 16 & 255) + "." + (address >> 8 & 255) + "." + (address & 255);
    }

    @Override
    public String toString() {
        return bits == 32 ? text(address) : text(address) + "/" + bits;
    }
}

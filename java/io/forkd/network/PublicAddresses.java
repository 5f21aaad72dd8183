package io.forkd.network;

import java.net.Inet4Address;
import java.net.InetAddress;
import java.nio.ByteBuffer;

/** What the internet is: every address that belongs to no host of one's own, link or provider. */
public final class PublicAddresses {
    private PublicAddresses() {}

    public static boolean contains(InetAddress address) {
        byte[] bytes = address.getAddress();
        if (address instanceof Inet4Address) {
            Cidr one = new Cidr(ByteBuffer.wrap(bytes).getInt() & 0xffff_ffffL, 32);
            return Rule.NOT_PUBLIC.stream().noneMatch(range -> range.contains(one));
        }
        int first = ByteBuffer.wrap(bytes).getShort() & 0xffff;
        int second = ByteBuffer.wrap(bytes).getShort(2) & 0xffff;
        // Global unicast, but for what IANA has set aside, and 2002::/16, which is every IPv4 address.
        return first >> 13 == 1
                && first != 0x2002
                && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
                && !(first == 0x3fff && second < 0x1000);
    }
}

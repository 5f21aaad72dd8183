package io.forkd.kernel;

import java.io.BufferedInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.util.zip.GZIPInputStream;
import org.apache.commons.compress.compressors.zstandard.ZstdCompressorInputStream;
import org.tukaani.xz.XZInputStream;

/** Files that are packed as the ends of their names say. */
final class Packed {
    private Packed() {}

    static InputStream open(String name, InputStream in) throws IOException {
        if (name.endsWith(".xz")) {
            return new XZInputStream(in);
        }
        if (name.endsWith(".zst")) {
            return new ZstdCompressorInputStream(new BufferedInputStream(in, 1 << 17));
        }
        return name.endsWith(".gz") ? new GZIPInputStream(in, 1 << 16) : in;
    }

    /** The name without that end. */
    static String bare(String name) {
        return name.replaceFirst("\\.(xz|zst|gz)$", "");
    }
}

package io.forkd.rootfs;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.List;
import java.util.regex.Pattern;

/**
 * What is made of an image.
 *
 * @param sizeMib of the file system, from {@link #LEAST_MIB} to {@link #MOST_MIB}
 * @param packages to install in addition
 */
public record RootfsOptions(int sizeMib, List<String> packages) {
    public static final int LEAST_MIB = 16;
    public static final int MOST_MIB = 8 << 20;
    private static final Pattern PACKAGE = Pattern.compile("[A-Za-z0-9][A-Za-z0-9+._:=~@/-]*");

    public RootfsOptions {
        for (String name : packages) {
            if (!PACKAGE.matcher(name).matches()) {
                throw new ForkdException(Kind.USAGE, "not a package's name: " + name);
            }
        }
        packages = packages.stream().sorted().distinct().toList();
    }

    long bytes() {
        return (long) sizeMib << 20;
    }
}

package io.forkd.vmm;

import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.tools.Info;
import org.bytedeco.javacpp.tools.InfoMap;
import org.bytedeco.javacpp.tools.InfoMapper;

/** Tells JavaCPP how to make {@code io.forkd.vmm.Native} of forkd.h. Used by the build only. */
@Properties(
        value = @Platform(value = "linux-x86_64", include = "forkd/forkd.h", link = "forkd", library = "jniforkd"),
        target = "io.forkd.vmm.Native")
public class ForkdBinding implements InfoMapper {
    @Override
    public void map(InfoMap infoMap) {
        infoMap.put(new Info("FORKD_VERSION", "FORKD_UNLIMITED").skip());
        // The parser takes an array of constant strings for a constant member, and gives it no setter.
        infoMap.put(new Info("forkd_disk::layer_paths")
                .javaText("public native @Cast(\"const char*const*\") PointerPointer layer_paths();"
                        + " public native forkd_disk layer_paths(PointerPointer setter);"));
    }
}

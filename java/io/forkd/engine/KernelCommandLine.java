package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.snapshot.Volume;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** What a guest's kernel is told; the words that begin with {@code forkd.} are for our init. */
final class KernelCommandLine {
    private static final int MAX_BYTES = 2047;

    /**
     * What a kernel does every second in a guest in which nothing happens (admin-guide/kernel-parameters.rst,
     * admin-guide/sysctl/vm.rst): comparing its clocks, looking for processors that hang (which a paused guest's seem to),
     * looking for fragments to compact, adding up statistics. Thousands of idle children keep a host busy with it.
     */
    private static final String IDLE =
            "tsc=nowatchdog nowatchdog sysctl.vm.compaction_proactiveness=0 sysctl.vm.stat_interval=60";

    /**
     * How much of its memory a kernel keeps at hand for its processors, at most, one part in so many; since Linux 6.7 that
     * grows to an eighth. What is there is not free, so that it is not given back to the host.
     */
    private static final String GIVE_BACK = "sysctl.vm.percpu_pagelist_high_fraction=128";

    /** A kernel tests each of its ciphers at each boot otherwise, which is a tenth of the time that it takes. */
    private static final String UNTESTED = "cryptomgr.notests";

    private KernelCommandLine() {}

    /**
     * @param initrd whether our init comes in an initrd; else the root disk must have {@code /forkd-init.sh}
     * @param network whether there is a network device
     * @param warm Python to run before the snapshot
     */
    static String of(
            boolean writableRoot, boolean initrd, boolean network, List<Volume> volumes, Optional<String> warm) {
        List<String> words = new ArrayList<>();
        words.add("console=ttyS0 reboot=k panic=1 pci=off root=/dev/vda");
        words.add(writableRoot ? "rw" : "ro");
        if (writableRoot && !initrd) {
            words.add("init=/forkd-init.sh");
        }
        words.add("random.trust_cpu=on quiet");
        words.add(IDLE);
        words.add(GIVE_BACK);
        words.add(UNTESTED);
        if (!volumes.isEmpty()) {
            words.add("forkd.mounts="
                    + IntStream.range(0, volumes.size())
                            .mapToObj(i -> mount((char) ('b' + i), volumes.get(i)))
                            .collect(Collectors.joining(",")));
        }
        warm.ifPresent(code ->
                words.add("forkd.warm=" + Base64.getEncoder().encodeToString(code.getBytes(StandardCharsets.UTF_8))));
        if (network) {
            words.add("ip=10.42.0.2::10.42.0.1:255.255.255.0::eth0:off");
        }
        String line = String.join(" ", words);
        int bytes = line.getBytes(StandardCharsets.UTF_8).length;
        if (bytes > MAX_BYTES) {
            throw new ForkdException(
                    Kind.USAGE,
                    "the kernel command line would have " + bytes + " bytes, and the kernel takes " + MAX_BYTES,
                    warm.isPresent()
                            ? Remedy.Action.IMPORT_WARM_UP
                            : new Remedy.Advice("Use shorter guest paths for the volumes."));
        }
        return line;
    }

    private static String mount(char disk, Volume volume) {
        return "vd" + disk + ":" + volume.guestPath() + (volume.readOnly() ? ":ro" : "");
    }
}

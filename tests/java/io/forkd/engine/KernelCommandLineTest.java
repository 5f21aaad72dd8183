package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.Remedy;
import io.forkd.snapshot.Volume;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class KernelCommandLineTest {
    private static final String FIXED = "console=ttyS0 reboot=k panic=1 pci=off root=/dev/vda ";
    private static final String QUIET = "random.trust_cpu=on quiet tsc=nowatchdog nowatchdog"
            + " sysctl.vm.compaction_proactiveness=0 sysctl.vm.stat_interval=60"
            + " sysctl.vm.percpu_pagelist_high_fraction=128 cryptomgr.notests";

    @Test
    void init_is_named_only_where_no_initrd_brings_it() {
        assertThat(KernelCommandLine.of(true, true, false, List.of(), Optional.empty()))
                .isEqualTo(FIXED + "rw " + QUIET);
        assertThat(KernelCommandLine.of(true, false, false, List.of(), Optional.empty()))
                .isEqualTo(FIXED + "rw init=/forkd-init.sh " + QUIET);
        assertThat(KernelCommandLine.of(false, false, false, List.of(), Optional.empty()))
                .isEqualTo(FIXED + "ro " + QUIET);
    }

    @Test
    void volumes_warm_up_and_network_follow_in_this_order() {
        assertThat(KernelCommandLine.of(
                        true,
                        true,
                        true,
                        List.of(Volume.parse("/a:/x"), Volume.parse("/b:/y:ro")),
                        Optional.of("import numpy")))
                .isEqualTo(FIXED + "rw " + QUIET + " forkd.mounts=vdb:/x,vdc:/y:ro"
                        + " forkd.warm=aW1wb3J0IG51bXB5 ip=10.42.0.2::10.42.0.1:255.255.255.0::eth0:off");
    }

    @Test
    void line_that_the_kernel_would_cut_is_refused() {
        int room = 2047 - (FIXED + "rw " + QUIET + " forkd.warm=").length();
        assertThat(KernelCommandLine.of(true, true, false, List.of(), Optional.of("x".repeat(room / 4 * 3))))
                .hasSizeLessThanOrEqualTo(2047);
        assertThatThrownBy(() ->
                        KernelCommandLine.of(true, true, false, List.of(), Optional.of("x".repeat(room / 4 * 3 + 3))))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.remedy()).isEqualTo(Remedy.Action.IMPORT_WARM_UP))
                .hasMessageContaining("the kernel takes 2047");
    }
}

/** Cgroups, version 2: which VM may take how much of the host, kept by the kernel. Knows nothing of VMs. */
@NullMarked
package io.forkd.cgroup;

import org.jspecify.annotations.NullMarked;

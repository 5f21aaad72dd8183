package io.forkd.vmm;

import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * The monitor, as those above it know it: it makes and finds processes that are VMs and fork servers. Every call ends, also
 * when such a process does not answer: with a {@link VmmException} of ETIMEDOUT. Safe for use by several threads.
 */
public interface Vmm {
    /** Tells the monitor's files from those of other versions. */
    String version();

    /** Starts a VM; returns once its processors run. */
    Vm boot(BootOptions options);

    /** A handle of a detached VM. */
    Vm attach(Path control);

    /**
     * Waits until one of {@code vms}, which are of this monitor, is ready or has ended; empty when none is after
     * {@code timeout}. No other thread may use one of them meanwhile.
     */
    Optional<Vm> awaitAny(List<Vm> vms, Duration timeout);

    /**
     * Ends the process of a detached VM or server that cannot be attached to, and waits until it is gone. False when there
     * is no such process any more.
     *
     * @param startTime as {@link VmStatus#startTime()} said
     */
    boolean kill(int pid, long startTime);

    /** A watch over processes. */
    ProcessWatch watch();

    /** Starts the fork server of a snapshot. */
    ForkServer serve(ServerOptions options);

    /** A handle of a detached server. */
    ForkServer attachServer(Path control);

    /**
     * Looks whether what a snapshot's file {@code vmstate} describes can run on this machine; fails with the names of what
     * is missing.
     */
    void requireMachine(Path vmstate);

    /** The command that starts the program which makes network namespaces. */
    List<String> networkHelper();

    /** Writes {@code base} (a memory.bin) with the layers over it, the first of the chain first, to a new file. */
    void flattenMemory(Path base, List<Path> layers, Path out);

    /** Writes the layers of a private disk to one new file that means the same. */
    void flattenDisk(Disk disk, Path out);

    /**
     * Has the kernel compare each page of a file with a hash of it whenever it is read (fs-verity): one that is another
     * cannot be read. Nobody can write to it from then on. False where the file system has no such thing.
     */
    boolean enableVerity(Path file);

    /** The digest of fs-verity that stands for all of the file; empty when it has none. Reads nothing of it. */
    Optional<String> verity(Path file);
}

package io.forkd.agent;

import tools.jackson.databind.node.ObjectNode;

/**
 * Figures of a guest, as its kernel has them.
 *
 * @param cpuMicros processor time of all since boot
 * @param memoryUsedBytes without caches
 * @param diskBytes of the disk that / is on
 */
public record GuestMetrics(
        long cpus,
        long cpuMicros,
        long memoryBytes,
        long memoryUsedBytes,
        long memoryCacheBytes,
        long diskBytes,
        long diskUsedBytes,
        long processes,
        long uptimeMillis) {

    static GuestMetrics of(GuestAnswer answer) {
        return new GuestMetrics(
                answer.count("cpus"),
                answer.count("cpu_us"),
                answer.count("memory_bytes"),
                answer.count("memory_used_bytes"),
                answer.count("memory_cache_bytes"),
                answer.count("disk_bytes"),
                answer.count("disk_used_bytes"),
                answer.count("processes"),
                answer.count("uptime_ms"));
    }

    /** As they are told to others. */
    public ObjectNode put(ObjectNode node) {
        return node.put("cpus", cpus)
                .put("cpu_usec", cpuMicros)
                .put("memory_bytes", memoryBytes)
                .put("memory_used_bytes", memoryUsedBytes)
                .put("memory_cache_bytes", memoryCacheBytes)
                .put("disk_bytes", diskBytes)
                .put("disk_used_bytes", diskUsedBytes)
                .put("processes", processes)
                .put("uptime_ms", uptimeMillis);
    }
}

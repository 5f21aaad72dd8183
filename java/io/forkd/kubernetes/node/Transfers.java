package io.forkd.kubernetes.node;

import java.io.IOException;
import java.util.HashMap;
import java.util.Map;

/**
 * What goes to registries and comes from there may take as long as a registry of somebody's choice wants it to. So of each
 * namespace a few are under way, and all together leave half of the threads to what is on this node.
 */
final class Transfers {
    private static final int MOST_OF_ONE = 2;

    private final int most;
    private final Map<String, Integer> underWay = new HashMap<>();

    Transfers(int threads) {
        most = Math.max(1, threads / 2);
    }

    /** One of them. */
    interface Transfer {
        void run() throws IOException, InterruptedException;
    }

    /** Runs it, when its turn has come, and returns whether it has. */
    boolean run(String namespace, Transfer transfer) throws IOException, InterruptedException {
        if (!begin(namespace)) {
            return false;
        }
        try {
            transfer.run();
        } finally {
            end(namespace);
        }
        return true;
    }

    /** Whether one may begin now; then {@link #end} is to follow. */
    synchronized boolean begin(String namespace) {
        int all = underWay.values().stream().mapToInt(Integer::intValue).sum();
        if (all >= most || underWay.getOrDefault(namespace, 0) >= MOST_OF_ONE) {
            return false;
        }
        underWay.merge(namespace, 1, Integer::sum);
        return true;
    }

    synchronized void end(String namespace) {
        underWay.merge(namespace, -1, (had, less) -> had + less == 0 ? null : had + less);
    }
}

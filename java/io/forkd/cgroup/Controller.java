package io.forkd.cgroup;

import io.forkd.Limit;
import io.forkd.Limits;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;

/** What of the kernel keeps a limit, if anything does. */
public enum Controller {
    MEMORY,
    CPU,
    PIDS,
    IO;

    private List<Limit> limits() {
        return switch (this) {
            case MEMORY -> List.of(Limit.MEMORY);
            case CPU -> List.of(Limit.CPUS);
            case PIDS -> List.of(Limit.PROCESSES);
            case IO -> List.of(Limit.IO_BYTES, Limit.IO_REQUESTS);
        };
    }

    /** As the kernel calls it. */
    public String word() {
        return name().toLowerCase(Locale.ROOT);
    }

    static String words(Set<Controller> some) {
        return some.stream().map(Controller::word).collect(Collectors.joining(", "));
    }

    /** Those that are needed for what is limited. */
    public static Set<Controller> of(Limits limits) {
        Set<Controller> needed = EnumSet.noneOf(Controller.class);
        for (Controller controller : values()) {
            if (controller.limits().stream().anyMatch(limits::bounds)) {
                needed.add(controller);
            }
        }
        return needed;
    }

    /** What of it was asked for, for a person. */
    String asked(Limits given) {
        return limits().stream()
                .filter(given::bounds)
                .map(Limit::field)
                .findFirst()
                .orElseThrow();
    }
}

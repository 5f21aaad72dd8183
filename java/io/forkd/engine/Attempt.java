package io.forkd.engine;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;

/** What became of one of several that were to be made. */
public sealed interface Attempt<T> {
    record Made<T>(T it) implements Attempt<T> {}

    record Failed<T>(ForkdException why) implements Attempt<T> {}

    /**
     * Makes so many: all together, or where that does not work as many as can be made, one by one.
     *
     * @param make makes so many, or none
     * @throws ForkdException when none can be made
     */
    static <T> List<Attempt<T>> each(int count, IntFunction<List<T>> make) {
        try {
            return made(make.apply(count));
        } catch (ForkdException e) {
            if (count == 1 || e.kind() != Kind.FAILED) {
                throw e;
            }
            List<Attempt<T>> attempts = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                attempts.addAll(one(make));
            }
            if (attempts.stream().allMatch(Failed.class::isInstance)) {
                throw e;
            }
            return attempts;
        }
    }

    private static <T> List<Attempt<T>> one(IntFunction<List<T>> make) {
        try {
            return made(make.apply(1));
        } catch (ForkdException e) {
            return List.of(new Failed<>(e));
        }
    }

    private static <T> List<Attempt<T>> made(List<T> all) {
        return all.stream().<Attempt<T>>map(Made::new).toList();
    }
}

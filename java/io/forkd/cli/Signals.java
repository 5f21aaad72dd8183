package io.forkd.cli;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.Objects;

/** Hears of signals. Java's own class for them is not among what may be compiled against, so it is found by its name. */
final class Signals {
    private Signals() {}

    /**
     * From now on that signal does this, on a thread of its own, instead of ending the process.
     *
     * @param name as in {@code HUP}
     * @return false when it was ignored from the start: Java leaves those that would end it so
     */
    static boolean on(String name, Runnable job) {
        try {
            Class<?> signal = Class.forName("sun.misc.Signal");
            Class<?> handler = Class.forName("sun.misc.SignalHandler");
            Object ours = Proxy.newProxyInstance(
                    Signals.class.getClassLoader(), new Class<?>[] {handler}, (proxy, method, arguments) -> {
                        if (method.getName().equals("handle")) {
                            job.run();
                        }
                        return handler.getField("SIG_DFL").get(null); // of a void method, and so ignored
                    });
            Object before = signal.getMethod("handle", signal, handler)
                    .invoke(null, signal.getConstructor(String.class).newInstance(name), ours);
            return !Objects.equals(before, handler.getField("SIG_IGN").get(null));
        } catch (ClassNotFoundException
                | NoSuchFieldException
                | NoSuchMethodException
                | InstantiationException
                | IllegalAccessException
                | InvocationTargetException e) {
            throw new IllegalStateException("this Java does not tell of signals", e);
        }
    }
}

package io.forkd.cli;

import io.forkd.sandbox.Lifetime;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "timeout",
        description = "Sets how long sandboxes go on by themselves, from now on: what is not said they have no more.",
        sortOptions = false)
final class TimeoutCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    LifetimeOptions lifetime = new LifetimeOptions();

    @Mixin
    EachOptions sandboxes = new EachOptions();

    TimeoutCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        Lifetime time = lifetime.lifetime();
        return sandboxes.each(shell, (backend, id) -> {
            backend.setLifetime(id, time);
            return id + (time.isTimed() ? " has a new time" : " goes on until it is ended");
        });
    }
}

package io.forkd.cli;

import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "wait",
        description = "Waits until sandboxes have ended, by themselves or by others. One that is paused has not.",
        sortOptions = false)
final class WaitCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    EachOptions sandboxes = new EachOptions();

    WaitCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        return sandboxes.each(shell, (backend, id) -> {
            backend.await(id);
            return id + " has ended";
        });
    }
}

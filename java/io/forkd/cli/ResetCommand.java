package io.forkd.cli;

import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "reset",
        description =
                "Puts sandboxes back to the snapshot that each was forked from: what their guests did is gone, and what"
                        + " is open to them ends. Their ids, processes, networks, limits, times and names stay.",
        sortOptions = false)
final class ResetCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    EachOptions sandboxes = new EachOptions();

    ResetCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        return sandboxes.each(shell, (backend, id) -> {
            backend.reset(id);
            return "reset " + id;
        });
    }
}

package io.forkd.cli;

import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "pause",
        description = "Pauses sandboxes: each stands still, is written to the disk, and takes neither memory nor"
                + " processors any more, until forkd resume lets it go on. It outlasts this machine's next start.",
        sortOptions = false)
final class PauseCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    EachOptions sandboxes = new EachOptions();

    PauseCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        return sandboxes.each(shell, (backend, id) -> {
            backend.pause(id);
            return "paused " + id;
        });
    }
}

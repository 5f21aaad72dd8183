package io.forkd.cli;

import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

@Command(
        name = "resume",
        description = "Lets sandboxes that are paused go on, under their ids, with all that they had. One that runs is"
                + " left as it is.",
        sortOptions = false)
final class ResumeCommand implements Callable<Integer> {
    private final Shell shell;

    @Mixin
    EachOptions sandboxes = new EachOptions();

    ResumeCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        return sandboxes.each(shell, (backend, id) -> {
            backend.resume(id);
            return "resumed " + id;
        });
    }
}

package io.forkd.cli;

import io.forkd.engine.Snapshots.Verification;
import io.forkd.engine.Snapshots.Verified;
import io.forkd.engine.Snapshots.VerifiedDisk;
import io.forkd.snapshot.SnapshotTag;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

@Command(
        name = "verify",
        description =
                "Reads all of a snapshot, of what it is based on and of its root disk, and compares it with what was noted of"
                        + " them.",
        sortOptions = false)
final class VerifyCommand implements Callable<Integer> {
    private final Shell shell;

    @Parameters(paramLabel = "TAG", converter = TagConverter.class, description = "The snapshot.")
    SnapshotTag tag = new SnapshotTag("_");

    @Option(names = "--json", description = "Print the result as JSON.")
    boolean json;

    VerifyCommand(Shell shell) {
        this.shell = shell;
    }

    @Override
    public Integer call() {
        Verification verified = shell.engine().snapshots().verify(tag, shell.call());
        shell.clear();
        ObjectNode node = Shell.json().put("tag", tag.value());
        ArrayNode list = node.putArray("snapshots");
        for (Verified each : verified.snapshots()) {
            list.addObject()
                    .put("tag", each.tag().value())
                    .put("content", each.content())
                    .put("was_known", each.known())
                    .put("verity", each.verity());
            if (!json) {
                shell.print(each.content() + "  " + each.tag() + (each.known() ? "" : "  (noted now)")
                        + (each.verity() ? "  (memory is checked as it is read)" : ""));
            }
        }
        ArrayNode disks = node.putArray("root_disks");
        for (VerifiedDisk each : verified.disks()) {
            disks.addObject()
                    .put("image", each.image().toString())
                    .put("content", each.content())
                    .put("was_known", each.known());
            if (!json) {
                shell.print(each.content() + "  " + each.image() + (each.known() ? "" : "  (noted now)"));
            }
        }
        if (json) {
            shell.print(node);
        }
        return 0;
    }
}

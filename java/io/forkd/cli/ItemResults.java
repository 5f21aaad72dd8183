package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;

/** What became of each of several things that one command was asked to do something to. */
final class ItemResults {
    private final Shell shell;
    private final boolean json;
    private final String key;
    private final ArrayNode all = JsonNodeFactory.instance.arrayNode();
    private boolean failed;

    /** @param key what names one of them in the JSON */
    ItemResults(Shell shell, boolean json, String key) {
        this.shell = shell;
        this.json = json;
        this.key = key;
    }

    void done(String name, String line) {
        if (json) {
            all.addObject().put(key, name).put("success", true);
        } else {
            shell.print(line);
        }
    }

    void failed(String name, ForkdException e) {
        failed = true;
        if (json) {
            all.addObject().put(key, name).put("success", false).set("error", Shell.error(e));
        } else {
            shell.fail(e, false);
        }
    }

    /** Prints what is for programs, and gives the exit status. */
    int end() {
        if (json) {
            shell.print(all.toPrettyString());
        }
        return failed ? Kind.FAILED.exitStatus() : 0;
    }
}

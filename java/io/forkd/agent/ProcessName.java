package io.forkd.agent;

import tools.jackson.databind.node.ObjectNode;

/** Which process of a guest is meant: one that was started over its streams. */
public sealed interface ProcessName {
    record Pid(long pid) implements ProcessName {
        @Override
        public String toString() {
            return "process " + pid;
        }
    }

    record Tag(String tag) implements ProcessName {
        @Override
        public String toString() {
            return "process '" + GuestAnswer.printable(tag) + "'";
        }
    }

    /** A number is a pid. */
    static ProcessName parse(String text) {
        return text.matches("[0-9]{1,10}") ? new Pid(Long.parseLong(text)) : new Tag(text);
    }

    /** Writes it as a request has it. */
    default ObjectNode put(ObjectNode request) {
        if (this instanceof Pid pid) {
            return request.put("pid", pid.pid());
        }
        if (this instanceof Tag tag) {
            return request.put("tag", tag.tag());
        }
        throw new AssertionError(this);
    }
}

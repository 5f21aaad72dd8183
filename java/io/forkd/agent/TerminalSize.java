package io.forkd.agent;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;

/** Of a terminal, in characters: 1 to 65535 each. */
public record TerminalSize(int rows, int columns) {
    public TerminalSize {
        if (rows < 1 || rows > 65535 || columns < 1 || columns > 65535) {
            throw new ForkdException(
                    Kind.USAGE, "a terminal of " + rows + " rows and " + columns + " columns: each must be 1 to 65535");
        }
    }
}

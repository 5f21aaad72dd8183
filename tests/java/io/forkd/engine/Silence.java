package io.forkd.engine;

import io.forkd.Remedy;

/** For tests that do not look at progress. */
public final class Silence implements Progress {
    @Override
    public void step(String what) {}

    @Override
    public void warn(String what, Remedy remedy) {}
}

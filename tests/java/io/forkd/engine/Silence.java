package io.forkd.engine;

/** For tests that do not look at progress. */
final class Silence implements Progress {
    @Override
    public void step(String what) {}

    @Override
    public void warn(String what) {}
}

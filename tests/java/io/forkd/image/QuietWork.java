package io.forkd.image;

/** Work that nobody hears of and nobody ends; tests override what they look at. */
public class QuietWork implements Work {
    @Override
    public void begin(String what, long bytes) {}

    @Override
    public void advance(long bytes) {}

    @Override
    public void say(String line) {}

    @Override
    public void check() {}
}

package io.forkd.cli;

/** Runs a bit of everything, so that the build can see which classes a start needs. */
final class Training {
    private Training() {}

    public static void main(String[] arguments) {
        Shell shell = Shell.ofProcess();
        for (String line : new String[] {"images", "images --json", "where", "fork --help", "exec --help"}) {
            Main.run(shell, line.split(" "));
        }
    }
}

package io.forkd.cli;

import io.forkd.ForkdException;
import io.forkd.Remedy;

/** What remedies are on the command line: the one place where an error of the engine gets its verbs and options. */
final class Remedies implements Remedy.Cases<Remedies.Words> {
    private static final Remedies CASES = new Remedies();

    /**
     * @param aside what the sentence ends with
     * @param line what follows it on a line of its own; either may be empty
     */
    record Words(String aside, String line) {}

    private Remedies() {}

    /** What went wrong. */
    static String sentence(ForkdException e) {
        return e.sentence() + e.remedy().in(CASES).aside();
    }

    /** What to do about it; may be empty. */
    static String remedy(ForkdException e) {
        return e.remedy().in(CASES).line();
    }

    /** Both in one line. */
    static String warning(String what, Remedy remedy) {
        Words words = remedy.in(CASES);
        return what + words.aside() + (words.line().isEmpty() ? "" : ". " + words.line());
    }

    private static Words line(String line) {
        return new Words("", line);
    }

    private static Words aside(String aside) {
        return new Words(" (" + aside + ")", "");
    }

    @Override
    public Words advice(Remedy.Advice remedy) {
        return line(remedy.text());
    }

    @Override
    public Words action(Remedy.Action remedy) {
        return switch (remedy) {
            case LIST_SANDBOXES -> line("forkd ls lists those that run.");
            case LIST_CHILDREN ->
                line("forkd fork prints the names of its children, forkd ls lists sandboxes,"
                        + " and ip netns list network namespaces, which --child takes, too.");
            case CLEAN_UP -> line("forkd cleanup --yes ends what it is about, and removes it.");
            case END_USER_OR_FORCE -> line("End it first, or give --force.");
            case END_USERS_OR_FORCE -> line("End them first, or give --force.");
            case CONTINUE_OR_FORCE -> line("kill -CONT lets one that was stopped go on; --force ends it.");
            case REMOVE_DEPENDENTS_OR_FORCE ->
                line("--cascade removes them, too; --force leaves them without their parent.");
            case FLATTEN -> line("forkd snapshot-compact TAG makes one of them flat.");
            case BRANCH_WHOLE -> line("Branch it without --diff: all of it is written then.");
            case PRIVATE_VOLUMES -> line("--volume-conflict=private gives each a copy-on-write view of its own.");
            case CLOSE_FILES_OR_PRIVATE_VOLUMES ->
                line("Take it again when no file is open; or give the guest a view of its own"
                        + " (--volume-conflict=private): a branch has that as of its instant.");
            case OWN_NETWORKS -> aside("--per-child-netns gives each its own");
            case IMPORT_WARM_UP ->
                line("Put the warm-up code into a module in the image, and import it: --warm 'import NAME'.");
            case OTHER_ROOTFS -> line("Name another one with --rootfs.");
            case NAME_OUTPUT -> line("Name a file with --output.");
            case OTHER_CACHE -> line("Name another folder with --cache.");
            case OWN_CACHE -> line("Name a folder of yours with --cache.");
            case LARGER_IMAGE -> aside("--size-mib");
            case SNAPSHOT_OF_IMAGE -> line("forkd from-image makes a snapshot of a container image.");
            case PUSH_ROOT_DISK -> line("Push the snapshot without --thin: its root disk is sent then.");
            case PLAIN_HTTP -> line("A server that speaks plain HTTP needs --insecure-registry.");
            case INSTALL_OR_NAME_KERNEL ->
                line("forkd kernel install makes one of your distribution's; or name one with --kernel.");
            case UPDATE_OR_NAME_PACKAGE ->
                line("Run sudo apt-get update, or name a package (--package) or a file (--deb).");
            case NAME_PACKAGE_FILE ->
                line("On a distribution without apt, name a Debian or Ubuntu kernel package with --deb.");
            case OTHER_KERNEL_PACKAGE ->
                line("Name another package with --package, or more of its modules with --deb.");
        };
    }

    @Override
    public Words listOrMakeSnapshot(Remedy.ListOrMakeSnapshot remedy) {
        return line("forkd images lists what there is; forkd snapshot --tag " + remedy.tag() + " ... makes one.");
    }

    @Override
    public Words replaceSnapshot(Remedy.ReplaceSnapshot remedy) {
        return line("Choose another tag, or give --force to replace it; forkd rmi " + remedy.tag() + " removes it.");
    }

    @Override
    public Words retakeSnapshot(Remedy.RetakeSnapshot remedy) {
        return line("Take it again; forkd rmi " + remedy.tag() + " removes it.");
    }

    @Override
    public Words verifySnapshot(Remedy.VerifySnapshot remedy) {
        return line("forkd verify " + remedy.tag()
                + " reads all of it: if its content is what it was, as after a copy of it was put back, it can be forked"
                + " again; else pull it again, or take it again.");
    }

    @Override
    public Words endSandbox(Remedy.EndSandbox remedy) {
        return line("forkd kill " + remedy.id() + " ends it.");
    }

    @Override
    public Words resumeSandbox(Remedy.ResumeSandbox remedy) {
        return line("forkd resume " + remedy.id() + " lets it go on.");
    }

    @Override
    public Words endSandboxes(Remedy.EndSandboxes remedy) {
        return line("forkd kill " + String.join(" ", remedy.ids()) + " ends them."
                + (remedy.orForce() ? " Or give --force: they keep running." : ""));
    }

    @Override
    public Words detachImage(Remedy.DetachImage remedy) {
        return line(remedy.sandbox().map(id -> "forkd kill " + id + " ends it.").orElse("End that first.")
                + (remedy.orPrivate() ? " Or give --volume-conflict=private for a copy-on-write view." : ""));
    }

    @Override
    public Words mountAgain(Remedy.MountAgain remedy) {
        return line(
                "forkd ls tries again. forkd exec --child " + remedy.sandbox() + " -- mount, and dmesg, tell more.");
    }

    @Override
    public Words longerBoot(Remedy.LongerBoot remedy) {
        return new Words(" (--boot-wait-secs allows it more)", remedy.console());
    }

    @Override
    public Words imageOfSize(Remedy.ImageOfSize remedy) {
        return line("--size-mib " + remedy.mib() + " makes room for it.");
    }

    @Override
    public Words choosePlatform(Remedy.ChoosePlatform remedy) {
        return line("It is there for " + remedy.platforms() + "; choose with --platform.");
    }

    @Override
    public Words chooseSocket(Remedy.ChooseSocket remedy) {
        return line("Choose one with --target unix:PATH, where PATH is one of: " + remedy.sockets() + ".");
    }
}

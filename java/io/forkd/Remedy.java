package io.forkd;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/**
 * What to do about a failure, or a warning. How that is done is for whoever was asked to say, in words of its own: by an
 * option of the command line, or by a request. What is here is which remedy it is, and the facts that the words need.
 */
public sealed interface Remedy {
    Remedy NONE = new Advice("");

    <T> T in(Cases<T> cases);

    /** What is said in the same words to everybody, since it is done without forkd, or by asking it again. May be empty. */
    record Advice(String text) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.advice(this);
        }

        @Override
        public String toString() {
            return text;
        }
    }

    /** What needs no facts. */
    enum Action implements Remedy {
        /** See which sandboxes run. */
        LIST_SANDBOXES,
        /** See what the children and sandboxes are called. */
        LIST_CHILDREN,
        /** Let forkd end and remove what a damaged file is about. */
        CLEAN_UP,
        /** End the one that uses it, or do it all the same. */
        END_USER_OR_FORCE,
        /** The same of several. */
        END_USERS_OR_FORCE,
        /** Let a stopped server go on, or have it ended. */
        CONTINUE_OR_FORCE,
        /** Remove the snapshots that depend on it as well, or leave them without their parent. */
        REMOVE_DEPENDENTS_OR_FORCE,
        /** Make a snapshot of a long chain flat. */
        FLATTEN,
        /** Branch a sandbox without a base. */
        BRANCH_WHOLE,
        /** Give each VM its own view of the volumes. */
        PRIVATE_VOLUMES,
        /** Take the snapshot again when no file of the volume is open, or give the guest a view of its own. */
        CLOSE_FILES_OR_PRIVATE_VOLUMES,
        /** Give each child a network of its own. */
        OWN_NETWORKS,
        /** Have the guest import what is warmed up. */
        IMPORT_WARM_UP,
        /** Name another root disk. */
        OTHER_ROOTFS,
        /** Name a file to write the image to. */
        NAME_OUTPUT,
        /** Name another folder as the cache of images. */
        OTHER_CACHE,
        /** Name a folder of the user's as the cache of images. */
        OWN_CACHE,
        /** Say that the image may be larger. */
        LARGER_IMAGE,
        /** Make a snapshot of the container image. */
        SNAPSHOT_OF_IMAGE,
        /** Push a snapshot with its root disk. */
        PUSH_ROOT_DISK,
        /** Speak plain HTTP to that registry. */
        PLAIN_HTTP,
        /** Make a guest kernel, or name one. */
        INSTALL_OR_NAME_KERNEL,
        /** Have apt look for new packages, or name one, or a file. */
        UPDATE_OR_NAME_PACKAGE,
        /** Name the file of a package. */
        NAME_PACKAGE_FILE,
        /** Name another package of a kernel, or files with more of its modules. */
        OTHER_KERNEL_PACKAGE;

        @Override
        public <T> T in(Cases<T> cases) {
            return cases.action(this);
        }
    }

    /** See which snapshots there are, or make this one. */
    record ListOrMakeSnapshot(String tag) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.listOrMakeSnapshot(this);
        }
    }

    /** Choose another tag, or replace or remove the snapshot that has it. */
    record ReplaceSnapshot(String tag) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.replaceSnapshot(this);
        }
    }

    /** Take a snapshot that failed again, or remove it. */
    record RetakeSnapshot(String tag) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.retakeSnapshot(this);
        }
    }

    /** Have all of a snapshot read, which takes note of what its files are if they are right. */
    record VerifySnapshot(String tag) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.verifySnapshot(this);
        }
    }

    /** End a sandbox that is of no use any more. */
    record EndSandbox(String id) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.endSandbox(this);
        }
    }

    /** Resume a sandbox that is paused. */
    record ResumeSandbox(String id) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.resumeSandbox(this);
        }
    }

    /**
     * End the sandboxes that use something.
     *
     * @param orForce whether it can also be done while they run
     */
    record EndSandboxes(List<String> ids, boolean orForce) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.endSandboxes(this);
        }
    }

    /**
     * End what has an image attached.
     *
     * @param sandbox which that is; empty: something else
     * @param orPrivate whether a view of its own would do instead
     */
    record DetachImage(Optional<String> sandbox, boolean orPrivate) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.detachImage(this);
        }
    }

    /** Have a sandbox mount its volumes again, or look into it. */
    record MountAgain(String sandbox) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.mountAgain(this);
        }
    }

    /**
     * Give a guest more time to boot.
     *
     * @param console what it said last
     */
    record LongerBoot(String console) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.longerBoot(this);
        }
    }

    /** Make the disk image as large as what is in it needs. */
    record ImageOfSize(long mib) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.imageOfSize(this);
        }
    }

    /** Choose one of the platforms that an image is there for, which are listed. */
    record ChoosePlatform(String platforms) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.choosePlatform(this);
        }
    }

    /** Say which of several by its socket. */
    record ChooseSocket(List<Path> sockets) implements Remedy {
        @Override
        public <T> T in(Cases<T> cases) {
            return cases.chooseSocket(this);
        }
    }

    /** One for each: whoever words them leaves none out. */
    interface Cases<T> {
        T advice(Advice remedy);

        T action(Action remedy);

        T listOrMakeSnapshot(ListOrMakeSnapshot remedy);

        T replaceSnapshot(ReplaceSnapshot remedy);

        T retakeSnapshot(RetakeSnapshot remedy);

        T verifySnapshot(VerifySnapshot remedy);

        T endSandbox(EndSandbox remedy);

        T resumeSandbox(ResumeSandbox remedy);

        T endSandboxes(EndSandboxes remedy);

        T detachImage(DetachImage remedy);

        T mountAgain(MountAgain remedy);

        T longerBoot(LongerBoot remedy);

        T imageOfSize(ImageOfSize remedy);

        T choosePlatform(ChoosePlatform remedy);

        T chooseSocket(ChooseSocket remedy);
    }
}

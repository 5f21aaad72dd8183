package io.forkd.kubernetes.resource;

/** What operator, agents and gateway have to call alike. */
public final class Names {
    public static final String GROUP = "forkd.io";
    public static final String VERSION = "v1alpha1";

    /** On each resource, until nothing of it is left: removed by who removed the last. */
    public static final String FINALIZER = "forkd.io/sandboxes";

    /** The extended resource of nodes, which reservations ask for. */
    public static final String SANDBOX_MIB = "forkd.io/sandbox-mib";

    /** Label of nodes that have an agent. */
    public static final String NODE = "forkd.io/node";

    /** Label of nodes: what its KVM works with, {@code vmx}, {@code svm} or {@code page-tables}. */
    public static final String KVM = "forkd.io/kvm";

    /** Label of nodes, before the name of a feature of its processors as Linux has it. */
    public static final String CPU_FEATURE = "cpu-feature.forkd.io/";

    /** Label of nodes, before the uid of a template: {@link #WARM} or {@link #STORED}. */
    public static final String TEMPLATE = "template.forkd.io/";

    /** Its fork server runs. */
    public static final String WARM = "warm";

    /** Its files are there. */
    public static final String STORED = "stored";

    /** Annotation of nodes: where the gateway reaches its daemon. */
    public static final String DAEMON = "forkd.io/daemon";

    /** Label of reservations: the uid of whose they are. */
    public static final String OWNER_UID = "forkd.io/owner-uid";

    /** Label of reservations, and of what a daemon has: {@code sandbox}, {@code pool} or {@code fork}. */
    public static final String KIND = "forkd.io/kind";

    /** Annotation of reservations: whose they are, as {@code namespace/name}. */
    public static final String OWNER = "forkd.io/owner";

    /** Annotation of reservations: for how many sandboxes. */
    public static final String PLACES = "forkd.io/places";

    /** Annotation of reservations of pools that the agent is to end when they cover nothing. */
    public static final String RELEASE = "forkd.io/release";

    /** Label of a daemon's sandboxes: the uid of the resource that they are of. */
    public static final String UID = "forkd.io/uid";

    private Names() {}

    /** What a daemon calls what is of the resource of that uid: sandboxes, pools, and snapshots. */
    public static String local(String uid) {
        return "k8s-" + uid;
    }

    /** What a daemon calls the snapshot that a suspended sandbox is pulled into. */
    public static String suspended(String uid) {
        return "k8s-suspended-" + uid;
    }

    /** The reservation of a sandbox. */
    public static String sandboxReservation(String uid) {
        return "sandbox-" + uid;
    }

    /** The reservation of a fork. */
    public static String forkReservation(String uid) {
        return "fork-" + uid;
    }

    /** One of a pool's. */
    public static String poolReservation(String uid, int number) {
        return "pool-" + uid + "-" + number;
    }
}

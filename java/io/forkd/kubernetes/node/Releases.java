package io.forkd.kubernetes.node;

import io.fabric8.kubernetes.api.model.Pod;
import io.fabric8.kubernetes.client.KubernetesClientException;
import io.forkd.kubernetes.resource.Api;

/** Ends reservations that cover nothing any more. */
final class Releases {
    private final Api api;
    private final Known known;

    Releases(Api api, Known known) {
        this.api = api;
        this.known = known;
    }

    /** All of a resource's. */
    void endOf(String ownerUid) {
        known.reservationsOf(ownerUid).forEach(this::end);
    }

    void end(Pod pod) {
        known.release(pod);
        try {
            api.client().resource(pod).withGracePeriod(0).delete();
        } catch (KubernetesClientException e) {
            if (e.getCode() != Api.NOT_FOUND) {
                known.forget(pod);
                throw e;
            }
        }
    }
}

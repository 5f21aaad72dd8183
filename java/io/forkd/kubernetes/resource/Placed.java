package io.forkd.kubernetes.resource;

import com.fasterxml.jackson.annotation.JsonIgnore;
import io.fabric8.kubernetes.api.model.ObjectMeta;
import java.util.Optional;
import org.jspecify.annotations.Nullable;

/** What is on one node, once it has one. Not a HasMetadata: that says how it is read, and so would every class of these. */
public interface Placed {
    /** What all of them say of themselves. */
    interface State {
        @Nullable
        String phase();

        @Nullable
        String nodeName();
    }

    ObjectMeta getMetadata();

    /** The status; of one that was just made it says nothing. */
    State now();

    default String uid() {
        return getMetadata().getUid();
    }

    default String phase() {
        return Optional.ofNullable(now().phase()).orElse(Phase.PENDING);
    }

    default Optional<String> node() {
        return Optional.ofNullable(now().nodeName()).filter(name -> !name.isEmpty());
    }

    @JsonIgnore
    default boolean isOver() {
        return Phase.OVER.contains(phase());
    }
}

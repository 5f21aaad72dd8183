package io.forkd.kubernetes.operator;

import io.fabric8.kubernetes.api.model.HasMetadata;
import io.javaoperatorsdk.operator.processing.event.Event;
import io.javaoperatorsdk.operator.processing.event.ResourceID;
import io.javaoperatorsdk.operator.processing.event.source.AbstractEventSource;
import java.util.Set;

/** Has resources looked at for something that no other event tells of. */
final class Trigger<P extends HasMetadata> extends AbstractEventSource<Void, P> {
    Trigger(String name) {
        super(Void.class, name);
    }

    /** Nothing, as long as nobody is there to look. */
    void fire(String namespace, String name) {
        if (isRunning()) {
            getEventHandler().handleEvent(new Event(new ResourceID(name, namespace)));
        }
    }

    void fire(HasMetadata object) {
        fire(object.getMetadata().getNamespace(), object.getMetadata().getName());
    }

    @Override
    public Set<Void> getSecondaryResources(P primary) {
        return Set.of();
    }
}

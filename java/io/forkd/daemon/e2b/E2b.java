package io.forkd.daemon.e2b;

import io.forkd.daemon.Guests;
import io.forkd.daemon.Quota;
import io.forkd.engine.Engine;
import io.forkd.engine.Events;
import io.forkd.http.Routes;

/** The whole interface. */
public final class E2b {
    private E2b() {}

    /** Beside what is there. */
    public static void addTo(Routes routes, Engine engine, Guests guests, Quota quota) {
        SettingsStore settings = new SettingsStore(engine.dataDirectory().resolve("e2b"));
        ControlRoutes control = new ControlRoutes(engine, guests, quota, settings);
        engine.events().listen(event -> {
            if (event.kind() == Events.Kind.ENDED) {
                settings.forget(event.of());
            }
        });
        control.sweep();
        control.addTo(routes);
        new Traffic(guests, settings).addTo(routes);
    }
}

package io.forkd.daemon.e2b;

import io.forkd.daemon.Branching;
import io.forkd.daemon.Guests;
import io.forkd.daemon.Pulls;
import io.forkd.daemon.Quota;
import io.forkd.daemon.Removals;
import io.forkd.engine.Engine;
import io.forkd.engine.Events;
import io.forkd.http.Routes;
import java.nio.file.Path;

/** The whole interface. */
public final class E2b {
    private E2b() {}

    /** What of the daemon it stands on. */
    public record Parts(
            Engine engine, Guests guests, Quota quota, Branching branching, Pulls pulls, Removals removals) {}

    /** Beside what is there. What is returned ends what goes on by itself. */
    public static AutoCloseable addTo(Routes routes, Parts parts) {
        Path directory = parts.engine().dataDirectory().resolve("e2b");
        SettingsStore settings = new SettingsStore(directory);
        Bodies bodies = new Bodies();
        Uploads uploads = new Uploads(directory, bodies);
        Builds builds = new Builds(parts, uploads);
        ControlRoutes control = new ControlRoutes(parts, settings);
        parts.engine().events().listen(event -> {
            if (event.kind() == Events.Kind.ENDED) {
                settings.forget(event.of());
            }
        });
        control.sweep();
        control.addTo(routes);
        new TemplateRoutes(parts, builds, uploads).addTo(routes);
        new Traffic(parts.guests(), settings, bodies).addTo(routes);
        return () -> {
            builds.close();
            uploads.close();
        };
    }
}

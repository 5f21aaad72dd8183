package io.forkd.daemon;

import java.io.IOException;
import org.junit.jupiter.api.extension.AfterAllCallback;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.BeforeAllCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/** What tests of front ends in packages of their own have of a {@link Service}: sandboxes, and the way to their guests. */
public final class FrontEnd implements BeforeAllCallback, AfterEachCallback, AfterAllCallback {
    private static final int CALLS = 64;

    private final Service service = new Service();

    @Override
    public void beforeAll(ExtensionContext tests) throws IOException, InterruptedException {
        service.beforeAll(tests);
    }

    @Override
    public void afterEach(ExtensionContext test) {
        service.afterEach(test);
    }

    @Override
    public void afterAll(ExtensionContext tests) throws IOException {
        service.afterAll(tests);
    }

    public String sandbox() {
        return service.sandbox();
    }

    public Guests guests() {
        return new Guests(service.beside(), new GuestCalls(CALLS), new GuestCalls(2 * CALLS));
    }
}

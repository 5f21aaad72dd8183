package io.forkd.daemon.e2b;

import io.forkd.http.Body;
import io.forkd.http.HttpFailure;
import java.util.List;
import java.util.Optional;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;

/**
 * What a template is built from, and how.
 *
 * @param image a container image, or else
 * @param template another template
 * @param login for the image's registry
 * @param start command that goes on in each sandbox
 * @param ready command that ends with 0 as soon as the template is what it is to be
 */
record BuildOrder(
        Optional<String> image,
        Optional<String> template,
        Optional<Login> login,
        List<Step> steps,
        Optional<String> start,
        Optional<String> ready) {
    /** A user's at a registry. */
    record Login(String user, String password) {
        @Override
        public String toString() {
            return user;
        }
    }

    static BuildOrder of(Body body) {
        Optional<String> image = text(body, "fromImage");
        Optional<String> template = text(body, "fromTemplate");
        if (image.isPresent() == template.isPresent()) {
            throw new HttpFailure(400, "exactly one of fromImage and fromTemplate has to be given");
        }
        return new BuildOrder(
                image,
                template,
                body.optionalObject("fromImageRegistry").map(BuildOrder::login),
                Step.list(body.optionalJson("steps")
                        .<JsonNode>map(steps -> steps)
                        .orElseGet(JsonNodeFactory.instance::arrayNode)),
                text(body, "startCmd"),
                text(body, "readyCmd"));
    }

    private static Optional<String> text(Body body, String name) {
        return body.optionalText(name).filter(text -> !text.isEmpty());
    }

    private static Login login(Body registry) {
        return switch (registry.text("type")) {
            case "registry" -> new Login(registry.text("username"), registry.text("password"));
            case "gcp" -> new Login("_json_key", registry.text("serviceAccountJson"));
            default -> throw new HttpFailure(400, "fromImageRegistry.type must be registry or gcp here");
        };
    }
}

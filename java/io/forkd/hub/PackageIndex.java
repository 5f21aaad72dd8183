package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Json;
import io.forkd.image.Digest;
import io.forkd.image.Reach;
import io.forkd.image.WebFile;
import io.forkd.image.Work;
import java.net.URI;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/** A list of packs by names, as the published hub has one: {@code registry.json}. */
public final class PackageIndex {
    private static final Pattern NAME = Pattern.compile(
            "(?<package>[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*)(@(?<version>[A-Za-z0-9_][A-Za-z0-9._+-]*))?");
    private static final String LATEST = "latest";
    private static final int MOST_BYTES = 8 << 20;
    private static final int MOST_TOKENS = 1 << 20;
    private static final int SCHEMA = 1;

    /** How many names of others an error has. */
    private static final int SHOWN = 20;

    private final URI address;
    private final Reach reach;
    private final Map<String, String> environment;
    private final Work work;

    public PackageIndex(URI address, Reach reach, Map<String, String> environment, Work work) {
        this.address = address;
        this.reach = reach;
        this.environment = environment;
        this.work = work;
    }

    /**
     * Where a pack is.
     *
     * @param sha256 of the file, where the list says that
     */
    public record Found(URI address, Optional<Digest> sha256) {}

    /** Whether it is the form of a name: {@code owner/name}, or {@code owner/name@version}. */
    public static boolean isName(String text) {
        return NAME.matcher(text).matches();
    }

    /** Looks a name up; without a version it is {@code latest}. */
    public Found find(String name) {
        Matcher parts = NAME.matcher(name);
        if (!parts.matches()) {
            throw new ForkdException(
                    Kind.USAGE, "not a package of a hub: " + name, "It is OWNER/NAME, or OWNER/NAME@VERSION.");
        }
        JsonNode packages = read().path("packages");
        String wanted = Optional.ofNullable(parts.group("package")).orElseThrow();
        if (!packages.path(wanted).isObject()) {
            throw notThere("no package '" + wanted + "'", packages);
        }
        JsonNode versions = packages.path(wanted).path("versions");
        String version = Optional.ofNullable(parts.group("version")).orElse(LATEST);
        JsonNode found = versions.path(version);
        if (!found.isObject()) {
            throw notThere("no version '" + version + "' of " + wanted, versions);
        }
        return found(wanted + "@" + version, found);
    }

    private ForkdException notThere(String what, JsonNode others) {
        List<String> names =
                others.propertyNames().stream().sorted().limit(SHOWN).toList();
        return new ForkdException(
                Kind.NOT_FOUND,
                "the hub " + WebFile.shown(address) + " has " + what,
                names.isEmpty()
                        ? "It has nothing: check its address."
                        : "It has "
                                + names.stream().map(PackageIndex::printable).collect(Collectors.joining(", "))
                                + (others.size() > SHOWN ? ", and others." : "."));
    }

    private Found found(String name, JsonNode version) {
        String url = version.path("url").asString("");
        if (url.isEmpty()) {
            throw damaged("it says no address of " + name);
        }
        URI pack;
        try {
            pack = WebFile.parse(address.resolve(url).toString());
        } catch (ForkdException | IllegalArgumentException e) {
            throw damaged("the address of " + name + " is none");
        }
        if (address.getScheme().equals("https") && !pack.getScheme().equals("https")) {
            throw damaged("the address of " + name + " is " + pack.getScheme() + "://, which is not secure");
        }
        String hash = version.path("sha256").asString("");
        if (hash.isEmpty()) {
            return new Found(pack, Optional.empty());
        }
        try {
            return new Found(pack, Optional.of(new Digest("sha256", hash.toLowerCase(Locale.ROOT))));
        } catch (ForkdException e) {
            throw damaged("the sha256 of " + name + " is none");
        }
    }

    private JsonNode read() {
        work.begin("Reading the hub " + WebFile.shown(address), 0);
        try (WebFile file = new WebFile(address, reach, environment, work)) {
            JsonNode root = Json.parse(file.read(MOST_BYTES), MOST_TOKENS);
            int schema = root.path("schema_version").asInt(0);
            if (schema > SCHEMA) {
                throw new ForkdException(
                        Kind.UNSUPPORTED,
                        "the hub " + WebFile.shown(address) + " has schema_version " + schema
                                + ", and this forkd reads " + SCHEMA,
                        "Use a newer forkd.");
            }
            if (!root.path("packages").isObject()) {
                throw damaged("it has no \"packages\"");
            }
            return root;
        } catch (JacksonException e) {
            throw damaged("it is not JSON: " + printable(e.getOriginalMessage()));
        }
    }

    private ForkdException damaged(String why) {
        return new ForkdException(
                Kind.DAMAGED,
                "the hub " + WebFile.shown(address) + " cannot be used: " + why,
                "Check its address, or tell who keeps it.");
    }

    private static String printable(String text) {
        return text.replaceAll("\\p{C}", "?");
    }
}

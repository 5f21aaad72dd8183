package io.forkd;

import java.util.EnumMap;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Function;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** What a guest may use of the host. What is not said is the default, or that of what it is forked of. */
public record Limits(Map<Limit, Long> values) {
    public static final Limits NONE = new Limits(Map.of());

    public Limits {
        values = Map.copyOf(values);
    }

    /** Those that are said. */
    public static Limits of(Function<Limit, OptionalLong> said) {
        Map<Limit, Long> values = new EnumMap<>(Limit.class);
        for (Limit limit : Limit.values()) {
            said.apply(limit).ifPresent(value -> values.put(limit, value));
        }
        return new Limits(values);
    }

    public OptionalLong get(Limit limit) {
        Long value = values.get(limit);
        return value == null ? OptionalLong.empty() : OptionalLong.of(value);
    }

    /** Whether they say a limit, and not that there is none. */
    public boolean bounds(Limit limit) {
        return get(limit).stream().anyMatch(limit::bounds);
    }

    /** These, and of what they do not say those. */
    public Limits over(Limits others) {
        return of(limit -> get(limit).isPresent() ? get(limit) : others.get(limit));
    }

    /** The first that allows more than those do; they are the usual ones where they say nothing. */
    public Optional<Limit> beyond(Limits others) {
        return values.entrySet().stream()
                .filter(said -> said.getKey()
                        .isMore(
                                said.getValue(),
                                others.get(said.getKey()).orElse(said.getKey().standard())))
                .map(Map.Entry::getKey)
                .sorted()
                .findFirst();
    }

    /** Adds a field for each. */
    public void put(ObjectNode node) {
        for (Limit limit : Limit.values()) {
            get(limit).ifPresent(value -> {
                if (limit.decimals() > 0) {
                    node.put(limit.field(), limit.shown(value));
                } else {
                    node.put(limit.field(), value);
                }
            });
        }
    }

    /** Those of such an object; empty when it has one that is no number of the right size. */
    public static Optional<Limits> in(ObjectNode node) {
        Map<Limit, Long> values = new EnumMap<>(Limit.class);
        for (Limit limit : Limit.values()) {
            JsonNode value = node.path(limit.field());
            if (value.isMissingNode()) {
                continue;
            }
            OptionalLong number = value.isIntegralNumber() || (value.isNumber() && limit.decimals() > 0)
                    ? value.decimalValueOpt().map(limit::value).orElse(OptionalLong.empty())
                    : OptionalLong.empty();
            if (number.isEmpty() || !limit.allows(number.getAsLong())) {
                return Optional.empty();
            }
            values.put(limit, number.getAsLong());
        }
        return Optional.of(new Limits(values));
    }
}

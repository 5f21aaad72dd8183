package io.forkd.cli;

import io.forkd.engine.Engine;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.AutoComplete;
import picocli.CommandLine;
import picocli.CommandLine.Help;
import picocli.CommandLine.Help.IParamLabelRenderer;
import picocli.CommandLine.Model.ArgSpec;
import picocli.CommandLine.Model.CommandSpec;

/**
 * Writes a manual page for each verb, and the completion of bash, below a prefix. Used by the build only. picocli's own
 * generator writes AsciiDoc, for which the build would need a Ruby.
 */
final class Manual {
    private static final String SECTION = "1";

    private Manual() {}

    public static void main(String[] arguments) throws IOException {
        Path prefix = Path.of(arguments[0]);
        PrintStream nowhere = new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8);
        CommandLine root = Main.commandLine(Shell.of(nowhere, nowhere, false, Map.of("HOME", "/")));

        Path pages = Files.createDirectories(prefix.resolve("share/man/man" + SECTION));
        write(root, pages);
        Path completions = Files.createDirectories(prefix.resolve("share/bash-completion/completions"));
        Files.writeString(completions.resolve("forkd"), AutoComplete.bash("forkd", root));
    }

    private static void write(CommandLine command, Path pages) throws IOException {
        Files.writeString(pages.resolve(name(command) + "." + SECTION), page(command));
        for (CommandLine verb : command.getSubcommands().values()) {
            write(verb, pages);
        }
    }

    /** As git has it: forkd-kernel-install. */
    private static String name(CommandLine command) {
        return command.getCommandSpec().qualifiedName("-");
    }

    private static String page(CommandLine command) {
        CommandSpec spec = command.getCommandSpec();
        List<String> about = List.of(spec.usageMessage().description());
        Help help = new Help(spec, Help.defaultColorScheme(Help.Ansi.OFF));
        IParamLabelRenderer labels = help.parameterLabelRenderer();

        StringBuilder page = new StringBuilder();
        page.append(".TH %s %s \"\" \"forkd %s\" forkd\n"
                .formatted(name(command).toUpperCase(Locale.ROOT), SECTION, Engine.VERSION));
        // Nothing is hyphenated or stretched: much of it is words to type.
        page.append(".nh\n.ad l\n");
        page.append(".SH NAME\n%s \\- %s\n".formatted(escape(name(command)), escape(summary(spec))));
        page.append(
                ".SH SYNOPSIS\n%s\n".formatted(escape(help.synopsis(0).strip().replaceAll("\\s+", " "))));
        page.append(".SH DESCRIPTION\n");
        about.forEach(paragraph -> page.append(".PP\n%s\n".formatted(escape(paragraph))));

        page.append(section(
                "ARGUMENTS",
                spec.positionalParameters().stream()
                        .filter(each -> !each.hidden())
                        .map(each -> entry("", each, labels))));
        page.append(section(
                "OPTIONS",
                spec.options().stream()
                        .filter(each -> !each.hidden())
                        .map(each -> entry(String.join(", ", each.names()), each, labels))));
        page.append(section(
                "VERBS",
                command.getSubcommands().values().stream()
                        .map(verb -> entry(reference(verb), summary(verb.getCommandSpec())))));
        if (command.getParent() == null) {
            page.append(".SH \"EXIT STATUS\"\n0: done; 1: failed; 2: wrong usage; 130: interrupted. exec and run exit"
                    + " with the status of the guest's command, or with 124, 126 and 127 as a shell would.\n");
        } else {
            page.append(".SH \"SEE ALSO\"\n%s\n".formatted(escape(reference(command.getParent()))));
        }
        return page.toString();
    }

    private static String reference(CommandLine command) {
        return "%s(%s)".formatted(name(command), SECTION);
    }

    /** What it does, in a line, for lists: the first sentence, or what stands before its colon. */
    private static String summary(CommandSpec spec) {
        String[] about = spec.usageMessage().description();
        return about.length == 0 ? "" : about[0].split("[.:;](\\s|$)", 2)[0];
    }

    private static String section(String title, Stream<String> entries) {
        String content = entries.collect(Collectors.joining());
        return content.isEmpty() ? "" : ".SH %s\n%s".formatted(title, content);
    }

    private static String entry(String names, ArgSpec argument, IParamLabelRenderer labels) {
        return entry(
                names + labels.renderParameterLabel(argument, Help.Ansi.OFF, List.of()),
                String.join(" ", argument.description()));
    }

    private static String entry(String term, String meaning) {
        return ".TP\n.B %s\n%s\n".formatted(escape(term), escape(meaning));
    }

    /** As text of roff: no line of it is a request, and a hyphen is what a shell takes for one. */
    private static String escape(String text) {
        String escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("\"", "\\(dq");
        return escaped.startsWith(".") || escaped.startsWith("'") ? "\\&" + escaped : escaped;
    }
}

package io.forkd.kernel;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/** The modules under {@code lib/modules/<version>}, as a package has them: depmod has not been there yet. */
final class ModuleTree {
    /** What modules ask for by an alias rather than by name. */
    private static final Map<String, List<String>> PROVIDERS =
            Map.of("crc32c", List.of("crc32c_intel", "crc32c_generic"));

    private final Map<String, Path> files = new HashMap<>();
    private final Set<String> builtIn;

    ModuleTree(Path root) throws IOException {
        Files.walkFileTree(root, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
                String name = Packed.bare(file.getFileName().toString());
                if (name.endsWith(".ko")) {
                    files.put(name(name), file);
                }
                return FileVisitResult.CONTINUE;
            }
        });
        builtIn = Files.readAllLines(root.resolve("modules.builtin")).stream()
                .map(line -> name(line.substring(line.lastIndexOf('/') + 1)))
                .collect(Collectors.toSet());
    }

    private static String name(String file) {
        return KernelModule.canonical(file.replaceFirst("\\.ko$", ""));
    }

    /**
     * The modules to load, in order, with all that they need.
     *
     * @param required an error when the kernel has one neither as a module nor built in
     * @param optional left out then
     */
    List<KernelModule> closure(List<String> required, List<String> optional) {
        for (String name : required) {
            if (!files.containsKey(name) && !builtIn.contains(name)) {
                throw new ForkdException(
                        Kind.FAILED,
                        "this kernel cannot be a guest: it has no " + name,
                        Remedy.Action.OTHER_KERNEL_PACKAGE);
            }
        }
        Map<String, KernelModule> ordered = new LinkedHashMap<>();
        required.forEach(name -> add(name, ordered));
        optional.forEach(name -> add(name, ordered));
        return List.copyOf(ordered.values());
    }

    private void add(String name, Map<String, KernelModule> ordered) {
        PROVIDERS.getOrDefault(name, List.of()).forEach(provider -> add(provider, ordered));
        Path file = files.get(name);
        if (file == null || builtIn.contains(name) || ordered.containsKey(name)) {
            return;
        }
        try (InputStream in = Packed.open(file.toString(), Files.newInputStream(file))) {
            KernelModule module = KernelModule.parse(name, in.readAllBytes());
            module.dependencies().forEach(dependency -> add(dependency, ordered));
            ordered.put(name, module);
        } catch (IOException e) {
            throw ForkdException.of("read the module " + file, e);
        }
    }
}

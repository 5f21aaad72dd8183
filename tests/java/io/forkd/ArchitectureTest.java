package io.forkd;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

/** Which package may know which; docs/architecture.md has the picture. */
class ArchitectureTest {
    private final JavaClasses classes = new ClassFileImporter()
            .withImportOption(new ImportOption.DoNotIncludeTests())
            .importPackages("io.forkd");

    @Test
    void packages_depend_on_each_other_in_one_direction() {
        layeredArchitecture()
                .consideringOnlyDependenciesInLayers()
                .layer("cli")
                .definedBy("io.forkd.cli..")
                .layer("bench")
                .definedBy("io.forkd.bench..")
                .layer("daemon")
                .definedBy("io.forkd.daemon..")
                .layer("hub")
                .definedBy("io.forkd.hub..")
                .layer("engine")
                .definedBy("io.forkd.engine..")
                .layer("snapshot")
                .definedBy("io.forkd.snapshot..")
                .layer("pack")
                .definedBy("io.forkd.pack..")
                .layer("sandbox")
                .definedBy("io.forkd.sandbox..")
                .layer("agent")
                .definedBy("io.forkd.agent..")
                .layer("network")
                .definedBy("io.forkd.network..")
                .layer("cgroup")
                .definedBy("io.forkd.cgroup..")
                .layer("kernel")
                .definedBy("io.forkd.kernel..")
                .layer("rootfs")
                .definedBy("io.forkd.rootfs..")
                .layer("image")
                .definedBy("io.forkd.image..")
                .layer("http")
                .definedBy("io.forkd.http..")
                .layer("vmm")
                .definedBy("io.forkd.vmm..")
                .layer("files")
                .definedBy("io.forkd.files..")
                .whereLayer("cli")
                .mayNotBeAccessedByAnyLayer()
                .whereLayer("bench")
                .mayOnlyBeAccessedByLayers("cli")
                .whereLayer("daemon")
                .mayOnlyBeAccessedByLayers("cli")
                .whereLayer("hub")
                .mayOnlyBeAccessedByLayers("cli")
                .whereLayer("engine")
                .mayOnlyBeAccessedByLayers("cli", "bench", "daemon", "hub")
                .whereLayer("snapshot")
                .mayOnlyBeAccessedByLayers("cli", "hub", "bench", "daemon", "engine", "pack")
                .whereLayer("pack")
                .mayOnlyBeAccessedByLayers("cli", "hub", "engine")
                .whereLayer("pack")
                .mayOnlyAccessLayers("snapshot", "files")
                .whereLayer("sandbox")
                .mayOnlyBeAccessedByLayers("cli", "daemon", "engine")
                .whereLayer("agent")
                .mayOnlyBeAccessedByLayers("cli", "bench", "daemon", "engine")
                .whereLayer("network")
                .mayOnlyBeAccessedByLayers("cli", "bench", "daemon", "engine", "snapshot", "sandbox")
                .whereLayer("network")
                .mayOnlyAccessLayers("files")
                .whereLayer("cgroup")
                .mayOnlyBeAccessedByLayers("cli", "daemon", "engine")
                .whereLayer("cgroup")
                .mayOnlyAccessLayers("files")
                .whereLayer("kernel")
                .mayOnlyBeAccessedByLayers("cli", "daemon", "engine")
                .whereLayer("rootfs")
                .mayOnlyBeAccessedByLayers("cli", "hub", "daemon", "engine")
                .whereLayer("image")
                .mayOnlyBeAccessedByLayers("cli", "hub", "daemon", "engine", "rootfs")
                .whereLayer("http")
                .mayOnlyBeAccessedByLayers("cli", "daemon")
                .whereLayer("http")
                .mayOnlyAccessLayers("files")
                .whereLayer("vmm")
                .mayOnlyBeAccessedByLayers("engine")
                .check(classes);
    }

    @Test
    void there_are_no_cycles() {
        slices().matching("io.forkd.(*)..").should().beFreeOfCycles().check(classes);
    }

    @Test
    void native_pointers_stay_in_the_binding() {
        noClasses()
                .that()
                .resideOutsideOfPackage("io.forkd.vmm")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("org.bytedeco..")
                .check(classes);
    }

    @Test
    void only_the_command_line_knows_its_parser() {
        noClasses()
                .that()
                .resideOutsideOfPackage("io.forkd.cli")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("picocli..")
                .check(classes);
    }

    @Test
    void only_the_http_layer_knows_its_server_and_its_metrics() {
        noClasses()
                .that()
                .resideOutsideOfPackage("io.forkd.http")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("org.eclipse.jetty..", "io.prometheus..")
                .check(classes);
    }
}

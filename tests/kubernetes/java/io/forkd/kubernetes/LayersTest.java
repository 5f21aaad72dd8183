package io.forkd.kubernetes;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;

import com.tngtech.archunit.ArchConfiguration;
import com.tngtech.archunit.base.DescribedPredicate;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** Which package may know which; docs/kubernetes.md says why. */
class LayersTest {
    private final JavaClasses classes = classes();

    private static JavaClasses classes() {
        // What others are made of does not matter, and is thousands of classes.
        ArchConfiguration.get().setResolveMissingDependenciesFromClassPath(false);
        return new ClassFileImporter()
                .withImportOption(new ImportOption.DoNotIncludeTests())
                .importPath(Path.of("../../target/kubernetes/classes"));
    }

    @Test
    void operator_agent_and_gateway_know_resources_and_not_each_other() {
        layeredArchitecture()
                .consideringOnlyDependenciesInLayers()
                .layer("program")
                .definedBy("io.forkd.kubernetes")
                .layer("operator")
                .definedBy("io.forkd.kubernetes.operator..")
                .layer("node")
                .definedBy("io.forkd.kubernetes.node..")
                .layer("gateway")
                .definedBy("io.forkd.kubernetes.gateway..")
                .layer("resource")
                .definedBy("io.forkd.kubernetes.resource..")
                .whereLayer("operator")
                .mayOnlyBeAccessedByLayers("program")
                .whereLayer("node")
                .mayOnlyBeAccessedByLayers("program")
                .whereLayer("gateway")
                .mayOnlyBeAccessedByLayers("program")
                .whereLayer("resource")
                .mayNotAccessAnyLayer()
                .check(classes);
    }

    @Test
    void of_forkd_itself_they_know_what_serves_http_alone() {
        noClasses()
                .should()
                .dependOnClassesThat(DescribedPredicate.describe(
                        "are forkd's, and neither these nor of HTTP",
                        (JavaClass each) -> each.getPackageName().startsWith("io.forkd.")
                                && !each.getPackageName().startsWith("io.forkd.kubernetes")
                                && !each.getPackageName().startsWith("io.forkd.http")))
                .check(classes);
    }

    @Test
    void only_the_operator_knows_its_framework() {
        noClasses()
                .that()
                .resideOutsideOfPackage("io.forkd.kubernetes.operator")
                .should()
                .dependOnClassesThat()
                .resideInAnyPackage("io.javaoperatorsdk..")
                .check(classes);
    }
}

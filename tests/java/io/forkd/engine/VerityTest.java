package io.forkd.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import io.forkd.Remedy;
import io.forkd.engine.Snapshots.Verified;
import io.forkd.vmm.MemoryVmm.Fault;
import io.forkd.vmm.MemoryVmm.Step;
import io.forkd.vmm.NativeError;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Snapshots whose memory the kernel checks as it is read. */
class VerityTest {
    private World world;

    @BeforeEach
    void makeWorld() throws IOException {
        world = new World("0");
        world.vmm.hasVerity(true);
        world.engine.snapshot(world.booting("base", false), World.call());
    }

    @AfterEach
    void close() throws IOException {
        world.close();
    }

    private Path memory(String tag, String name) {
        return world.engine.store().directory(World.tag(tag)).resolve(name);
    }

    private List<Boolean> verify(String tag) {
        return world.engine.snapshots().verify(World.tag(tag), World.call()).snapshots().stream()
                .map(Verified::verity)
                .toList();
    }

    private SnapshotInfo info(String tag) {
        return world.engine.snapshots().info(World.tag(tag), World.call());
    }

    private static void replaceByCopy(Path file) throws IOException {
        Path copy = file.resolveSibling("copy");
        Files.copy(file, copy, StandardCopyOption.COPY_ATTRIBUTES);
        Files.move(copy, file, StandardCopyOption.ATOMIC_MOVE);
    }

    private void assertNotStarted(String tag, String why) {
        int servers = world.vmm.servers();
        assertThatThrownBy(() -> world.text(tag))
                .isInstanceOfSatisfying(ForkdException.class, e -> {
                    assertThat(e.kind()).isEqualTo(Kind.DAMAGED);
                    assertThat(e.remedy()).isEqualTo(new Remedy.VerifySnapshot(tag));
                })
                .hasMessageContaining("the memory of the snapshot '" + tag + "', is not the file that it was")
                .hasMessageContaining(why);
        assertThat(world.vmm.servers()).isEqualTo(servers);
        assertThat(info(tag).problem())
                .hasValueSatisfying(problem -> assertThat(problem).contains(why));
    }

    @Test
    void verify_turns_it_on_and_a_start_looks_for_it() {
        String said = world.text("base");
        assertThat(info("base").verity())
                .as("nothing is read to take a snapshot")
                .isFalse();
        assertThat(verify("base")).containsExactly(true);
        assertThat(verify("base")).as("and again").containsExactly(true);
        assertThat(info("base").verity()).isTrue();
        assertThat(info("base").problem()).isEmpty();
        assertThat(world.text("base")).isEqualTo(said);
    }

    @Test
    void file_without_it_in_its_place_is_not_started_until_it_is_verified() throws IOException {
        verify("base");
        replaceByCopy(memory("base", "memory.bin"));
        assertNotStarted("base", "no fs-verity any more");
        assertThat(verify("base")).containsExactly(true);
        assertThat(world.text("base")).isNotEmpty();
    }

    @Test
    void file_system_without_it_is_enough_for_what_was_verified_there() {
        verify("base");
        world.vmm.hasVerity(false);
        assertNotStarted("base", "no fs-verity any more");
        assertThat(verify("base")).containsExactly(false);
        assertThat(info("base").verity()).isFalse();
        assertThat(world.text("base")).isNotEmpty();
    }

    @Test
    void other_file_with_it_in_its_place_is_not_started_and_not_verified() throws IOException {
        verify("base");
        Path memory = memory("base", "memory.bin");
        Path other = memory.resolveSibling("other");
        byte[] bytes = Files.readAllBytes(memory);
        bytes[100] ^= 1;
        Files.write(other, bytes);
        Files.setLastModifiedTime(other, Files.getLastModifiedTime(memory));
        Files.move(other, memory, StandardCopyOption.ATOMIC_MOVE);
        world.vmm.enableVerity(memory);
        assertNotStarted("base", "it has the fs-verity digest ");
        assertThatThrownBy(() -> verify("base")).hasMessageContaining("'base' is damaged: it has the content ");
        assertNotStarted("base", "it has the fs-verity digest ");
    }

    @Test
    void file_system_that_has_none_is_not_mentioned() {
        world.vmm.hasVerity(false);
        List<String> warnings = new ArrayList<>();
        assertThat(world.engine
                        .snapshots()
                        .verify(World.tag("base"), warned(warnings))
                        .snapshots())
                .extracting(Verified::verity)
                .containsExactly(false);
        assertThat(warnings).isEmpty();
        assertThat(world.text("base")).isNotEmpty();
    }

    @Test
    void full_disk_is_a_warning() {
        world.vmm.plan((number, step) -> step == Step.VERITY ? new Fault.Fails(NativeError.ENOSPC) : Fault.NONE);
        List<String> warnings = new ArrayList<>();
        assertThat(world.engine
                        .snapshots()
                        .verify(World.tag("base"), warned(warnings))
                        .snapshots())
                .extracting(Verified::verity)
                .containsExactly(false);
        assertThat(warnings).singleElement().asString().contains("the memory of the snapshot 'base' is not checked");
        assertThat(info("base").verity()).isFalse();
    }

    @Test
    void memory_of_a_chain_has_it_until_it_is_put_together_anew() throws IOException {
        world.engine.diff(World.changing("base", "layer", "changed", false), World.call());
        assertThat(verify("layer")).containsExactly(true, true);
        assertThat(world.text("layer")).isEqualTo("changed");
        replaceByCopy(memory("layer", "memory.flat"));
        assertNotStarted("layer", "no fs-verity any more");
        Files.delete(memory("layer", "memory.flat"));
        assertThat(world.text("layer")).as("a cache, which is made again").isEqualTo("changed");
        assertThat(info("layer").verity()).isFalse();
    }

    @Test
    void flat_snapshot_keeps_it() {
        world.engine.diff(World.changing("base", "layer", "changed", false), World.call());
        verify("layer");
        world.engine.snapshots().compact(World.tag("layer"), World.call());
        assertThat(info("layer").verity()).isTrue();
        assertThat(world.text("layer")).isEqualTo("changed");
    }

    private static Call warned(List<String> warnings) {
        return new Call(
                new Progress() {
                    @Override
                    public void step(String what) {}

                    @Override
                    public void warn(String what, Remedy remedy) {
                        warnings.add(what);
                    }
                },
                Optional.empty());
    }
}

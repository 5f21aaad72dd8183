package io.forkd.snapshot;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class VolumeTest {
    @Test
    void volume_is_writable_unless_said() {
        assertThat(Volume.parse("/a.ext4:/mnt")).isEqualTo(new Volume(Path.of("/a.ext4"), "/mnt", false));
        assertThat(Volume.parse("/a.ext4:/mnt:rw").readOnly()).isFalse();
        assertThat(Volume.parse("/a.ext4:/mnt:ro").readOnly()).isTrue();
    }

    @ParameterizedTest
    @CsvSource({
        "/a, it must be HOST:GUEST",
        ":/b, it must be HOST:GUEST",
        "/a:, it must be HOST:GUEST",
        "/a:/b:ro:x, it must be HOST:GUEST",
        "/a:/b:read, 'read' is neither ro nor rw",
        "/a:/b:, '' is neither ro nor rw",
        "a:/b, the host path must be absolute",
        "/a:b, the guest path must be absolute",
        "/a:/, and not /",
        "/a:/b c, kernel command line",
        "'/a:/b,c', kernel command line",
    })
    void other_text_is_refused_with_its_reason(String text, String reason) {
        assertThatThrownBy(() -> Volume.parse(text)).hasMessageContaining(reason);
    }
}

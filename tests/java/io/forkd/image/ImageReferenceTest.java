package io.forkd.image;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.forkd.ForkdException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ImageReferenceTest {
    private static final String DIGEST = "sha256:" + "ab".repeat(32);

    @ParameterizedTest
    @CsvSource({
        "python:3.12-slim, docker.io/library/python:3.12-slim",
        "python, docker.io/library/python:latest",
        "user/repo, docker.io/user/repo:latest",
        "docker.io/python, docker.io/library/python:latest",
        "docker://ghcr.io/u/r:1, ghcr.io/u/r:1",
        "ghcr.io/user/repo:tag, ghcr.io/user/repo:tag",
        "localhost/x, localhost/x:latest",
        "localhost:5000/team/py:1, localhost:5000/team/py:1",
        "'[::1]:5000/py', '[::1]:5000/py:latest'"
    })
    void names_are_completed_as_docker_does(String given, String complete) {
        assertThat(ImageReference.parse(given)).hasToString(complete);
    }

    @Test
    void digest_counts_more_than_tag() {
        ImageReference.InRegistry image =
                (ImageReference.InRegistry) ImageReference.parse("localhost:5000/py:1@" + DIGEST);
        assertThat(image.digest()).contains(Digest.parse(DIGEST));
        assertThat(image).hasToString("localhost:5000/py@" + DIGEST);
    }

    @Test
    void prefixes_name_folders_and_files() {
        assertThat(ImageReference.parse("oci:/a/b:1")).hasToString("oci:/a/b:1");
        assertThat(ImageReference.parse("oci-archive:/a.tar")).hasToString("oci-archive:/a.tar");
        assertThat(ImageReference.parse("docker-archive:/a.tar:x/y:2")).hasToString("docker-archive:/a.tar:x/y:2");
        assertThat(ImageReference.parse("docker-daemon:x:2")).hasToString("docker-daemon:x:2");
    }

    @ParameterizedTest
    @ValueSource(
            strings = {
                "",
                ":",
                "UPPER",
                "a b",
                "x:",
                "x:bad/tag:y z",
                "x@sha256:12",
                "x@md5:" + "00",
                "../x",
                "x//y",
                "-x",
                "host:99999999/x",
                "a_/b",
                "oci:",
                "docker-daemon:",
                "ex ample.com/x",
                "x\n"
            })
    void bad_ones_are_refused_as_wrong_usage(String bad) {
        assertThatThrownBy(() -> ImageReference.parse(bad))
                .isInstanceOfSatisfying(
                        ForkdException.class, e -> assertThat(e.kind()).isEqualTo(ForkdException.Kind.USAGE));
    }

    @ParameterizedTest
    @CsvSource({"python:3.12-slim, python-3-12-slim", "localhost:5000/py:1, localhost-5000-py-1", "/x/, x"})
    void slug_has_letters_digits_and_dashes(String reference, String slug) {
        assertThat(ImageReference.slug(reference)).isEqualTo(slug);
    }
}

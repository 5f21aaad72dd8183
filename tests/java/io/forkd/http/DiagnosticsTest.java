package io.forkd.http;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DiagnosticsTest {
    @ParameterizedTest
    @CsvSource({
        "'', defaultLogLevel, info",
        "nonsense, defaultLogLevel, info",
        "DEBUG, defaultLogLevel, debug",
        "'warn,forkd=debug', defaultLogLevel, warn",
        "'warn,forkd=debug', log.forkd, debug",
        "forkd_controller=trace, log.forkd, trace",
        "org.eclipse.jetty=debug, log.org.eclipse.jetty, debug",
        "debug, log.org.eclipse.jetty, warn",
    })
    void levels_are_read_from_the_environment(String wanted, String setting, String value) {
        assertThat(Diagnostics.settings(wanted)).containsEntry(setting, value);
    }
}

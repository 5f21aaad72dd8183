package io.forkd.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.StringReader;
import java.util.List;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.w3c.dom.Document;
import org.xml.sax.InputSource;

class SeriesTest {
    private static Series series(double... samples) {
        return new Series("time", "ms", DoubleStream.of(samples).boxed().toList());
    }

    @ParameterizedTest
    @CsvSource({"0, 1", "1, 1", "50, 50", "99, 99", "100, 100"})
    void a_percentile_is_a_sample(int percent, double expected) {
        double[] hundred =
                IntStream.rangeClosed(1, 100).mapToDouble(i -> 101 - i).toArray();
        assertThat(series(hundred).percentile(percent)).isEqualTo(expected);
    }

    @Test
    void one_sample_is_all_percentiles() {
        Series one = series(3);
        assertThat(List.of(one.least(), one.median(), one.percentile(99), one.most()))
                .containsOnly(3.0);
    }

    @Test
    void no_samples_are_refused() {
        assertThatThrownBy(() -> series()).hasMessageContaining("time");
    }

    @Test
    void a_plot_has_a_dot_for_each_sample_within_the_picture() throws Exception {
        String svg = Plot.svg("fork: 'a<b' & more", List.of(series(1, 2, 40), series(0)));
        Document document =
                DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new InputSource(new StringReader(svg)));
        var dots = document.getElementsByTagName("circle");
        assertThat(dots.getLength()).isEqualTo(4);
        assertThat(document.getElementsByTagName("text").item(0).getTextContent())
                .isEqualTo("fork: 'a<b' & more");
        double width = Double.parseDouble(document.getDocumentElement().getAttribute("width"));
        for (int i = 0; i < dots.getLength(); i++) {
            String x = dots.item(i).getAttributes().getNamedItem("cx").getNodeValue();
            assertThat(Double.parseDouble(x)).isBetween(0.0, width);
        }
    }
}

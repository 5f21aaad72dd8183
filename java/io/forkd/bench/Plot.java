package io.forkd.bench;

import java.util.List;
import java.util.Locale;

/** Draws series as an SVG image: a strip for each, from zero to its largest sample, a dot for each sample. */
public final class Plot {
    private static final int WIDTH = 720;
    private static final int TOP = 40;
    private static final int STRIP = 56;
    private static final int LEFT = 230;
    private static final int RIGHT = 20;

    private Plot() {}

    public static String svg(String title, List<Series> all) {
        StringBuilder svg = new StringBuilder();
        int height = TOP + STRIP * all.size() + 10;
        add(
                svg,
                "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' font-family='sans-serif'"
                        + " font-size='12' fill='#222'>",
                WIDTH,
                height);
        add(svg, "<rect width='100%%' height='100%%' fill='white'/>");
        add(svg, "<text x='10' y='24' font-size='15'>%s</text>", escape(title));
        for (int i = 0; i < all.size(); i++) {
            strip(svg, all.get(i), TOP + STRIP * i);
        }
        return svg.append("</svg>\n").toString();
    }

    private static void strip(StringBuilder svg, Series series, int top) {
        int base = top + 34;
        int end = WIDTH - RIGHT;
        double scale = series.most() > 0 ? (end - LEFT) / series.most() : 0;
        add(svg, "<text x='10' y='%d'>%s</text>", top + 20, escape(series.name()));
        add(
                svg,
                "<text x='10' y='%d' fill='#666'>p50 %s, p99 %s %s</text>",
                top + 36,
                number(series.median()),
                number(series.percentile(99)),
                escape(series.unit()));
        add(svg, "<path d='M%d %dH%d' stroke='#999'/>", LEFT, base, end);
        for (double sample : series.samples()) {
            add(
                    svg,
                    "<circle cx='%.1f' cy='%d' r='4' fill='#1f77b4' fill-opacity='0.4'/>",
                    LEFT + sample * scale,
                    base - 10);
        }
        double middle = LEFT + series.median() * scale;
        add(svg, "<path d='M%.1f %dv-24' stroke='#d62728' stroke-width='2'/>", middle, base);
        add(svg, "<text x='%d' y='%d' fill='#666'>0</text>", LEFT, base + 13);
        add(
                svg,
                "<text x='%d' y='%d' fill='#666' text-anchor='end'>%s %s</text>",
                end,
                base + 13,
                number(series.most()),
                escape(series.unit()));
    }

    private static void add(StringBuilder svg, String format, Object... arguments) {
        svg.append(String.format(Locale.ROOT, format, arguments)).append('\n');
    }

    private static String number(double value) {
        return String.format(Locale.ROOT, value < 10 ? "%.2f" : "%.1f", value);
    }

    private static String escape(String text) {
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;");
    }
}

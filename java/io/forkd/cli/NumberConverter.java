package io.forkd.cli;

import java.math.BigDecimal;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/** Of a number that may have decimals; what picocli says of one that is none is about Java. */
final class NumberConverter implements ITypeConverter<BigDecimal> {
    @Override
    public BigDecimal convert(String value) {
        try {
            return new BigDecimal(value);
        } catch (NumberFormatException e) {
            throw new TypeConversionException("'" + value + "' is not a number");
        }
    }
}

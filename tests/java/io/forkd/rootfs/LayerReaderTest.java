package io.forkd.rootfs;

import static org.assertj.core.api.Assertions.assertThat;

import io.forkd.image.OciImage;
import io.forkd.image.OciImage.Members;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Archives that are damaged in every byte: they are read, or refused as what they are. */
class LayerReaderTest {
    private static final int RECORD = 512;
    /** Headers are before that. */
    private static final int MOST = 7 * RECORD;

    private static final int CHECKSUM_AT = 148;
    private static final int CHECKSUM_LENGTH = 8;

    @TempDir
    Path scratch;

    @Test
    void damaged_archive_is_read_or_refused() throws Exception {
        Map<String, byte[]> xattrs =
                new TreeMap<>(Map.of("security.capability", OciImage.capability(), "user.text", new byte[] {'x'}));
        readDamaged(new Members()
                .directory("d", 0755)
                .xattrs(xattrs)
                .file("d/f", "x".repeat(600))
                .hardLink("d/g", "d/f")
                .at(-5_000_000_000L)
                .file("y".repeat(300), "y")
                .archive());
    }

    @ParameterizedTest
    @CsvSource({"gnu,0.0", "posix,0.0", "posix,0.1", "posix,1.0"})
    void damaged_archive_with_holes_is_read_or_refused(String format, String version) throws Exception {
        try (FileChannel file =
                FileChannel.open(scratch.resolve("holes"), StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
            for (int i = 0; i < 5; i++) {
                file.write(ByteBuffer.wrap("some data".getBytes(StandardCharsets.UTF_8)), (2 * i + 1) * 65_536L);
            }
        }
        Path archive = scratch.resolve("archive.tar");
        Tool.run(
                "tar",
                "--sparse",
                "--format=" + format,
                "--sparse-version=" + version,
                "-C",
                scratch.toString(),
                "-cf",
                archive.toString(),
                "holes");
        readDamaged(Files.readAllBytes(archive));
    }

    private static void readDamaged(byte[] archive) {
        int read = 0;
        for (int at = 0; at < Math.min(archive.length, MOST); at++) {
            for (int change : new int[] {0x01, 0x80, 0xff}) {
                byte[] damaged = archive.clone();
                damaged[at] ^= (byte) change;
                repair(damaged, at / RECORD * RECORD, archive);
                read += members(damaged) >= 0 ? 1 : 0;
            }
        }
        assertThat(read).isPositive();
    }

    /** Makes the checksum of a header right again, so that what is in it is looked at. */
    private static void repair(byte[] damaged, int record, byte[] archive) {
        byte[] before = Arrays.copyOfRange(archive, record, record + RECORD);
        byte[] stated = Arrays.copyOfRange(before, CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_LENGTH);
        if (Arrays.equals(checksum(before), Arrays.copyOf(stated, 6))) {
            System.arraycopy(
                    checksum(Arrays.copyOfRange(damaged, record, record + RECORD)),
                    0,
                    damaged,
                    record + CHECKSUM_AT,
                    6);
        }
    }

    private static byte[] checksum(byte[] header) {
        Arrays.fill(header, CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_LENGTH, (byte) ' ');
        int sum = 0;
        for (byte one : header) {
            sum += one & 0xff;
        }
        return String.format("%06o", sum).getBytes(StandardCharsets.US_ASCII);
    }

    /** How many there are; -1 for an archive that is refused. Anything else that is thrown is a fault of ours. */
    private static int members(byte[] archive) {
        int count = 0;
        try (LayerReader reader = new LayerReader(new ByteArrayInputStream(archive))) {
            for (Optional<Member> member = reader.next(); member.isPresent(); member = reader.next()) {
                count++;
                if (member.get().type() == Member.Type.FILE && member.get().size() < 4 << 20) {
                    InputStream content = reader.content();
                    content.transferTo(OutputStream.nullOutputStream());
                }
            }
            return count;
        } catch (IOException e) {
            return -1;
        }
    }
}

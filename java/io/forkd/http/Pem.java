package io.forkd.http;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Certificates and keys as OpenSSL writes them. */
final class Pem {
    /** A key store of the process has no secret to keep from the process. */
    static final String PASSWORD = "forkd";

    private static final int MOST_BYTES = 1 << 20;
    private static final Pattern BLOCK =
            Pattern.compile("-----BEGIN ([A-Z0-9 ]+)-----([^-]*)-----END \\1-----", Pattern.DOTALL);

    private Pem() {}

    /** The chain and its key, which must belong together. */
    static KeyStore keyStore(HttpOptions.Tls files) {
        List<Certificate> chain = certificates(files.certificates());
        PublicKey publicKey = chain.get(0).getPublicKey();
        PrivateKey key = key(files.key(), publicKey);
        try {
            if (!belong(key, publicKey)) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the key " + files.key() + " is not that of the certificate " + files.certificates(),
                        "The server's own certificate must be the first in its file.");
            }
            KeyStore store = KeyStore.getInstance("PKCS12");
            store.load(null, null);
            store.setKeyEntry("forkd", key, PASSWORD.toCharArray(), chain.toArray(Certificate[]::new));
            return store;
        } catch (GeneralSecurityException | IOException e) {
            throw new ForkdException(Kind.FAILED, "cannot use the key " + files.key() + " for TLS: " + e.getMessage());
        }
    }

    private static List<Certificate> certificates(Path file) {
        List<Certificate> chain = new ArrayList<>();
        Matcher blocks = BLOCK.matcher(read(file));
        while (blocks.find()) {
            if (!blocks.group(1).equals("CERTIFICATE")) {
                continue;
            }
            try {
                chain.add(CertificateFactory.getInstance("X.509")
                        .generateCertificate(new ByteArrayInputStream(content(blocks))));
            } catch (GeneralSecurityException | IllegalArgumentException e) {
                throw unreadable(file, e);
            }
        }
        if (chain.isEmpty()) {
            throw new ForkdException(Kind.FAILED, file + " holds no certificate in PEM form");
        }
        return chain;
    }

    private static PrivateKey key(Path file, PublicKey publicKey) {
        Matcher blocks = BLOCK.matcher(read(file));
        while (blocks.find()) {
            String type = blocks.group(1);
            if (!type.endsWith("PRIVATE KEY")) {
                continue;
            }
            if (type.startsWith("ENCRYPTED") || blocks.group(2).contains("ENCRYPTED")) {
                throw new ForkdException(
                        Kind.FAILED,
                        "the key " + file + " is encrypted",
                        "Decrypt it: openssl pkey -in " + file + " -out FILE");
            }
            try {
                byte[] der = content(blocks);
                return KeyFactory.getInstance(publicKey.getAlgorithm())
                        .generatePrivate(new PKCS8EncodedKeySpec(
                                type.equals("PRIVATE KEY") ? der : pkcs8(der, publicKey.getEncoded())));
            } catch (GeneralSecurityException | IllegalArgumentException e) {
                throw unreadable(file, e);
            }
        }
        throw new ForkdException(Kind.FAILED, file + " holds no private key in PEM form");
    }

    private static boolean belong(PrivateKey key, PublicKey publicKey) throws GeneralSecurityException {
        String algorithm = switch (publicKey.getAlgorithm()) {
            case "RSA" -> "SHA256withRSA";
            case "EC" -> "SHA256withECDSA";
            default -> publicKey.getAlgorithm();
        };
        Signature signature = Signature.getInstance(algorithm);
        byte[] text = {1, 2, 3};
        signature.initSign(key);
        signature.update(text);
        byte[] signed = signature.sign();
        signature.initVerify(publicKey);
        signature.update(text);
        return signature.verify(signed);
    }

    /**
     * The forms of a key that are older than PKCS #8 ("RSA PRIVATE KEY", "EC PRIVATE KEY") lack the algorithm and its
     * parameters, which the certificate has as well: RFC 5208, section 5.
     */
    private static byte[] pkcs8(byte[] key, byte[] publicKey) {
        int outer = headerLength(publicKey, 0);
        int algorithm = headerLength(publicKey, outer) + contentLength(publicKey, outer);
        ByteArrayOutputStream content = new ByteArrayOutputStream();
        content.writeBytes(new byte[] {2, 1, 0}); // version
        content.write(publicKey, outer, algorithm);
        content.writeBytes(element(4, key));
        return element(0x30, content.toByteArray());
    }

    private static byte[] element(int tag, byte[] content) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        out.write(tag);
        if (content.length < 0x80) {
            out.write(content.length);
        } else {
            byte[] length = BigInteger.valueOf(content.length).toByteArray();
            int zeros = length[0] == 0 ? 1 : 0; // DER wants the shortest form
            out.write(0x80 | length.length - zeros);
            out.write(length, zeros, length.length - zeros);
        }
        out.writeBytes(content);
        return out.toByteArray();
    }

    private static int headerLength(byte[] der, int at) {
        return der[at + 1] >= 0 ? 2 : 2 + (der[at + 1] & 0x7f);
    }

    private static int contentLength(byte[] der, int at) {
        if (der[at + 1] >= 0) {
            return der[at + 1];
        }
        int length = 0;
        for (byte digit : Arrays.copyOfRange(der, at + 2, at + headerLength(der, at))) {
            length = length << 8 | (digit & 0xff);
        }
        return length;
    }

    private static byte[] content(Matcher block) {
        return Base64.getMimeDecoder().decode(block.group(2));
    }

    private static String read(Path file) {
        try (InputStream in = Files.newInputStream(file)) {
            byte[] bytes = in.readNBytes(MOST_BYTES + 1);
            if (bytes.length > MOST_BYTES) {
                throw new ForkdException(Kind.FAILED, file + " is too long for a certificate or a key");
            }
            return new String(bytes, StandardCharsets.ISO_8859_1);
        } catch (IOException e) {
            throw ForkdException.of("read " + file, e);
        }
    }

    private static ForkdException unreadable(Path file, Exception cause) {
        return new ForkdException(Kind.FAILED, "cannot understand " + file + ": " + cause.getMessage());
    }
}

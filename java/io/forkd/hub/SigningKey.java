package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.Signature;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;

/** A private key on the curve P-256, as {@code openssl genpkey} writes it and {@code cosign import-key-pair} takes it. */
public final class SigningKey {
    private static final String BEGIN = "-----BEGIN PRIVATE KEY-----";
    private static final String END = "-----END PRIVATE KEY-----";

    private final PrivateKey key;

    private SigningKey(PrivateKey key) {
        this.key = key;
    }

    /** Reads one in PEM, PKCS #8 without a password. */
    public static SigningKey read(Path file) {
        try {
            String text = Files.readString(file, StandardCharsets.US_ASCII);
            int begin = text.indexOf(BEGIN);
            int end = text.indexOf(END);
            if (begin < 0 || end < begin) {
                throw unusable(file, "it is no private key in PEM (PKCS #8) without a password");
            }
            byte[] encoded = Base64.getMimeDecoder().decode(text.substring(begin + BEGIN.length(), end));
            return new SigningKey(KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(encoded)));
        } catch (IOException e) {
            throw ForkdException.of("read the key " + file, e);
        } catch (GeneralSecurityException | IllegalArgumentException e) {
            throw unusable(file, "it is none of an elliptic curve");
        }
    }

    private static ForkdException unusable(Path file, String why) {
        return new ForkdException(
                Kind.FAILED,
                "the key " + file + " cannot be used: " + why,
                "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 makes one.");
    }

    /** ECDSA over SHA-256, in DER. */
    byte[] sign(byte[] payload) {
        try {
            Signature signature = Signature.getInstance("SHA256withECDSA");
            signature.initSign(key);
            signature.update(payload);
            return signature.sign();
        } catch (GeneralSecurityException e) {
            throw new ForkdException(Kind.FAILED, "cannot sign: " + e.getMessage());
        }
    }
}

package io.forkd.hub;

import io.forkd.ForkdException;
import io.forkd.ForkdException.Kind;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.util.Base64;

/** A public key of those whose signatures count, as cosign and openssl write it. */
final class VerifyingKey {
    private static final String BEGIN = "-----BEGIN PUBLIC KEY-----";
    private static final String END = "-----END PUBLIC KEY-----";

    private final PublicKey key;

    private VerifyingKey(PublicKey key) {
        this.key = key;
    }

    static VerifyingKey read(Path file) {
        try {
            return parse(Files.readString(file, StandardCharsets.US_ASCII), file.toString());
        } catch (IOException e) {
            throw ForkdException.of("read the key " + file, e);
        }
    }

    /** @param name for people */
    static VerifyingKey parse(String pem, String name) {
        int begin = pem.indexOf(BEGIN);
        int end = pem.indexOf(END);
        try {
            if (begin >= 0 && end > begin) {
                byte[] encoded = Base64.getMimeDecoder().decode(pem.substring(begin + BEGIN.length(), end));
                return new VerifyingKey(KeyFactory.getInstance("EC").generatePublic(new X509EncodedKeySpec(encoded)));
            }
        } catch (GeneralSecurityException | IllegalArgumentException e) {
            // As what is no key at all.
        }
        throw new ForkdException(
                Kind.FAILED, "the key " + name + " cannot be used: it is no public key of an elliptic curve in PEM");
    }

    boolean hasSigned(byte[] payload, byte[] signature) {
        try {
            Signature verifier = Signature.getInstance("SHA256withECDSA");
            verifier.initVerify(key);
            verifier.update(payload);
            return verifier.verify(signature);
        } catch (GeneralSecurityException e) {
            return false;
        }
    }
}

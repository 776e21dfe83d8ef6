import static java.nio.charset.StandardCharsets.UTF_8;

import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.HexFormat;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

final class Verify {
  /** The fields of the object "signature" in the body. */
  static boolean isOurs(String key, String timestamp, String token, String signature)
      throws GeneralSecurityException {
    return isOurAlert(key, (timestamp + token).getBytes(UTF_8), signature);
  }

  /** The bytes as they came, and the header X-Sign. */
  static boolean isOurAlert(String key, byte[] body, String xSign)
      throws GeneralSecurityException {
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(key.getBytes(UTF_8), "HmacSHA256"));
    byte[] expected = HexFormat.of().formatHex(mac.doFinal(body)).getBytes(UTF_8);
    return MessageDigest.isEqual(expected, xSign.getBytes(UTF_8));
  }
}

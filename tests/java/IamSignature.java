package io.fraudctl.iam;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.*;
import java.time.format.DateTimeFormatter;
import java.util.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Checks a request presigned with Signature Version 4 as MSK does: who has signed it, and until when it counts. */
record IamSignature(String role, String date, long start, long end) {
  private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'");
  private static final long LONGEST_S = 900;
  private static final List<String> SIGNED = List.of("Action", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date",
      "X-Amz-Expires", "X-Amz-Security-Token", "X-Amz-SignedHeaders");

  /** Returns what a request for a host says, whose parameters are not encoded; throws IllegalArgumentException. */
  static IamSignature of(String host, Map<String, String> query) throws GeneralSecurityException {
    IamRoles roles = IamRoles.now();
    for (String name : SIGNED) {
      require(query.containsKey(name) || name.equals("X-Amz-Security-Token"), "the token has no " + name);
    }
    require(query.containsKey("X-Amz-Signature"), "the token has no X-Amz-Signature");
    require(query.get("Action").equals("kafka-cluster:Connect"), "the token is for the action " + query.get("Action"));
    require(query.get("X-Amz-Algorithm").equals("AWS4-HMAC-SHA256") && query.get("X-Amz-SignedHeaders").equals("host"),
        "the token is not signed as Signature Version 4 has it");
    String[] scope = query.get("X-Amz-Credential").split("/");
    String stamp = query.get("X-Amz-Date");
    require(scope.length == 5 && List.of(scope).subList(1, 5).equals(
        List.of(stamp.substring(0, 8), roles.region(), "kafka-cluster", "aws4_request")), "the token's scope is another");
    IamRoles.Key key = roles.key(scope[0]);
    require(key != null, "the access key " + scope[0] + " is unknown");
    require(query.getOrDefault("X-Amz-Security-Token", "").equals(key.token()), "the session token is not that of the key");
    StringJoiner canonical = new StringJoiner("&");
    for (String name : SIGNED) if (query.containsKey(name)) canonical.add(name + "=" + encoded(query.get(name)));
    String request = "GET\n/\n" + canonical + "\nhost:" + host + "\n\nhost\n" + hash("");
    String range = String.join("/", List.of(scope).subList(1, 5));
    String signed = "AWS4-HMAC-SHA256\n" + stamp + "\n" + range + "\n" + hash(request);
    byte[] signing = ("AWS4" + key.secret()).getBytes(StandardCharsets.UTF_8);
    for (String part : range.split("/")) signing = hmac(signing, part);
    require(MessageDigest.isEqual(HexFormat.of().formatHex(hmac(signing, signed)).getBytes(StandardCharsets.US_ASCII),
        query.get("X-Amz-Signature").getBytes(StandardCharsets.US_ASCII)), "the token's signature does not match");
    long start = LocalDateTime.parse(stamp, DATE).toInstant(ZoneOffset.UTC).toEpochMilli();
    long life = Long.parseLong(query.get("X-Amz-Expires")), end = start + 1000 * life, now = System.currentTimeMillis();
    require(life <= LONGEST_S && start < now + 1000 * LONGEST_S, "the token is for longer than 15 minutes");
    require(now < end, "the token expired at " + Instant.ofEpochMilli(end));
    String missing = roles.missing(key.role(), "Connect", roles.cluster());
    require(missing == null, key.role() + " lacks kafka-cluster:Connect");
    IamRoles.log("CONNECTED", key.role(), stamp);
    return new IamSignature(key.role(), stamp, start, end);
  }

  static void require(boolean holds, String otherwise) {
    if (!holds) throw new IllegalArgumentException(otherwise);
  }

  /** Encodes as Signature Version 4 wants it: everything but RFC 3986's unreserved characters, in upper case. */
  private static String encoded(String text) {
    StringBuilder out = new StringBuilder();
    for (byte unit : text.getBytes(StandardCharsets.UTF_8)) {
      char c = (char) (unit & 0xff);
      boolean plain = c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || "-_.~".indexOf(c) >= 0;
      out.append(plain ? String.valueOf(c) : String.format("%%%02X", (int) c));
    }
    return out.toString();
  }

  private static String hash(String text) throws GeneralSecurityException {
    return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8)));
  }

  private static byte[] hmac(byte[] key, String text) throws GeneralSecurityException {
    Mac mac = Mac.getInstance("HmacSHA256");
    mac.init(new SecretKeySpec(key, "HmacSHA256"));
    return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
  }
}

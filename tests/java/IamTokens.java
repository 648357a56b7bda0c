package io.fraudctl.iam;

import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.*;
import java.time.format.DateTimeFormatter;
import java.util.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.*;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.*;

/**
 * Checks what MSK checks when a client logs in with IAM: the token is a URL presigned with Signature Version 4 for the action
 * kafka-cluster:Connect in the cluster's region, not expired, with the key of a role that may connect.
 */
public final class IamTokens implements AuthenticateCallbackHandler {
  private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'");
  private static final long LONGEST_S = 900;

  @Override public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

  @Override public void close() {}

  @Override public void handle(Callback[] callbacks) throws UnsupportedCallbackException {
    for (Callback callback : callbacks) {
      if (callback instanceof OAuthBearerValidatorCallback login) {
        try {
          login.token(verified(login.tokenValue()));
        } catch (RuntimeException | GeneralSecurityException e) {
          IamRoles.log("REFUSED", String.valueOf(e.getMessage()));
          login.error("Access denied: " + e.getMessage(), null, null);
        }
      } else if (callback instanceof OAuthBearerExtensionsValidatorCallback extensions) {
        extensions.inputExtensions().map().keySet().forEach(extensions::valid);
      } else {
        throw new UnsupportedCallbackException(callback);
      }
    }
  }

  private static OAuthBearerToken verified(String token) throws GeneralSecurityException {
    IamRoles roles = IamRoles.now();
    URI url = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
    SortedMap<String, String> raw = new TreeMap<>(); // still encoded, in the order in which they were signed
    for (String pair : url.getRawQuery().split("&")) raw.put(pair.split("=", 2)[0], pair.split("=", 2)[1]);
    Map<String, String> query = new HashMap<>();
    raw.forEach((name, value) -> query.put(name, URLDecoder.decode(value, StandardCharsets.UTF_8)));
    for (String name : List.of("Action", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
        "X-Amz-Signature", "X-Amz-SignedHeaders", "User-Agent")) {
      require(query.containsKey(name), "the token has no " + name);
    }
    String host = "kafka." + roles.region() + ".amazonaws.com";
    require(url.getScheme().equals("https") && Set.of("", "/").contains(url.getPath()), "the token is no URL of MSK");
    require(url.getHost().equals(host), "the token is for " + url.getHost() + ", this cluster is in " + roles.region());
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
    raw.keySet().removeAll(Set.of("X-Amz-Signature", "User-Agent")); // the latter is added after signing
    StringJoiner canonical = new StringJoiner("&");
    raw.forEach((name, value) -> canonical.add(name + "=" + value));
    String request = "GET\n/\n" + canonical + "\nhost:" + host + "\n\nhost\n" + hash("");
    String signed = "AWS4-HMAC-SHA256\n" + stamp + "\n" + String.join("/", List.of(scope).subList(1, 5)) + "\n" + hash(request);
    byte[] signing = ("AWS4" + key.secret()).getBytes(StandardCharsets.UTF_8);
    for (String part : List.of(scope).subList(1, 5)) signing = hmac(signing, part);
    require(MessageDigest.isEqual(HexFormat.of().formatHex(hmac(signing, signed)).getBytes(StandardCharsets.US_ASCII),
        query.get("X-Amz-Signature").getBytes(StandardCharsets.US_ASCII)), "the token's signature does not match");
    long start = LocalDateTime.parse(stamp, DATE).toInstant(ZoneOffset.UTC).toEpochMilli();
    long life = Long.parseLong(query.get("X-Amz-Expires")), end = start + 1000 * life, now = System.currentTimeMillis();
    require(life <= LONGEST_S && start < now + 1000 * LONGEST_S, "the token is for longer than 15 minutes");
    require(now < end, "the token expired at " + Instant.ofEpochMilli(end));
    String missing = roles.missing(key.role(), "Connect", roles.cluster());
    require(missing == null, key.role() + " lacks kafka-cluster:Connect");
    IamRoles.log("CONNECTED", key.role(), stamp);
    return new OAuthBearerToken() {
      @Override public String value() { return token; }
      @Override public Set<String> scope() { return Set.of(); }
      @Override public long lifetimeMs() { return end; }
      @Override public String principalName() { return key.role(); }
      @Override public Long startTimeMs() { return start; }
    };
  }

  private static void require(boolean holds, String otherwise) {
    if (!holds) throw new IllegalArgumentException(otherwise);
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

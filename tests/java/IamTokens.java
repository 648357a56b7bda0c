package io.fraudctl.iam;

import java.net.URI;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.util.*;
import javax.security.auth.callback.*;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.*;

/** Checks the tokens of the mechanism OAUTHBEARER: a URL of MSK in the cluster's region, presigned by a role's key. */
public final class IamTokens implements AuthenticateCallbackHandler {
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
    String region = IamRoles.now().region(), host = "kafka." + region + ".amazonaws.com";
    URI url = URI.create(new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8));
    IamSignature.require("https".equals(url.getScheme()) && Set.of("", "/").contains(url.getPath()),
        "the token is no URL of MSK");
    IamSignature.require(url.getHost().equals(host), "the token is for " + url.getHost() + ", this cluster is in " + region);
    Map<String, String> query = new HashMap<>();
    for (String pair : url.getRawQuery().split("&")) {
      query.put(pair.split("=", 2)[0], URLDecoder.decode(pair.split("=", 2)[1], StandardCharsets.UTF_8));
    }
    IamSignature found = IamSignature.of(host, query);
    return new OAuthBearerToken() {
      @Override public String value() { return token; }
      @Override public Set<String> scope() { return Set.of(); }
      @Override public long lifetimeMs() { return found.end(); }
      @Override public String principalName() { return found.role(); }
      @Override public Long startTimeMs() { return found.start(); }
    };
  }
}

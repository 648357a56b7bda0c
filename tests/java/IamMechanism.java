package io.fraudctl.iam;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.Provider;
import java.util.*;
import javax.security.auth.Subject;
import javax.security.auth.callback.Callback;
import javax.security.auth.callback.CallbackHandler;
import javax.security.auth.login.AppConfigurationEntry;
import javax.security.auth.spi.LoginModule;
import javax.security.sasl.SaslException;
import javax.security.sasl.SaslServer;
import javax.security.sasl.SaslServerFactory;
import com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.kafka.common.errors.SaslAuthenticationException;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.auth.SecurityProviderCreator;

/**
 * The server's side of AWS_MSK_IAM, the mechanism of aws-msk-iam-auth: one message with the parameters of a request to the
 * broker's own host, presigned, as a JSON object; one answer.
 */
public final class IamMechanism implements SecurityProviderCreator {
  private static final String NAME = "AWS_MSK_IAM";
  private static final Map<String, String> NAMES = Map.of("action", "Action", "x-amz-algorithm", "X-Amz-Algorithm",
      "x-amz-credential", "X-Amz-Credential", "x-amz-date", "X-Amz-Date", "x-amz-expires", "X-Amz-Expires",
      "x-amz-security-token", "X-Amz-Security-Token", "x-amz-signedheaders", "X-Amz-SignedHeaders",
      "x-amz-signature", "X-Amz-Signature");

  @Override public Provider getProvider() { return new Mechanisms(); }

  public static final class Mechanisms extends Provider {
    public Mechanisms() {
      super("AWS_MSK_IAM server", "1", "The server's side of AWS_MSK_IAM");
      put("SaslServerFactory." + NAME, Factory.class.getName());
    }
  }

  public static final class Factory implements SaslServerFactory {
    @Override public SaslServer createSaslServer(String mechanism, String protocol, String host, Map<String, ?> properties,
        CallbackHandler handler) {
      return new Server();
    }

    @Override public String[] getMechanismNames(Map<String, ?> properties) { return new String[] {NAME}; }
  }

  private static final class Server implements SaslServer {
    private IamSignature found;

    @Override public byte[] evaluateResponse(byte[] response) {
      try {
        Map<String, String> query = new HashMap<>();
        new ObjectMapper().readTree(response).properties().forEach(entry ->
            query.put(NAMES.getOrDefault(entry.getKey(), entry.getKey()), entry.getValue().asText()));
        found = IamSignature.of(query.get("host"), query);
        return "{\"version\":\"2020_10_22\",\"request-id\":\"0\"}".getBytes(StandardCharsets.UTF_8);
      } catch (IOException | RuntimeException | GeneralSecurityException e) {
        IamRoles.log("REFUSED", String.valueOf(e.getMessage()));
        throw new SaslAuthenticationException("Access denied: " + e.getMessage());
      }
    }

    @Override public boolean isComplete() { return found != null; }

    @Override public String getAuthorizationID() { return found.role(); }

    @Override public String getMechanismName() { return NAME; }

    @Override public Object getNegotiatedProperty(String name) {
      return name.equals("CREDENTIAL.LIFETIME.MS") ? found.end() : null;
    }

    @Override public byte[] wrap(byte[] out, int offset, int length) { return Arrays.copyOfRange(out, offset, offset + length); }

    @Override public byte[] unwrap(byte[] in, int offset, int length) { return Arrays.copyOfRange(in, offset, offset + length); }

    @Override public void dispose() throws SaslException {}
  }

  /** Kafka wants a handler, which the mechanism does not need. */
  public static final class Handler implements AuthenticateCallbackHandler {
    @Override public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> entries) {}

    @Override public void handle(Callback[] callbacks) {}

    @Override public void close() {}
  }

  /** Kafka wants a login of the broker's own, which the mechanism does not need. */
  public static final class Login implements LoginModule {
    @Override public void initialize(Subject subject, CallbackHandler handler, Map<String, ?> state, Map<String, ?> options) {}

    @Override public boolean login() { return true; }

    @Override public boolean commit() { return true; }

    @Override public boolean abort() { return false; }

    @Override public boolean logout() { return true; }
  }
}
